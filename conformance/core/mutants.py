"""Whether the differential tests have teeth: one fault at a time in the installed functions.

Each mutant is a function of the core with one thing changed by a rule (`mutations.py`). It is
installed, the differential tests are run against it until they notice, or until their time is up,
and the function is put back. A mutant that no test can tell from the original is equivalent; which
ones are, and why, is in `fixtures/mutants.toml`.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import psycopg

from conformance.core import equivalents, machine, subject
from conformance.core.equivalents import reason_for
from conformance.core.history import Difference
from conformance.core.mutations import Mutant, mutants
from conformance.core.subject import Subject
from conformance.harness.databases import Cluster
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Fate = Literal["killed", "survived", "equivalent", "stillborn"]

SECONDS: Final = 60.0
"""How long the differential tests look for a mutant, at most."""

SECONDS_EQUIVALENT: Final = 4.0
"""How long they look for one that is said to be equivalent."""

_SEED: Final = 7
_HANGS: Final = "5s"  # a call that takes longer than this has lost its way

# Ours, not the core's, on cores before 0.8 (see `pgflow_ref.install`).
_FUNCTIONS: Final = """
SELECT pg_get_functiondef(p.oid)
FROM pg_proc p
WHERE p.pronamespace = 'pgflow'::regnamespace
  AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE 'by pgflow-ref%'
ORDER BY p.oid::regprocedure::text
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        core: the version of the core.
        mutant: the mutant.
        fate: killed; survived; equivalent, which survived and is listed; or stillborn, which
            PostgreSQL refuses to create.
        seconds: until then.
        calls: how many calls it took in the history that showed it, or were tried in all.
        problem: what was seen; of an equivalent one, why nothing is.
        listed: whether it is listed as equivalent.
    """

    core: str
    mutant: Mutant
    fate: Fate
    seconds: float
    calls: int
    problem: str
    listed: bool

    @property
    def is_stale(self) -> bool:
        """Whether it is listed as equivalent, and was killed."""
        return self.listed and self.fate == "killed"

    @property
    def number(self) -> int:
        """Where it stands among the mutants of its function."""
        return int(self.mutant.id.rpartition(":")[2])


class Trial(NamedTuple):
    """A mutant to be tried.

    Attributes:
        core: the version of the core.
        definition: the function as it is.
        mutant: the function with a fault.
        seconds: for how long to look for it.
        reason: why it is said to be equivalent, or None.
    """

    core: str
    definition: str
    mutant: Mutant
    seconds: float
    reason: str | None


def choose(found: Sequence[Mutant], share: int) -> list[Mutant]:
    """Some of the mutants, spread evenly over all rules and all places.

    Args:
        found: all of them.
        share: one in so many is taken.
    """
    by_rule: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in found:
        by_rule.setdefault((mutant.function, mutant.rule), []).append(mutant)
    return [mutant for group in by_rule.values() for mutant in group[::share]]


def definitions(cluster: Cluster, core: str) -> list[str]:
    """The functions of a core, as they are installed."""
    name = f"definitions_{core.replace('.', '_')}"
    subject.create(cluster, name, load(core).profile)
    try:
        with cluster.connect(name) as connection:
            return [str(row[0]) for row in connection.execute(_FUNCTIONS)]
    finally:
        cluster.drop(name)


def try_all(
    cores: Sequence[str], share: int, seconds: float, only: str = ""
) -> Iterator[tuple[int, Verdict]]:
    """Try mutants, as many at a time as there are processors, on a server of their own.

    Args:
        cores: the versions to take functions from.
        share: one in so many mutants is tried.
        seconds: for how long to look for each.
        only: only mutants whose id begins with this.

    Yields:
        How many there are in all, and the next verdict.
    """
    listed = equivalents.load()
    with EmbeddedPostgres() as server:
        cluster = Cluster(server.url())
        chosen = [
            Trial(core, definition, mutant, seconds, reason_for(core, mutant, listed))
            for core in cores
            for definition in definitions(cluster, core)
            for mutant in choose(mutants(definition), share)
            if mutant.id.startswith(only)
        ]
        with ProcessPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            futures = [pool.submit(_try, server.url(), trial) for trial in chosen]
            for future in as_completed(futures):
                yield len(chosen), future.result()


_subjects: dict[str, Subject] = {}


def _subject(url: str, core: str) -> Subject:
    """This process's own database with this core."""
    if core not in _subjects:
        cluster = Cluster(url)
        name = f"mutants_{os.getpid()}_{core.replace('.', '_')}"
        profile = load(core).profile
        subject.create(cluster, name, profile)
        _subjects[core] = Subject(psycopg.connect(cluster.url_of(name)), profile)
    return _subjects[core]


def _try(url: str, trial: Trial) -> Verdict:
    """Install a mutant, look for it, and put the function back."""
    core = _subject(url, trial.core)
    connection = core.connection
    core.reset()
    began = time.monotonic()

    def verdict(fate: Fate, calls: int, problem: str) -> Verdict:
        seconds = time.monotonic() - began
        listed = trial.reason is not None
        return Verdict(trial.core, trial.mutant, fate, seconds, calls, problem, listed)

    try:
        connection.execute(trial.mutant.sql.encode())
        connection.execute("SELECT set_config('statement_timeout', %s, false)", [_HANGS])
        connection.commit()
    except psycopg.Error as error:
        return verdict("stillborn", 0, error.diag.message_primary or str(error))
    seconds = trial.seconds if trial.reason is None else SECONDS_EQUIVALENT
    try:
        counts = machine.play_on(core, core.profile, seconds, _SEED)
    except Difference as difference:
        return verdict("killed", len(difference.history), difference.problems[0])
    except psycopg.Error as error:
        return verdict("killed", 0, error.diag.message_primary or str(error))
    finally:
        connection.rollback()
        connection.execute(trial.definition.encode())
        connection.commit()
    if trial.reason is not None:
        return verdict("equivalent", counts.calls, trial.reason)
    return verdict("survived", counts.calls, "")
