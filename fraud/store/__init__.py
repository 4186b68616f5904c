"""Tables, migrations and repositories. All SQL of the product is in this package."""
