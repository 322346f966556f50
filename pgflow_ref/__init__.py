"""pgflow in Python: declare flows, start runs, work on their tasks."""
