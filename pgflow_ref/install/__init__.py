"""Put pgmq and a pgflow core into a PostgreSQL database, or say what a database holds.

Nothing of their SQL is part of this project. The core comes from the npm package `@pgflow/core`,
pgmq from the PyPI package `pgmq` (`sources.py`), and each file must have its pinned checksum
(`pins.py`). Both may come from a path instead (`wanted.py`, `wanted_pgmq.py`). What a database
holds is told by its catalogs alone (`catalog.py` reads, `found.py` recognises), what to do about it
is decided without touching it (`decide.py`), and done in one transaction (`run.py`).

Example:
    >>> from pgflow_ref.install import install
    >>> install("postgresql://localhost/app", core="0.5.0").changed  # doctest: +SKIP
    True
"""

from pgflow_ref.install.decide import Refusal, Step, plan
from pgflow_ref.install.found import Found
from pgflow_ref.install.pins import known_cores, known_pgmqs
from pgflow_ref.install.roles import Roles, roles
from pgflow_ref.install.run import Report, inspect, install, script
from pgflow_ref.install.wanted import Wanted, core_files, wanted
from pgflow_ref.install.wanted_pgmq import WantedPgmq, wanted_pgmq

__all__ = [
    "Found",
    "Refusal",
    "Report",
    "Roles",
    "Step",
    "Wanted",
    "WantedPgmq",
    "core_files",
    "inspect",
    "install",
    "known_cores",
    "known_pgmqs",
    "plan",
    "roles",
    "script",
    "wanted",
    "wanted_pgmq",
]
