"""The harness: databases, worker processes, the event log, the verdict, the report."""
