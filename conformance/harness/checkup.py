"""An adapter that is being checked: the flow that it is checked with, and what was found so far."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import eventlog
from conformance.harness.advice import Finding, explain
from conformance.harness.processes import WorkerProcess, environment
from pgflow_ref.compile import compile_flow, from_json
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conformance.harness.adapters import Adapter
    from conformance.harness.databases import Cluster, Database

FLOW: Final[Mapping[str, Any]] = {
    "slug": "check_adapter",
    "max_attempts": 2,
    "timeout": 30,
    "steps": [
        {"slug": "first", "handler": [{"pick": ["run", "n"]}]},
        {
            "slug": "second",
            "depends_on": ["first"],
            "handler": [{"sleep": 1}, {"return": {"done": True}}],
        },
    ],
}
OPTIONS: Final[Mapping[str, Any]] = {"name": "check-adapter", "poll_interval": 0.1}
INPUTS: Final = ({"n": 1}, {"n": 2})


@dataclass
class Checkup:
    """An adapter that is being checked.

    Attributes:
        adapter: what is checked; it has introduced itself once `hello` was right.
        database: with the flow.
        folder: for files.
        patience: how much longer to wait than usual.
        findings: of the check under way.
        run_ids: the runs that were started.
    """

    adapter: Adapter
    database: Database
    folder: Path
    patience: float = 1.0
    findings: list[Finding] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    def wrong(self, problem: str) -> None:
        """Note what is wrong, once."""
        problem = problem.removeprefix("it: ").removeprefix(f"{self.adapter.name}: ")
        if all(one.wrong != problem for one in self.findings):
            self.findings.append(explain(problem))

    def environ(self, flow: Mapping[str, Any], options: Mapping[str, Any] | None) -> dict[str, str]:
        """The environment of a word; without options, that of `compile`."""
        fixture = {"flow": flow} if options is None else {"flow": flow, "worker": options}
        path = self.folder / "fixture.json"
        path.write_text(encode(fixture), encoding="utf-8")
        return environment(None if options is None else self.database.worker_url, path)

    @contextmanager
    def worker(
        self, flow: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Iterator[WorkerProcess]:
        """A worker at `work`, of which nothing is left afterwards."""
        environ = self.environ(flow, options)
        worker = WorkerProcess(
            self.adapter, environ, self.folder / "log", patience=self.patience, name="it"
        )
        try:
            worker.start()
            yield worker
        finally:
            worker.close()

    def inputs(self) -> dict[str, Any]:
        """The inputs of all runs that there are, by id."""
        rows = self.database.connection.execute("SELECT run_id::text, input FROM pgflow.runs")
        return {str(run_id): given for run_id, given in rows}


@contextmanager
def opened(
    adapter: Adapter, cluster: Cluster, core: str, folder: Path, patience: float
) -> Iterator[Checkup]:
    """An adapter with a database for its checks."""
    with ExitStack() as stack:
        database = stack.enter_context(cluster.database(core))
        for statement in compile_flow(from_json(FLOW)):
            database.connection.execute(statement.encode())
        eventlog.watch_queue(database.connection, FLOW["slug"])
        yield Checkup(adapter, database, folder, patience)
