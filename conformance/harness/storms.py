"""Storms: many faults, drawn from a seed, on a fleet at work; and how it settles afterwards.

The choice of faults is the same for the same seed. What they hit is not: that depends on who is
where when they come. So they come in the pace of the work (so many tasks, one fault), on a fast
machine and on a slow one; there is new work for each of them; and each hits somebody who has a
task in hand.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import databases, strikes
from conformance.harness.processes import WorkerProblem, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.harness.records import Fault
    from conformance.harness.stage import Stage

WEIGHTS: Final = {"cut": 6, "stall": 4, "terminate": 5, "pause": 4, "kill": 3, "lock": 3}
"""The kinds of faults, and how often each comes."""

LOCKS: Final = (
    "SELECT FROM pgflow.flows FOR UPDATE SKIP LOCKED",
    "SELECT FROM pgflow.workers WHERE worker_id = %(victim)s FOR UPDATE SKIP LOCKED",
    (
        "SELECT FROM pgflow.runs WHERE run_id IN (SELECT run_id FROM pgflow.step_tasks"
        " WHERE status = 'started' AND last_worker_id = %(victim)s) FOR UPDATE SKIP LOCKED"
    ),
    "SELECT FROM pgflow.step_tasks WHERE status = 'queued' FOR UPDATE SKIP LOCKED",
)
"""What another transaction holds, as far as nobody else does: a storm waits for nobody."""

_LASTS: Final = (0.05, 0.4)  # seconds that a stall, a pause or a lock lasts
_AT_LEAST_EVERY: Final = 0.6  # seconds from one fault to the next, where the work does not get on
_IN_HAND_WITHIN: Final = 0.5  # seconds that a fault waits for somebody to have a task in hand
_STOP_WITHIN: Final = 10.0  # seconds for those to stop that are known not to, now and then
_EXITED: Final = "exits by itself"
_DID_NOT_STOP: Final = "does not stop"
_TAKES_NOTHING: Final = "takes no tasks"
_LOOK_EVERY: Final = 0.02  # seconds


@dataclass(frozen=True)
class Stroke:
    """One fault of a storm.

    Attributes:
        kind: one of `WEIGHTS`, or `restart`.
        role: whom it is meant for; the next one, if that one cannot be hit just now.
        lasts: seconds, where it goes on for some time.
        choice: from 0 to 1, for what else there is to choose.
    """

    kind: str
    role: str
    lasts: float
    choice: float


def plan(seed: str, count: int, roles: Sequence[str], restarts: int = 0) -> list[Stroke]:
    """The faults of a storm: each kind, and first one for each role, if there are enough of them.

    Args:
        seed: the same seed gives the same faults.
        count: how many.
        roles: the fleet.
        restarts: how many of them are restarts of the server.
    """
    chance = random.Random(seed)  # noqa: S311  # no secret
    kinds = ["restart"] * restarts + [*WEIGHTS][: count - restarts]
    more = count - len(kinds)
    kinds += chance.choices([*WEIGHTS], [*WEIGHTS.values()], k=max(0, more))
    chance.shuffle(kinds)
    victims = chance.sample(roles, k=min(count, len(roles)))
    victims += chance.choices(roles, k=count - len(victims))
    return [
        Stroke(kind, victim, chance.uniform(*_LASTS), chance.random())
        for kind, victim in zip(kinds[:count], victims, strict=True)
    ]


def described(faults: Sequence[Fault]) -> str:
    """The timeline of faults, in one line."""
    return ", ".join(f"{fault.at:.2f} s {fault.what} {fault.worker}".rstrip() for fault in faults)


def counted(faults: Sequence[Fault]) -> str:
    """How many there were, and what workers did of themselves.

    Example:
        >>> from conformance.harness.records import Fault
        >>> counted([Fault(0.1, "deno", "cut"), Fault(0.2, "deno", "exits by itself")])
        '1 faults; deno exits by itself'
    """
    own = [fault for fault in faults if fault.what in (_EXITED, _DID_NOT_STOP, _TAKES_NOTHING)]
    said = [f"{len(faults) - len(own)} faults"]
    return "; ".join(said + [f"{fault.worker} {fault.what}" for fault in own])


@dataclass
class Storm:
    """A storm under way.

    Attributes:
        stage: where.
        supervised: adapters that are begun again when they exit or take no tasks, and killed when
            they do not stop.
        hit: how many faults of each kind came while their victim had a task in hand.
        struck: the adapters that had one when a fault came.
    """

    stage: Stage
    supervised: Sequence[str] = ()
    hit: Counter[str] = field(default_factory=Counter)
    struck: set[str] = field(default_factory=set)
    _ends: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def rage(self, strokes: Sequence[Stroke]) -> None:
        """All the faults, one after the other, and the end of those that last."""
        stage = self.stage
        first = len(strokes) // 2
        self._show(first)
        tasks = first * len(stage.case.shape.steps)
        for number, stroke in enumerate(strokes, 1):
            self._wait_for_progress(tasks * number // (len(strokes) + 1))
            self._show(1)
            self._strike(stroke)
        self._wait(lambda: not self._ends, _LASTS[1] * 2)
        self._show(len(stage.run_ids))
        for kind in {stroke.kind for stroke in strokes} - self.hit.keys():
            stage.problems.append(f"no {kind} came while its victim had a task in hand")
        for name in {worker.adapter.name for worker in stage.roles.values()} - self.struck:
            stage.problems.append(f"no fault came while {name} had a task in hand")

    def settle(self) -> None:
        """Let living workers finish, and a fresh fleet do what dead ones have left behind."""
        stage = self.stage
        self._wait(self._all_ready, stage.within)
        for role in list(stage.roles):
            self._stop(role)
        strikes.age(stage, None)
        # No back-off is waited for. Not while somebody works: core 0.5.0 hands out a task twice to
        # two workers that claim it at the same time.
        databases.show_messages(stage.database, stage.case.shape.slug)
        for role in stage.everybody():
            stage.begin(role)
        for role in stage.everybody():
            stage.roles[role].wait_ready()
        stage.wait(self._all_over, f"after the storm: all {len(stage.case.runs)} runs are over")

    def _all_over(self) -> bool:
        statement = "SELECT count(*) FROM pgflow.runs WHERE status = 'started'"
        return not self.stage.value(statement)

    def _stop(self, role: str) -> None:
        worker = self.stage.roles[role]
        if worker.adapter.name not in self.supervised:
            worker.stop(self.stage.within)
            return
        if worker.exit_code() is not None:  # since the last fault
            strikes.note(self.stage, role, _EXITED)
        worker.gone = True
        worker.send(signal.SIGTERM)
        try:
            worker.wait_gone(_STOP_WITHIN)
        except WorkerProblem:
            strikes.note(self.stage, role, _DID_NOT_STOP)
            worker.kill()

    def _all_ready(self) -> bool:
        return all(worker.worker_id for worker in self.stage.roles.values())

    # One fault

    def _strike(self, stroke: Stroke) -> None:
        role, in_hand = self._choose(stroke.role)
        stage = self.stage
        name = stage.roles[role].adapter.name
        if stroke.kind == "kill":
            strikes.kill(stage, role)
            stage.begin(role)
        elif stroke.kind == "restart":
            self._wait(lambda: not self._ends, _LASTS[1] * 2)
            self._wait(self._all_ready, stage.within)  # one that only begins may give up
            strikes.restart(stage, "fast" if stroke.choice < 0.5 else "immediate")  # noqa: PLR2004
        elif stroke.kind == "lock":
            victim = {"victim": stage.roles[role].worker_id}
            first = int(stroke.choice * len(LOCKS))
            for statement in LOCKS[first:] + LOCKS[:first]:
                holder, rows = strikes.hold(stage, statement, victim)
                if rows:
                    break
                holder.close()
            in_hand = in_hand and rows > 0
            strikes.note(stage, "", "lock")
            self._ends.append((time.monotonic() + stroke.lasts, "", holder.close))
        else:
            strikes.STRIKES[stroke.kind](stage, role)
            end = {"stall": strikes.heal, "pause": strikes.resume}.get(stroke.kind)
            if end is not None:
                when = time.monotonic() + stroke.lasts
                self._ends.append((when, role, lambda: end(stage, role)))
        if in_hand:
            self.hit[stroke.kind] += 1
            self.struck.add(name)

    def _choose(self, wanted: str) -> tuple[str, bool]:
        """Whom a fault hits, and whether that one has a task in hand."""
        role = self._victim(wanted)
        if self._wait(lambda: self._has_task(role), _IN_HAND_WITHIN):
            return role, True
        self._supervise(role)
        busy: list[str] = []

        def find() -> bool:
            busy[:] = [other for other in self._able(role) if self._has_task(other)][:1]
            return bool(busy)

        while not self._wait(find, _IN_HAND_WITHIN):
            if not self._show(1):
                return self._victim(role), False
        return busy[0], True

    def _supervise(self, role: str) -> None:
        """Begin a supervised worker again that takes none of the tasks that wait."""
        worker, stage = self.stage.roles[role], self.stage
        if worker.adapter.name not in self.supervised:
            return
        if databases.keeps_waiting(stage.database, stage.case.shape.slug):
            strikes.note(stage, role, _TAKES_NOTHING)
            worker.kill()
            stage.begin(role)

    def _show(self, runs: int) -> int:
        """Let workers see so many more of the runs, as far as there are; how many these are."""
        return databases.show_hidden(self.stage.database, self.stage.case.shape.slug, runs)

    def _victim(self, wanted: str) -> str:
        """This role, or the next one that is ready and has nothing done to it already."""
        if not self._wait(lambda: bool(self._able(wanted)), self.stage.within):
            raise WorkerProblem("no worker of the fleet became ready")
        return self._able(wanted)[0]

    def _able(self, wanted: str) -> list[str]:
        """The roles that are ready and have nothing done to them; this one first."""
        roles = list(self.stage.roles)
        first = roles.index(wanted)
        busy = {role for _, role, _ in self._ends}
        return [
            role
            for role in roles[first:] + roles[:first]
            if role not in busy and self.stage.roles[role].worker_id is not None
        ]

    def _has_task(self, role: str) -> bool:
        return bool(
            self.stage.value(
                "SELECT EXISTS (SELECT FROM pgflow.step_tasks"
                " WHERE status = 'started' AND last_worker_id = %(victim)s)",
                {"victim": self.stage.roles[role].worker_id},
            )
        )

    # Time

    def _wait_for_progress(self, tasks: int) -> None:
        """Until so many tasks are completed, or the work does not get on."""

        def has_come() -> bool:
            statement = "SELECT count(*) FROM pgflow.step_tasks WHERE status = 'completed'"
            return int(self.stage.value(statement)) >= tasks

        self._wait(has_come, _AT_LEAST_EVERY)

    def _wait(self, until: Callable[[], bool], most: float) -> bool:
        """Wait for something, end what has lasted long enough, and see that all workers live."""
        give_up_at = time.monotonic() + most
        while True:
            self._end_what_is_due()
            if until():
                return True
            if time.monotonic() > give_up_at:
                return False
            self._see_that_all_live()
            time.sleep(_LOOK_EVERY)

    def _see_that_all_live(self) -> None:
        for role, worker in list(self.stage.roles.items()):
            code = worker.exit_code()
            if worker.gone or code is None:
                continue
            worker.gone = True
            if not self._may_exit(worker):
                raise WorkerProblem(f"{worker.name}: it exited with {code} in the storm")
            strikes.note(self.stage, role, _EXITED)
            self.stage.begin(role)

    def _may_exit(self, worker: WorkerProcess) -> bool:
        """Whether it is begun again. One that only begins has not been hit by anything.

        Except behind a pooler: what hits one worker's connection hits whoever was lent it since,
        and who finds the server gone is turned away after it has come back as well.
        """
        if worker.worker_id is None:
            return self.stage.database.way.is_pooled
        return worker.adapter.name in self.supervised

    def _end_what_is_due(self) -> None:
        now = time.monotonic()
        for one in [one for one in self._ends if one[0] <= now]:
            self._ends.remove(one)
            one[2]()


def storm(stage: Stage, what: Mapping[str, Any]) -> None:
    """Let a storm rage over the fleet, and settle."""
    strokes = plan(
        f"{stage.seed} {stage.case.id}", what["faults"], list(stage.roles), what.get("restarts", 0)
    )
    raging = Storm(stage, what.get("supervised", ()))
    raging.rage(strokes)
    raging.settle()
