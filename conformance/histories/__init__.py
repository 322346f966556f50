"""Recorded histories: all that a flow leaves behind, on each core, is what it was."""
