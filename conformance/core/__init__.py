"""The SQL of the core against the executable model."""
