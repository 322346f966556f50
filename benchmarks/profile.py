"""Where time goes: in the server by statement, in the worker by function."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.bed import SETTINGS, Bed
from benchmarks.subjects import PYTHON_TUNED
from benchmarks.throughput import is_over
from benchmarks.workloads import ONE_STEP
from pgflow_ref import EmbeddedPostgres

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

_WITHIN: Final = 600.0  # seconds
_SECONDS: Final = 3  # for which a worker is looked into
_RATE: Final = 500  # times a second
_LONG: Final = 10_000  # runs; more than a worker completes in the time of a look
# Time of its own: a function's statement holds that of all statements in it.
_STATEMENTS: Final = """
SELECT regexp_replace(query, '\\s+', ' ', 'g'), calls, total_exec_time, total_plan_time, toplevel
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND query NOT LIKE '%%pg_stat_statements%%'
ORDER BY total_exec_time + total_plan_time DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """What the server did for one statement.

    Attributes:
        text: with `$1` for its parameters.
        calls: how often.
        milliseconds: altogether, with all statements in it.
        planning: milliseconds that it was planned for; of a function's statement, not in those.
        is_whole: whether a client sent it, and no function.
    """

    text: str
    calls: int
    milliseconds: float
    planning: float
    is_whole: bool


def of_server(bed: Bed, workload: Workload, most: int = 20) -> list[Statement]:
    """The statements that took longest while a tuned worker drained a workload.

    On a server of its own, with the core of the bed: to count statements makes each of them slower.
    """
    counted = {
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "all",
        "pg_stat_statements.track_planning": "on",
    }
    with EmbeddedPostgres({**SETTINGS, **counted}, durable=True) as server:
        counting = Bed(server, bed.core, bed.pgmq)
        with (
            counting.database(workload) as url,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            connection.execute("CREATE EXTENSION pg_stat_statements")
            with PYTHON_TUNED.at_work(url, workload) as worker:
                worker.until(lambda: is_over(connection), _WITHIN)
            rows = connection.execute(_STATEMENTS, (most,)).fetchall()
    return [
        Statement(str(text), int(str(calls)), float(str(spent)), float(str(planned)), bool(whole))
        for text, calls, spent, planned, whole in rows
    ]


def flame_graph(bed: Bed, place: Path) -> None:
    """Draw where a tuned worker at full load spends its time, as an SVG, while it drains a queue.

    Args:
        bed: where.
        place: the file.

    Raises:
        SubjectFailed: the worker did not do its work.
        OSError: py-spy could not look into it; Linux lets root, or a parent, do that.
    """
    bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    workload = replace(ONE_STEP, runs=_LONG)
    with (
        bed.database(workload) as url,
        PYTHON_TUNED.at_work(url, workload) as worker,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        begun = (
            "SELECT FROM pgflow.step_tasks WHERE last_worker_id IS NOT NULL"
            " AND status = 'completed' LIMIT 1"
        )
        worker.until(lambda: connection.execute(begun).fetchone() is not None, _WITHIN)
        asked = ("--duration", str(_SECONDS), "--rate", str(_RATE), "--output", place.name)
        # Without a path in it, since the picture says how it was made.
        done = subprocess.run(
            ["py-spy", "record", "--pid", str(worker.pid), *asked],  # noqa: S607
            cwd=place.parent,
            env={**os.environ, "PATH": bin_first},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"py-spy cannot look into the worker: {done.stderr.strip()}")
        worker.until(lambda: is_over(connection), _WITHIN)
