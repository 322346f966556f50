"""Faults: at exact points, one at a time, and in storms."""
