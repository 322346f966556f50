"""The conformance suite: workers in any language, side by side on one database."""
