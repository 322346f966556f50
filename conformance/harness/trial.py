"""One case with its workers: from an empty database to a verdict.

What is expected stands in the case; how it is judged, in `judge.py`. This module only does.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import databases, eventlog, judge, records
from conformance.harness.processes import (
    NotSupported,
    Word,
    WorkerProblem,
    WorkerProcess,
    environment,
    run_word,
)
from pgflow_ref.compile import compile_flow, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conformance.harness.adapters import Adapter
    from conformance.harness.cases import Case, Deviation
    from conformance.harness.databases import Cluster, Database
    from pgflow_ref.shape import FlowShape

_LOOK_EVERY: Final = 0.02  # seconds between two looks at the database
_LOG_TAIL: Final = 6_000  # characters of a worker's stderr that go into the report


@dataclass
class Trial:
    """A case on its way.

    Attributes:
        case: what is tried.
        adapters: who takes part; more than one for a mixed fleet.
        folder: a directory for its files.
        patience: how much longer to wait for everything than the case and the harness say.
        outcome: passed, failed or unsupported, once it is over.
        problems: what was not as it should be.
    """

    case: Case
    adapters: Sequence[Adapter]
    folder: Path
    patience: float = 1.0
    outcome: records.Outcome = "passed"
    problems: list[str] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    seen: judge.Seen | None = None
    seconds: float = 0.0

    def run(self, cluster: Cluster) -> None:
        """Try the case; never raises for what a worker does."""
        self.attempt(lambda: self._run(cluster))

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

    def record(self, core: str, repeat: str, known: Deviation | None) -> records.Case:
        """What the report says of it, given the deviation that is known, if there is one."""
        seen = self.seen
        outcome = self.outcome
        if known is not None and outcome == "passed":
            outcome = "unexpected_pass"
        elif known is not None and outcome == "failed" and known.holds in "\n".join(self.problems):
            outcome = "deviation"
        return records.Case(
            id=self.case.id,
            group=self.case.group,
            promise=self.case.promise,
            reference=self.case.reference,
            core=core,
            workers=tuple(adapter.name for adapter in self.adapters),
            outcome=outcome,
            seconds=round(self.seconds, 3),
            problems=tuple(self.problems),
            tasks=seen.shares() if seen else {},
            runs=len(self.case.runs),
            calls=sum(len(worker.of("call")) for worker in self.workers),
            log={worker.name: worker.stderr()[-_LOG_TAIL:] for worker in self.workers},
            repeat=repeat,
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
        if not isinstance(statements, list):
            raise WorkerProblem(f"{adapter.name}: `compile` printed {printed[:200]!r}")
        return statements

    def _run(self, cluster: Cluster) -> None:
        with ExitStack() as stack:
            self._try(stack.enter_context(cluster.database()), stack)

    def _try(self, database: Database, stack: ExitStack) -> None:
        case = self.case
        for statement in compile_flow(case.shape):
            database.connection.execute(statement.encode())
        eventlog.watch_queue(database.connection, case.shape.slug)
        fixtures = {adapter.name: self._fixture(adapter) for adapter in self.adapters}
        run_ids = self._start_runs(database, fixtures)
        if len(self.adapters) > 1:
            databases.hide_messages(database, case.shape.slug)
        for adapter in self.adapters:
            environ = environment(database.url, fixtures[adapter.name])
            log = self.folder / f"{adapter.name}.log"
            worker = WorkerProcess(adapter, environ, log, patience=self.patience)
            self.workers.append(worker)
            stack.callback(worker.close)
            worker.start()
        within = case.within * self.patience
        problem: WorkerProblem | None = None
        try:
            for worker in self.workers:
                worker.wait_ready()
            if len(self.adapters) > 1:
                # A fair start: else who starts faster has done most before the others are there.
                databases.show_messages(database, case.shape.slug)
            self._wait(database, within)
            for worker in self.workers:
                worker.stop(within)
        except WorkerProblem as error:
            problem = error
        # Also of a case that went wrong: what happened until then is worth seeing. But not after
        # Ctrl-C, which may have come in the middle of a query on this connection.
        self.seen = judge.see(case, self.workers, run_ids, database.connection)
        for worker in self.workers:
            self.problems.extend(worker.problems)
        if problem is not None:
            raise problem
        self.problems.extend(judge.problems(self.seen))

    def _fixture(self, adapter: Adapter) -> Path:
        worker = {"name": adapter.name, **self.case.worker}
        path = self.folder / f"{adapter.name}.json"
        text = json.dumps({"flow": self.case.flow, "worker": worker}, ensure_ascii=False)
        path.write_text(text, encoding="utf-8")
        return path

    def _start_runs(self, database: Database, fixtures: dict[str, Path]) -> list[str]:
        """Start the runs, shared out among the workers' own clients; their ids in order."""
        count = len(self.adapters)
        ids: list[str] = [""] * len(self.case.runs)
        with ExitStack() as stack:
            # All of them at the same time, and in this thread: so Ctrl-C ends them at once.
            words = []
            for index, adapter in enumerate(self.adapters):
                inputs = (run.input for run in self.case.runs[index::count])
                lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in inputs)
                environ = environment(database.url, fixtures[adapter.name])
                words.append(stack.enter_context(Word(adapter, "start", environ, lines)))
            for index, (adapter, word) in enumerate(zip(self.adapters, words, strict=True)):
                wanted = len(self.case.runs[index::count])
                ids[index::count] = _run_ids(adapter, word.finish(), wanted)
        return ids

    def _wait(self, database: Database, within: float) -> None:
        """Wait until it is time to stop: all runs are over, or enough handlers were called."""
        case = self.case
        if case.stop_after_calls is not None:
            for worker in self.workers:
                worker.wait_for_calls(case.stop_after_calls, within)
            return
        give_up_at = time.monotonic() + within
        while open_runs := _open_runs(database):
            for worker in self.workers:
                code = worker.exit_code()
                if code is not None:
                    raise WorkerProblem(f"{worker.name}: it exited with {code} during work")
            if time.monotonic() > give_up_at:
                self.problems.append(f"{open_runs} runs were not over after {within:g} s")
                return
            time.sleep(_LOOK_EVERY)


def _open_runs(database: Database) -> int:
    row = database.connection.execute(
        "SELECT count(*) FROM pgflow.runs WHERE status = 'started'"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def _run_ids(adapter: Adapter, printed: str, wanted: int) -> list[str]:
    """The ids that `start` printed."""
    try:
        ids = [str(json.loads(line)["run_id"]) for line in printed.splitlines()]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WorkerProblem(f"{adapter.name}: `start` printed {printed[:200]!r}") from None
    if len(ids) != wanted or len(set(ids)) != wanted:
        raise WorkerProblem(
            f"{adapter.name}: `start` printed {len(ids)} ids, {len(set(ids))} different ones, "
            f"for {wanted} runs"
        )
    return ids
