"""Where a case is played: its database, its workers by role, and its runs.

A role is the place of a worker in a case: `first`, `second` and so on. One adapter plays all roles;
several take turns, in the order in which they were given.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import attaching
from conformance.harness.contract import mistake
from conformance.harness.processes import WorkerProblem, WorkerProcess, environment
from conformance.harness.words import Word
from pgflow_ref.errors import NotJson
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    import psycopg

    from conformance.harness.adapters import Adapter
    from conformance.harness.cases import Case, RunOf
    from conformance.harness.databases import Database
    from conformance.harness.disk import SmallDisk
    from conformance.harness.proxy import Proxy
    from conformance.harness.records import Fault
    from conformance.harness.servers import RestartableServer

ROLES: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_LOOK_EVERY: Final = 0.02  # seconds between two looks at the database


@dataclass
class Stage:
    """A case's database and everybody in it.

    Attributes:
        case: what is played.
        adapters: who plays the roles.
        database: the case's own.
        folder: a directory for its files.
        patience: how much longer to wait for everything than the case and the harness say.
        stack: what is to be closed at the end.
        workers: every worker process there was, in the order of their starts.
        roles: who plays each role now.
        run_ids: the runs, in the order of the case.
        problems: what was not as it should be.
        faults: what was done to workers and server.
        url: where workers find the database.
        own_worker: the id of the worker that the harness itself plays, once it does.
        proxy: what stands between workers and database, if the case asks for it.
        server: the server, if it is the case's own and may be restarted.
        gate: where a gate is shut, in words, or empty.
        disk: a file system that may be full, once there is one.
        locks: connections of transactions that hold something.
        seed: what faults are drawn from.
    """

    case: Case
    adapters: Sequence[Adapter]
    database: Database
    folder: Path
    patience: float
    stack: ExitStack
    workers: list[WorkerProcess] = field(default_factory=list)
    roles: dict[str, WorkerProcess] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    url: str = ""
    own_worker: str | None = None
    proxy: Proxy | None = None
    server: RestartableServer | None = None
    gate: str = ""
    disk: SmallDisk | None = None
    locks: list[psycopg.Connection[Any]] = field(default_factory=list)
    seed: int = 0

    @property
    def within(self) -> float:
        """Seconds for anything to happen."""
        return self.case.within * self.patience

    def adapter_of(self, role: str) -> Adapter:
        """Who plays a role."""
        return self.adapters[ROLES.index(role) % len(self.adapters)]

    def everybody(self) -> Sequence[str]:
        """One role for each adapter."""
        return ROLES[: len(self.adapters)]

    def working(self, roles: str | Sequence[str]) -> Iterator[WorkerProcess]:
        """The workers in these roles; `all`: whoever is at work."""
        if roles == "all":
            yield from (worker for worker in self.workers if not worker.gone)
            return
        for role in [roles] if isinstance(roles, str) else roles:
            if role not in self.roles:
                raise WorkerProblem(f"the case speaks of its {role} worker, which never began")
            yield self.roles[role]

    def begin(self, role: str) -> WorkerProcess:
        """Start a worker in a role; it may not be ready yet."""
        adapter = self.adapter_of(role)
        before = sum(worker.adapter.name == adapter.name for worker in self.workers)
        name = f"{adapter.name}-{before + 1}" if before else adapter.name
        url = self.proxy.url(role) if self.proxy else self.url or self.database.worker_url
        environ = self._environment(url, self._fixture(name, role))
        log = self.folder / f"{name}.log"
        if {role, name, adapter.name} & set(adapter.attach):
            adapter, waits_in = attaching.waiting(adapter, environ, name)
            self.stack.callback(shutil.rmtree, waits_in)
        worker = WorkerProcess(adapter, environ, log, patience=self.patience, name=name)
        self.workers.append(worker)
        self.roles[role] = worker
        self.stack.callback(worker.close)
        worker.start()
        return worker

    def start_runs(self, adapters: Sequence[Adapter], most: int | None = None) -> None:
        """Start the runs, shared out among these workers' own clients, all at the same time.

        Args:
            adapters: whose clients start them.
            most: how many of those that are not started yet; None: all of them.
        """
        count = len(adapters)
        runs = self._runs_to_start(most)
        ids: list[str] = [""] * len(runs)
        # In this thread, so Ctrl-C ends them at once.
        words = []
        for index, adapter in enumerate(adapters):
            lines = "".join(encode(run.input) + "\n" for run in runs[index::count])
            environ = self._environment(self.database.worker_url, self._fixture(adapter.name))
            words.append(self.stack.enter_context(Word(adapter, "start", environ, lines)))
        for index, (adapter, word) in enumerate(zip(adapters, words, strict=True)):
            wanted = len(runs[index::count])
            ids[index::count] = _run_ids(adapter, word.finish(), wanted)
        self.run_ids += ids

    def start_texts(self, adapter: Adapter, inputs: Sequence[str]) -> list[str]:
        """Start a run for each input by a worker's client, which gets this very text of JSON.

        Raises:
            WorkerProblem: it did not start them all.
        """
        environ = self._environment(
            self.url or self.database.worker_url, self._fixture(adapter.name)
        )
        with Word(adapter, "start", environ, "".join(f"{one}\n" for one in inputs)) as word:
            return _run_ids(adapter, word.finish(), len(inputs))

    def start_runs_itself(self, most: int | None = None) -> None:
        """Start the runs, or at most so many of them, without any worker's client."""
        self.run_ids += [
            str(
                self.value(
                    "SELECT run_id::text FROM pgflow.start_flow(%(flow)s, %(input)s::jsonb)",
                    {"input": encode(run.input)},
                )
            )
            for run in self._runs_to_start(most)
        ]

    def role_ids(self) -> dict[str, str | None]:
        """The worker id of each role, and of the worker that the harness plays."""
        ids = {role: worker.worker_id for role, worker in self.roles.items()}
        return {**ids, "harness": self.own_worker}

    def names(self) -> dict[str, Any]:
        """What SQL of a case may speak of: `%(flow)s`, `%(run)s` and so on."""
        return {
            "flow": self.case.shape.slug,
            "run": self.run_ids[0] if self.run_ids else None,
            "runs": self.run_ids,
            **self.role_ids(),
        }

    def value(self, statement: str, more: Mapping[str, Any] | None = None) -> Any:
        """The first value that a statement gives, or None."""
        names = {**self.names(), **(more or {})}
        cursor = self.database.connection.execute(statement.encode(), names)
        row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Wait until something holds in the database, while all workers live.

        Raises:
            WorkerProblem: it does not hold in time, or a worker that should be at work is not.
        """
        give_up_at = time.monotonic() + self.within
        while True:
            # Before the look, so that one comes after the time, however long this one is held up.
            is_last = time.monotonic() > give_up_at
            if until():
                return
            for worker in self.working("all"):
                code = worker.exit_code()
                if code is not None:
                    worker.gone = True
                    raise WorkerProblem(f"{worker.name}: it exited with {code} during work")
            if is_last:
                raise WorkerProblem(f"{what}, not within {self.within:g} s")
            time.sleep(_LOOK_EVERY)

    def _runs_to_start(self, most: int | None) -> Sequence[RunOf]:
        """The next of the case's runs."""
        begun = len(self.run_ids)
        return self.case.runs[begun : None if most is None else begun + most]

    def _environment(self, url: str, fixture: Path) -> dict[str, str]:
        return environment(url, fixture, pooled=self.database.way.is_pooled)

    def _fixture(self, name: str, role: str = "") -> Path:
        path = self.folder / f"{name}.json"
        worker = {"name": name, **self.case.worker, **self.case.roles.get(role, {})}
        # In a fleet, those recover who can; and no client does.
        can = role and "recovery" in self.adapter_of(role).hello.capabilities
        if len(self.adapters) > 1 and not can:
            worker.pop("recover", None)
        fixture = {"flow": self.case.flow, "worker": worker}
        try:
            text = encode(fixture)
        except NotJson:  # made of what JSON can write in escapes alone, such as half a pair
            text = json.dumps(fixture)
        path.write_text(text, encoding="utf-8")
        return path


def _run_ids(adapter: Adapter, printed: str, wanted: int) -> list[str]:
    """The ids that `start` printed."""
    try:
        lines = [json.loads(line) for line in printed.splitlines()]
    except (ValueError, RecursionError):
        raise WorkerProblem(f"{adapter.name}: `start` printed {printed[:200]!r}") from None
    for line in lines:
        wrong = mistake("started", line)
        if wrong is not None:
            raise WorkerProblem(f"{adapter.name}: `start` printed {str(line)[:200]!r}: {wrong}")
    ids = [line["run_id"] for line in lines]
    if len(ids) != wanted or len(set(ids)) != wanted:
        raise WorkerProblem(
            f"{adapter.name}: `start` printed {len(ids)} ids, {len(set(ids))} different ones, "
            f"for {wanted} runs"
        )
    return ids
