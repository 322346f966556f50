"""The templates of the report, and the geometry of what they draw."""
