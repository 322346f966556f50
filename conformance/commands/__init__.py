"""The commands of `pgflow-conformance`, one a module."""
