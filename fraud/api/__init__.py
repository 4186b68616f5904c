"""The HTTP API: what other systems and the console call. Versioned under `/api/v1`."""
