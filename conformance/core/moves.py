"""The moves of the differential tests: what is asked of a core, in what proportion.

Each move is one call, or a few that belong together, so that histories become deep soon: a whole
flow is defined, messages are read and claimed. Arguments are mostly sensible, and sometimes not.
What exists is picked by number out of the model's state, so that a shorter history is as good.

The moves do not know who throws the dice: hypothesis, or a seed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from conformance.core.arguments import (
    ATTEMPTS,
    CHAIN,
    DELAYS,
    ERRORS,
    FEW_ATTEMPTS,
    FLOWS,
    INPUTS,
    JSON,
    KINDS,
    LARGEST,
    NOBODY,
    SECONDS,
    SHAPES,
    START_DELAYS,
    STEPS,
    TIMEOUTS,
    WORKERS,
    mostly,
)
from pgflow_ref.model import calls
from pgflow_ref.model.calls import OMITTED
from pgflow_ref.model.rows import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.history import History
    from pgflow_ref.model.rows import RunRow, TaskRow


class Dice(Protocol):
    """Where chance comes from; `random.Random.choice` will do."""

    def __call__(self, values: Sequence[Any], /) -> Any:
        """One of these."""
        ...


_MOVES: Final = {
    "create_flow": 3,
    "define_flow": 2,
    "define_chain": 1,
    "add_step": 6,
    "add_dependency": 6,
    "add_last_step": 3,
    "add_odd_step": 4,
    "add_step_with_options": 2,
    "is_valid_slug": 1,
    "calculate_retry_delay": 1,
    "start_flow": 10,
    "start_odd_flow": 3,
    "start_flow_with_states": 2,
    "get_run_with_states": 1,
    "call_inner_function": 2,
    "read": 2,
    "read_and_claim": 14,
    "claim": 8,
    "claim_nothing": 1,
    "complete_task": 16,
    "complete_all": 6,
    "finish": 2,
    "fail_task": 16,
    "end_odd_task": 6,
    "complete_nothing": 3,
    "poll_for_tasks": 1,
    "register_worker": 1,
    "change_worker": 2,
    "time_passes": 4,
    "read_with_poll": 2,
    "set_vt_batch": 2,
    "set_vt": 1,
    "meddle_with_queue": 2,
    "drop_queue": 1,
    "renew_queue": 3,
}
_WEIGHTED: Final = [name for name, weight in _MOVES.items() for _ in range(weight)]


class Moves:
    """Moves on a history.

    Args:
        history: where calls go.
        dice: chance.
    """

    def __init__(self, history: History, dice: Dice) -> None:
        self.history = history
        self.of = dice
        behaviours = history.profile.behaviours
        self.has_maps = "map_steps" in behaviours
        self.has_start_delay = "start_delay" in behaviours

    def begin(self) -> None:
        """A worker, a flow of a usual shape, and a run of it."""
        self.history.call(calls.RegisterWorker(WORKERS[0], "f", "first"))
        delay = self.of([OMITTED, OMITTED, 0, LARGEST])
        self.history.call(calls.CreateFlow("f", self.of(FEW_ATTEMPTS), delay))
        self._add_steps("f", self.of(SHAPES))
        self.history.call(calls.StartFlow("f", self.of(INPUTS)))

    def move(self) -> None:
        """One move."""
        getattr(self, f"_{self.of(_WEIGHTED)}")()

    def pick(self) -> int:
        """A number to pick by."""
        return int(self.of(range(8)))

    def small(self) -> int:
        """A small number."""
        return int(self.of(range(4)))

    def some(self, values: Sequence[Any], most: int) -> list[Any]:
        """A few of these."""
        return [self.of(values) for _ in range(self.of(range(most + 1)))]

    # Picking what is there

    def runs(self) -> list[RunRow]:
        """All runs."""
        return [run.row for run in self.history.state.runs.values()]

    def run_id(self, pick: int) -> UUID:
        """A run, if there are any; the last ones first."""
        runs = self.runs()
        return runs[-1 - pick % len(runs)].run_id if runs and pick != 7 else NOBODY  # noqa: PLR2004

    def task(self, pick: int, *, started: bool) -> TaskRow | None:
        """A task; those that are started come first where they are what is asked for."""
        tasks = [t for run in self.history.state.runs.values() for t in run.tasks.values()]
        if started:
            tasks.sort(key=lambda task: task.status != "started")
        return tasks[pick % len(tasks)] if tasks else None

    def message_ids(self, flow: str) -> list[int]:
        """The messages of a flow, archived or not."""
        queue = self.history.state.queues.get(flow.lower())
        return sorted({*queue.messages, *queue.archive}) if queue else []

    def flow(self, pick: int) -> str:
        """A flow, if there are any."""
        flows = list(self.history.state.flows)
        return flows[pick % len(flows)] if flows else "f"

    def step(self, pick: int) -> str:
        """A step of the first flow, if it has any."""
        flow = self.history.state.flows.get(self.flow(0))
        steps = list(flow.steps) if flow else []
        return steps[pick % len(steps)] if steps else "a"

    # Definitions

    def _create_flow(self) -> None:
        options = self.of(ATTEMPTS), self.of(DELAYS), self.of(TIMEOUTS)
        self.history.call(calls.CreateFlow(self.of(FLOWS), *options))

    def _define_flow(self) -> None:
        slug = self.of(["g", "G", "h"])
        self.history.call(calls.CreateFlow(slug, 1, timeout=self.of([1, OMITTED])))
        self._add_steps(slug, self.of(SHAPES), self.small() // 3)

    def _define_chain(self) -> None:
        """A long chain of map steps, which an empty array completes in one go."""
        if self.has_maps and "chain" not in self.history.state.flows:
            length = self.of([3, 49, 50])
            self.history.call(calls.CreateFlow("chain"))
            self._add_steps("chain", dict(list(CHAIN.items())[:length]), flip=False)
            self.history.call(calls.StartFlow("chain", "[]"))

    def _add_steps(
        self, flow: str, shape: dict[str, tuple[str, ...]], delay: int = 0, *, flip: bool = True
    ) -> None:
        late = delay if delay and self.has_start_delay else OMITTED
        for step, deps in shape.items():
            # Of other flows, steps of the same name may be of another type.
            other = flip and len(deps) < 2 and self.small() == 0  # noqa: PLR2004
            is_map = self.has_maps and other is not step.startswith("m")
            kind = "map" if is_map else OMITTED
            added = calls.AddStep(flow, step, deps or OMITTED, start_delay=late, step_type=kind)
            self.history.call(added)

    def _add_step(self) -> None:
        """A step like any other: new or known, with dependencies that exist."""
        pick = self.pick()
        deps = tuple(self.step(number) for number in self.some(range(8), 2))
        step = self.of("abcm")
        kind = self.of([OMITTED, "map"]) if self.has_maps else OMITTED
        self.history.call(calls.AddStep(self.flow(pick), step, deps, step_type=kind))

    def _add_last_step(self) -> None:
        """A new step that waits for what may have been a leaf."""
        flow = self.flow(self.pick())
        last = list(self.history.state.flows[flow].steps)[-1:]
        self.history.call(calls.AddStep(flow, "last", tuple(last)))

    def _add_dependency(self) -> None:
        """One more dependency for a step that is there, whatever runs are under way."""
        flow = self.history.state.flows[self.flow(self.pick())]
        if len(flow.steps) > 1:
            step, dep = self.of(list(flow.steps)), self.of(list(flow.steps))
            kind = flow.steps[step].step_type if self.has_maps else OMITTED
            self.history.call(calls.AddStep(flow.row.flow_slug, step, (dep,), step_type=kind))

    def _add_odd_step(self) -> None:
        flow = self.of(["nowhere", None, "f", "f"])
        deps = self.of([OMITTED, None, (), ("a",), ("zz",), ("a", None), ("a", "b"), (None,)])
        options = self.of(ATTEMPTS), self.of(DELAYS), self.of(TIMEOUTS), self.of(START_DELAYS)
        self.history.call(calls.AddStep(flow, self.of(STEPS), deps, *options, self.of(KINDS)))

    def _add_step_with_options(self) -> None:
        delay = self.of(START_DELAYS) if self.has_start_delay else OMITTED
        options = self.of(ATTEMPTS), self.of(DELAYS), self.of(TIMEOUTS), delay
        kind = self.of([OMITTED, "map"]) if self.has_maps else OMITTED
        self.history.call(calls.AddStep(self.flow(0), "late", OMITTED, *options, kind))

    def _is_valid_slug(self) -> None:
        self.history.call(calls.IsValidSlug(self.of([*FLOWS, *STEPS])))

    def _calculate_retry_delay(self) -> None:
        attempts = self.of(mostly([0, 1, 2, 10], [-1, -1080, 29, 31, 1030, None]))
        base = self.of([0, 1, 3, 5, -3, LARGEST, None])
        self.history.call(calls.CalculateRetryDelay(base, attempts))

    # Runs

    def _start_flow(self) -> None:
        self.history.call(calls.StartFlow(self.flow(self.pick()), self.of(INPUTS)))

    def _start_odd_flow(self) -> None:
        known = UUID(int=(5 << 64) | len(self.runs()))
        run_id = self.of([None, known, self.run_id(0), OMITTED])
        flow = self.of(["f", "nowhere", None])
        self.history.call(calls.StartFlow(flow, self.of(INPUTS), run_id))

    def _start_flow_with_states(self) -> None:
        run_id = self.of([OMITTED, None, self.run_id(0)])
        flow = self.flow(self.pick())
        self.history.call(calls.StartFlowWithStates(flow, self.of(INPUTS), run_id))

    def _get_run_with_states(self) -> None:
        self.history.call(calls.GetRunWithStates(self.run_id(self.pick())))

    def _call_inner_function(self) -> None:
        kinds = (
            calls.StartReadySteps,
            calls.MaybeCompleteRun,
            calls.CascadeCompleteTasklessSteps,
        )
        self.history.call(self.of(kinds)(self.run_id(self.pick())))

    # Tasks

    def _read(self) -> None:
        quantity = self.of(mostly([1, 10], [0, -1, None]))
        self.history.call(calls.Read(self.flow(self.pick()), self.of(SECONDS), quantity))

    def _read_and_claim(self) -> None:
        flow = self.flow(self.pick())
        messages = self.history.call(calls.Read(flow, 2, 10))
        found = tuple(message.msg_id for message in messages)  # type: ignore[attr-defined]
        self.history.call(calls.StartTasks(flow, found, self.worker(self.pick())))

    def _claim(self) -> None:
        """Messages that were read or not, that are there or gone."""
        flow = self.flow(self.pick())
        known = self.message_ids(flow)
        which = self.some(range(8), 4)
        found: tuple[int | None, ...] = tuple(known[n % len(known)] for n in which if known)
        found += self.of([(), (), (99, None, -1)])
        self.history.call(calls.StartTasks(flow, found, self.worker(self.pick())))

    def _claim_nothing(self) -> None:
        flow = self.of(["f", "nowhere", None])
        self.history.call(calls.StartTasks(flow, self.of([None, (1,)]), None))

    def worker(self, pick: int) -> UUID | None:
        """Mostly the one that is registered."""
        return {5: None, 6: NOBODY, 7: WORKERS[1]}.get(pick, WORKERS[0])

    def _complete_task(self) -> None:
        task = self.task(self.pick(), started=self.small() > 0)
        if task is not None:
            key = (task.run_id, task.step_slug, task.task_index)
            self.history.call(calls.CompleteTask(*key, self.of(JSON)))

    def _fail_task(self) -> None:
        task = self.task(self.pick(), started=self.small() > 0)
        if task is not None:
            key = (task.run_id, task.step_slug, task.task_index)
            self.history.call(calls.FailTask(*key, self.of(ERRORS)))

    def _complete_all(self) -> None:
        """Every started task, one after the other."""
        output = self.of(["[1]", "[1, 2, 3]", "[]", '"x"', None])
        for run in self.history.state.runs.values():
            for task in run.tasks.values():
                if task.status == "started":
                    key = (task.run_id, task.step_slug, task.task_index)
                    self.history.call(calls.CompleteTask(*key, output))

    def _finish(self) -> None:
        """Work as a worker does, until nothing is left of a flow or too much."""
        flow = self.flow(self.pick())
        for _ in range(4):
            messages = self.history.call(calls.Read(flow, 2, 10))
            found = tuple(message.msg_id for message in messages)  # type: ignore[attr-defined]
            self.history.call(calls.StartTasks(flow, found, WORKERS[0]))
            self._complete_all()

    def _end_odd_task(self) -> None:
        """A task that is there, or nearly so."""
        run_id = self.of([None, NOBODY, *[self.run_id(0)] * 4, self.run_id(1)])
        slug = self.of([None, "zz", *[self.step(self.pick())] * 4])
        index = self.of([0, 1, 1, -1, None])
        kind = self.of([calls.CompleteTask, calls.FailTask])
        self.history.call(kind(run_id, slug, index, self.of(['"odd"', "[]", None])))

    def _complete_nothing(self) -> None:
        """A task that is not there, of a run that is."""
        self.history.call(calls.CompleteTask(self.run_id(self.pick()), "zz", 0, "[]"))

    def _poll_for_tasks(self) -> None:
        self.history.call(calls.PollForTasks("f", 1, self.of([1, None])))

    # Workers

    def _register_worker(self) -> None:
        worker_id = self.of([*WORKERS, None])
        queue = self.of(["f", None])
        self.history.call(calls.RegisterWorker(worker_id, queue, "another"))

    def _change_worker(self) -> None:
        kinds = (calls.Heartbeat, calls.EndWorker, calls.DeleteWorker)
        worker_id = self.of([*WORKERS, NOBODY])
        self.history.call(self.of(kinds)(worker_id))

    # Queues and time

    def _time_passes(self) -> None:
        seconds = self.of([0.5, 1, 2, 5, 10, 60, 3600])
        self.history.call(calls.Pass(int(seconds * SECOND)))

    def _read_with_poll(self) -> None:
        seconds = self.of([OMITTED, 0, 1, 2, -1])
        interval = self.of([OMITTED, 100, 700, 0, None])
        flow, hide = self.flow(self.pick()), self.of(SECONDS)
        quantity = self.of([1, 5])
        self.history.call(calls.ReadWithPoll(flow, hide, quantity, seconds, interval))

    def _set_vt_batch(self) -> None:
        found = tuple(self.some(range(1, 6), 3))
        offsets = tuple(self.some(mostly([0, 5, -5], [None]), 3))
        given = offsets + (1, 2, 3)[len(offsets) : len(found)] if self.small() else offsets
        given = given[: len(found)] if self.small() else given
        null = self.of([(found, given)] * 6 + [(None, given), (found, None)])
        self.history.call(calls.SetVtBatch(self.flow(self.pick()), *null))

    def _set_vt(self) -> None:
        number, seconds = self.of(range(1, 6)), self.of([0, 5, -5])
        self.history.call(calls.SetVt(self.flow(self.pick()), number, seconds))

    def _meddle_with_queue(self) -> None:
        flow = self.of([self.flow(0), self.flow(1), "nowhere"])
        number = self.of(range(1, 6))
        message = json.dumps({"flow_slug": flow, "foreign": True})
        kinds = (
            calls.Archive(flow, number),
            calls.Delete(flow, number),
            calls.Send(flow, message, number),
        )
        self.history.call(self.of(kinds))

    def _renew_queue(self) -> None:
        """The queue of a flow is lost, and made again for new runs."""
        flow = self.flow(self.pick())
        if self.small() == 0:
            self._fail_task()  # what is left queued of a failed run has ids that come again
        self.history.call(calls.DropQueue(self.of([flow, flow, flow.swapcase()])))
        self.history.call(calls.CreateFlow(flow))
        self.history.call(calls.StartFlow(flow, "[1, 2]"))
        self.history.call(calls.StartTasks(flow, (1, 2, 3), WORKERS[0]))

    def _drop_queue(self) -> None:
        self.history.call(calls.DropQueue(self.flow(self.pick())))
