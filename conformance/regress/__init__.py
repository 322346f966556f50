"""Is a candidate of pgflow's core a release, or a surprise? What changes from one core to another.

Each part looks at two cores and gives findings (`findings.py`), which a verdict puts together:
what is the same, what changed and for whom, and what broke.
"""
