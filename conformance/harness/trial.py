"""One case with its workers: from an empty database to a verdict.

What is expected stands in the case; how it is judged, in `judge.py`. This module only does.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.harness import cores, eventlog, judge, records, trespass
from conformance.harness.acts import perform
from conformance.harness.cases import TOGETHER, USUAL
from conformance.harness.contract import mistake
from conformance.harness.databases import CORE
from conformance.harness.processes import (
    NotSupported,
    WorkerProblem,
    WorkerProcess,
    environment,
)
from conformance.harness.proxy import Proxy
from conformance.harness.stage import Stage
from conformance.harness.strikes import NEED_PROXY
from conformance.harness.words import run_word
from pgflow_ref.compile import compile_flow, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from conformance.harness.adapters import Adapter
    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster, Database
    from conformance.harness.deviations import Deviation
    from conformance.harness.servers import RestartableServer
    from pgflow_ref.shape import FlowShape

_LOG_TAIL: Final = 6_000  # characters of a worker's stderr that go into the report


@dataclass
class Trial:
    """A case on its way.

    Attributes:
        case: what is tried.
        adapters: who takes part; more than one for a mixed fleet.
        folder: a directory for its files.
        patience: how much longer to wait for everything than the case and the harness say.
        core: the version or path of the core that it is tried on.
        seed: what faults are drawn from.
        outcome: passed, failed or unsupported, once it is over.
        problems: what was not as it should be.
        note: what else there is to say of it, in a few words.
    """

    case: Case
    adapters: Sequence[Adapter]
    folder: Path
    patience: float = 1.0
    core: str = CORE
    seed: int = 0
    outcome: records.Outcome = "passed"
    problems: list[str] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    faults: list[records.Fault] = field(default_factory=list)
    seen: judge.Seen | None = None
    note: str = ""
    seconds: float = 0.0

    def run(self, cluster: Cluster, server: RestartableServer | None = None) -> None:
        """Try the case; never raises for what a worker does.

        Args:
            cluster: where its database is to be.
            server: the server of that, if it may be restarted.
        """
        lacking = [
            f"{adapter.name} has no {need}"
            for adapter in self.adapters
            for need in self.case.needs
            if need not in adapter.hello.capabilities
        ]
        if lacking:
            self.outcome, self.problems = "unsupported", lacking
            return
        self.attempt(lambda: self._run(cluster, server))

    def attempt(self, what: Callable[[], None]) -> None:
        """Do something with the workers, and note how it went."""
        began = time.monotonic()
        try:
            what()
        except NotSupported as reason:
            self.outcome = "unsupported"
            self.problems = [str(reason)]
        except WorkerProblem as problem:
            self.problems.insert(0, str(problem))
        if self.problems and self.outcome == "passed":
            self.outcome = "failed"
        self.seconds = time.monotonic() - began

    def record(self, repeat: str, known: Deviation | None) -> records.Case:
        """What the report says of it, given the deviation that is known, if there is one."""
        seen = self.seen
        outcome, problems = self.outcome, self.problems
        if known is not None and outcome == "passed":
            outcome = "unexpected_pass"
        elif known is not None and outcome == "failed" and known.fits(problems):
            if known.explained:
                outcome = "deviation"
            else:
                problems = [*problems, f"line {known.line} of the deviations has no reason yet"]
        return records.Case(
            id=self.case.id,
            group=self.case.group,
            promise=self.case.promise,
            reference=self.case.reference,
            core=cores.of(self.core).label,
            workers=tuple(adapter.name for adapter in self.adapters),
            outcome=outcome,
            seconds=round(self.seconds, 3),
            problems=tuple(problems),
            tasks=seen.shares() if seen else {},
            runs=len(self.case.runs),
            calls=sum(len(worker.of("call")) for worker in self.workers),
            log={worker.name: worker.stderr()[-_LOG_TAIL:] for worker in self.workers},
            flow=tuple(records.Step(one.slug, one.depends_on) for one in self.case.shape.steps),
            faults=tuple(self.faults),
            repeat=repeat,
            note=self.note,
            deviation=records.Deviation(known.reason, known.reference, known.date)
            if known
            else None,
            timeline=seen.timeline() if seen else (),
        )

    def hellos(self) -> list[records.Worker]:
        """How the workers introduced themselves."""
        return [
            records.Worker(
                worker.name,
                str(line.get("language", worker.adapter.language)),
                str(line.get("version", "")),
                str(line.get("handler_input", "")),
                tuple(map(str, line.get("capabilities", ()))),
            )
            for worker in self.workers
            for line in worker.of("hello")[:1]
        ]

    def compiled(self, adapter: Adapter, shape: FlowShape) -> list[str]:
        """What a worker's `compile` prints for a flow."""
        flow: dict[str, Any] = to_json(shape)
        flow["steps"] = [{**step, "handler": []} for step in flow["steps"]]
        path = self.folder / f"{adapter.name}.json"
        path.write_text(json.dumps({"flow": flow}), encoding="utf-8")
        printed = run_word(adapter, "compile", environment(None, path))
        try:
            statements = json.loads(printed)
        except (ValueError, RecursionError):
            statements = None
        wrong = mistake("statements", statements)
        if wrong is not None:
            raise WorkerProblem(f"{adapter.name}: `compile` printed {printed[:200]!r}: {wrong}")
        return list(statements)

    def _run(self, cluster: Cluster, server: RestartableServer | None) -> None:
        with ExitStack() as stack:
            database = stack.enter_context(cluster.database(self.core))
            verbs = {verb for act in self.case.acts for verb in act}
            proxy = stack.enter_context(_proxy(database)) if verbs & NEED_PROXY else None
            self._play(
                Stage(
                    self.case,
                    self.adapters,
                    database,
                    self.folder,
                    self.patience,
                    stack,
                    workers=self.workers,
                    problems=self.problems,
                    faults=self.faults,
                    proxy=proxy,
                    server=server,
                    seed=self.seed,
                )
            )

    def _play(self, stage: Stage) -> None:
        """Play the case, and judge it, also one that went wrong: what happened is worth seeing."""
        case, connection = self.case, stage.database.connection
        for statement in compile_flow(case.shape):
            connection.execute(statement.encode())
        eventlog.watch_queue(connection, case.shape.slug)
        stage.database.let_in(case.shape.slug)
        acts = case.acts or (TOGETHER if len(self.adapters) > 1 else USUAL)
        problem: WorkerProblem | None = None
        try:
            self._perform(stage, acts)
        except WorkerProblem as error:
            problem = error
        for worker in self.workers:
            self.problems.extend(worker.problems)
        # Not after Ctrl-C, which may have come in the middle of a query on this connection.
        self.seen = self._see(stage, problem)
        if problem is not None:
            self.problems.extend(self.seen.trespasses)
            raise problem
        self.problems.extend(judge.problems(self.seen))

    def _perform(self, stage: Stage, acts: Sequence[Mapping[str, Any]]) -> None:
        """Do the acts; what workers do to the harness is told from a mistake of the case."""
        try:
            perform(stage, acts)
        except psycopg.errors.LockNotAvailable:
            raise WorkerProblem("somebody keeps a lock on what the suite has to read") from None
        except psycopg.ProgrammingError:
            if trespass.is_intact(stage.database.connection):
                raise
            raise WorkerProblem("tables of pgflow or of the suite are gone") from None

    def _see(self, stage: Stage, problem: WorkerProblem | None) -> judge.Seen:
        """Read what is to be judged, and if workers are in the way of that, without them."""
        if problem is not None:
            for worker in self.workers:
                worker.close()
        try:
            return judge.see(
                self.case,
                self.workers,
                stage.run_ids,
                stage.database.connection,
                stage.role_ids(),
            )
        except psycopg.ProgrammingError as error:
            said = error.diag.message_primary or str(error)
            gone = WorkerProblem(f"what the suite judges by is not there any more: {said}")
            raise problem or gone from None


def _proxy(database: Database) -> Proxy:
    """What stands between workers and wherever they find the database."""
    way = database.way
    return Proxy(database.worker_url, way.backends if way.is_pooled else None)
