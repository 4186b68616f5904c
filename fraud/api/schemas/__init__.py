"""What goes in and out of the API. Requests and responses are separate models; requests refuse unknown fields."""
