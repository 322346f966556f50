"""Storms: many faults, drawn from a seed, on a fleet at work; and how it settles afterwards.

The choice of faults is the same for the same seed. What they hit is not: that depends on who is
where when they come. So they come in the pace of the work (so many tasks, one fault), on a fast
machine and on a slow one, and each waits for its victim to have a task in hand, or hits somebody
who has one.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import databases, strikes
from conformance.harness.processes import WorkerProblem

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
_IN_HAND_WITHIN: Final = 1.0  # seconds that a fault waits for its victim to have a task in hand
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
    """The faults of a storm: each kind, and for each role one, if there are enough of them.

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
    victims = [*roles[:count], *chance.choices(roles, k=max(0, count - len(roles)))]
    chance.shuffle(victims)
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
        tasks = len(self.stage.case.runs) * len(self.stage.case.shape.steps)
        for number, stroke in enumerate(strokes, 1):
            self._wait_for_progress(tasks * number // (len(strokes) + 1))
            self._strike(stroke)
        self._wait(lambda: not self._ends, _LASTS[1] * 2)
        for kind in {stroke.kind for stroke in strokes} - self.hit.keys():
            self.stage.problems.append(f"no {kind} came while its victim had a task in hand")
        for name in {worker.adapter.name for worker in self.stage.roles.values()} - self.struck:
            self.stage.problems.append(f"no fault came while {name} had a task in hand")

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
        worker.ask_to_stop()
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
            statement = LOCKS[int(stroke.choice * len(LOCKS))]
            holder, rows = strikes.hold(stage, statement, victim)
            in_hand = in_hand and rows > 0
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
        if self.stage.roles[role].adapter.name in self.supervised and databases.keeps_waiting(
            self.stage.database, self.stage.case.shape.slug
        ):
            strikes.note(self.stage, role, _TAKES_NOTHING)
            self.stage.roles[role].kill()
            self.stage.begin(role)
        busy = next((other for other in self._able(role) if self._has_task(other)), None)
        return (busy, True) if busy else (self._victim(role), False)

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
            if worker.adapter.name not in self.supervised or worker.worker_id is None:
                raise WorkerProblem(f"{worker.name}: it exited with {code} in the storm")
            strikes.note(self.stage, role, _EXITED)
            self.stage.begin(role)

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
