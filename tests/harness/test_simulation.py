"""Many workers on the model: thousands of schedules, and mistakes that some of them must find."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from conformance.harness.invariants import History, broken
from conformance.simulation import Broken, simulate
from conformance.simulation import log as simulation_log
from conformance.simulation import operations as ops
from conformance.simulation.__main__ import line, main, run
from conformance.simulation.database import Database
from conformance.simulation.flows import MAP, WITH_MAPS, opening
from conformance.simulation.verdict import JUDGED
from pgflow_ref import machine
from pgflow_ref.model import calls, tables
from pgflow_ref.profiles import load
from pgflow_ref.protocol import (
    Command,
    Event,
    MarkStopped,
    NotRecorded,
    PollFailed,
    Read,
    Recorded,
    Run,
    StopRequested,
)
from pgflow_ref.task import Completed, Failed, Result, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.simulation.operations import Done, Transaction
    from pgflow_ref.machine import State
    from pgflow_ref.model import Profile
    from pgflow_ref.model.rows import TaskRow

    Step = Callable[[State, Event], tuple[State, list[Command]]]

OLD, NEW = load("0.5.0").profile, load("0.8.1").profile
CORES = pytest.mark.parametrize("profile", [OLD, NEW], ids=lambda profile: profile.core)
SEEDS = 1_250


@CORES
@pytest.mark.parametrize("first", range(0, SEEDS, 250))
def test_many_schedules(profile: Any, first: int) -> None:
    for seed in range(first, first + 250):
        simulate(seed, profile)


@CORES
def test_a_seed_is_a_history(profile: Any) -> None:
    histories = [simulate(seed, profile).events for seed in range(30)]
    assert histories == [simulate(seed, profile).events for seed in range(30)]
    assert all(history != histories[0] for history in histories[1:])


def test_all_kinds_of_schedules_are_played() -> None:
    worlds = [simulate(seed, NEW).world for seed in range(300)]
    workers = [worker for world in worlds for worker in world.workers]
    assert {world.schedule.flow for world in worlds} == set(WITH_MAPS)
    assert {len(world.workers) for world in worlds} == {1, 2, 3}
    assert {world.schedule.is_calm for world in worlds} == {True, False}
    assert {run.row.status for world in worlds for run in world.database.state.runs.values()} == {
        "started",
        "completed",
        "failed",
    }
    assert {worker.vanished for worker in workers} == {True, False}
    assert any(world.database.recoveries for world in worlds)
    assert any(worker.abandoned for worker in workers)
    assert any(len(sent) > 1 for worker in workers for sent in worker.sent.values())
    for weather in ("lost_call", "lost_reply", "repeated", "outages", "jumps"):
        assert any(getattr(world.weather, weather) for world in worlds)
    ends = {type(outcome) for worker in workers for outcome in worker.told.values()}
    assert ends == {Completed, Failed}


# The log


@CORES
def test_the_log_tells_how_the_database_came_to_be(profile: Any) -> None:
    for seed in range(40):
        played = simulate(seed, profile)
        rows: dict[str, dict[Any, Any]] = {source: {} for source in simulation_log.SOURCES}
        for number, event in enumerate(played.events, 1):
            assert event.id == number
            key = _primary_key(event.source, event.row)
            assert rows[event.source].pop(key, None) == event.old
            assert event.old != event.new
            if event.new is not None:
                rows[event.source][key] = event.new
        state = played.world.database.state
        stored = tables.rows(state, profile)
        assert _sorted(rows["run"]) == _sorted_rows(stored["runs"])
        assert _sorted(rows["step"]) == _sorted_rows(stored["step_states"])
        assert _sorted(rows["task"]) == _sorted_rows(stored["step_tasks"])
        assert _sorted(rows["worker"]) == _sorted_rows(stored["workers"])
        assert rows["message"].keys() == state.queues["f"].messages.keys()
        assert rows["archive"].keys() == state.queues["f"].archive.keys()


def test_what_is_judged_is_the_log_without_what_no_invariant_looks_at() -> None:
    database = simulate(1, OLD).world.database
    assert database.events(JUDGED) == [e for e in database.events() if e.source in JUDGED]


def test_what_a_failed_run_strands_breaks_no_invariant() -> None:
    stranded = 0
    for seed in range(300):
        world = simulate(seed, NEW).world
        events = world.database.events(JUDGED)
        limits = dict.fromkeys(world.schedule.flow.timeouts, world.schedule.max_attempts)
        assert broken(History(world.schedule.flow.shape, limits, events)) == []
        failed = {e.txid for e in events if e.source == "run" and e.became("failed")}
        archived = [e for e in events if e.source == "archive" and e.txid in failed]
        stranded += len(archived) - len({e.txid for e in archived})
    assert stranded


def _primary_key(source: str, row: dict[str, Any]) -> object:
    if source in ("message", "archive"):
        return row["msg_id"]
    names = ("run_id", "step_slug", "task_index", "worker_id")
    return tuple(row[name] for name in names if name in row)


def _sorted(rows: dict[Any, Any]) -> list[str]:
    return _sorted_rows(list(rows.values()))


def _sorted_rows(rows: list[Any]) -> list[str]:
    return sorted(str(sorted(row.items())) for row in rows)


# The operations


def test_a_transaction_that_is_refused_changes_nothing_but_the_time() -> None:
    worker, begun = Worker(), opening(MAP, 3, ("{}",), NEW)
    database = Database(begun, NEW)
    task = worker.gets(database)
    before = database.state
    bad = Result(task, Completed('["\\u0000"]'))
    fine = Result(task, Completed("[1]"))
    done = database.record((fine, bad), worker.id)
    assert done.refusal is not None
    assert done.refusal.sqlstate == ops.UNTRANSLATABLE_CHARACTER
    assert done.value is None
    assert database.state == before._replace(clock=database.state.clock)
    assert database.record((fine,), worker.id).value == (True,)
    assert database.record((fine,), worker.id).value == (False,)


@pytest.mark.parametrize("text", ['["\\\\u0000"]', '["u0000"]'])
def test_a_text_that_only_looks_like_a_nul_is_stored(text: str) -> None:
    worker, begun = Worker(), opening(MAP, 3, ("{}",), OLD)
    database = Database(begun, OLD)
    result = Result(worker.gets(database), Completed(text))
    assert database.record((result,), worker.id).value == (True,)


def test_a_result_is_taken_from_who_has_the_task_at_its_attempt() -> None:
    one, other = Worker(1), Worker(2)
    database = Database(opening(WITH_MAPS[0], 3, ("{}",), OLD), OLD)
    task = one.gets(database)
    other.registers(database)
    fine = Completed("1")
    assert database.record((Result(task, fine),), other.id).value == (False,)
    later = replace(task, key=task.key._replace(attempt=2))
    assert database.record((Result(later, fine),), one.id).value == (False,)
    assert database.record((Result(task, fine),), one.id).value == (True,)
    assert database.is_idle


@pytest.mark.parametrize(("profile", "ends"), [(OLD, True), (NEW, False)])
def test_a_worker_is_marked_where_its_row_has_a_column_for_it(profile: Any, ends: bool) -> None:
    worker, database = Worker(), Database(opening(WITH_MAPS[0], 3, ("{}",), profile), profile)
    worker.registers(database)
    database.mark_stopped(worker.id)
    assert (database.state.workers[worker.id].ended_at is not None) == ends


class Worker:
    """A worker that does what the test says."""

    def __init__(self, number: int = 1) -> None:
        self.id = UUID(int=number)

    def registers(self, database: Database) -> None:
        assert database.register_worker(self.id).refusal is None

    def gets(self, database: Database) -> Task:
        """Register, read and claim the only task."""
        self.registers(database)
        read = database.read_messages(60, 10).value
        assert read
        claimed = database.claim(read, self.id).value
        assert claimed is not None
        (task,) = claimed
        return task


# Mistakes: each is found by one of the schedules above.


class NobodyAsksWhoseItIs(Database):
    """A result is taken for the task as it is, whoever has it by now."""

    def record(self, results: tuple[Result, ...], _worker_id: UUID) -> Done[tuple[bool, ...]]:
        def work(tx: Transaction) -> tuple[bool, ...]:
            for result in results:
                ops.check_storable(result)
                ops.finish(tx, result)
            return (True,) * len(results)

        return self.transact(work)


class CompletesTwice(Database):
    """A task that is completed may be completed again."""

    def record(self, results: tuple[Result, ...], worker_id: UUID) -> Done[tuple[bool, ...]]:
        def work(tx: Transaction) -> tuple[bool, ...]:
            for result in results:
                task = _task(tx, result.task.key)
                if task.status == "completed":
                    _put(tx, task._replace(status="started", completed_at=None))
            return ops.record_together(tx, results, worker_id)

        return self.transact(work)


class ClaimsFromOthers(Database):
    """A claim takes a task though it is started, out of the hands of who has it."""

    def claim(self, message_ids: tuple[int, ...], worker_id: UUID) -> Done[tuple[Task, ...]]:
        def work(tx: Transaction) -> tuple[Task, ...]:
            for task in _tasks(tx):
                if task.status == "started" and task.message_id in message_ids:
                    _put(tx, task._replace(last_worker_id=worker_id))
            ops.start_tasks(tx, "f", message_ids, worker_id)
            keys = ops.claimed_tasks(tx, "f", message_ids, worker_id)
            return tuple(Task(key, "f", claimed[0], "{}") for claimed, key in keys.items())

        return self.transact(work)


class GivesWhatOthersHave(Database):
    """A claim gives all that is started, without a look at who has it."""

    def claim(self, message_ids: tuple[int, ...], worker_id: UUID) -> Done[tuple[Task, ...]]:
        def work(tx: Transaction) -> tuple[Task, ...]:
            ops.start_tasks(tx, "f", message_ids, worker_id)
            return tuple(
                Task(_key(task), "f", task.message_id, "{}")
                for task in _tasks(tx)
                if task.status == "started" and task.message_id in message_ids
            )

        return self.transact(work)


class DropsAResult(Database):
    """Of a batch, the last result is not recorded, and the worker is told that it is."""

    def record(self, results: tuple[Result, ...], worker_id: UUID) -> Done[tuple[bool, ...]]:
        return self.transact(lambda tx: (*ops.record_together(tx, results[:-1], worker_id), True))


class RecoversForEver(Database):
    """Recovery does not count attempts."""

    def _max_attempts(self, _task: TaskRow) -> int:
        return 1_000


class RecoversWhatRuns(Database):
    """Recovery takes a task from its worker, and counts that as no attempt."""

    def _requeue(self, task: TaskRow, tx: Transaction) -> None:
        super()._requeue(task, tx)
        _put(tx, _task(tx, _key(task))._replace(attempts_count=task.attempts_count - 1))


class RecoversTooEarly(Database):
    """Recovery has no patience, not even until the timeout."""

    def _stalled(self, tx: Transaction) -> Iterator[TaskRow]:
        return iter([task for task in _tasks(tx) if task.status == "started"])


class Edited(Database, ABC):
    """A core that forgets something when a result is recorded."""

    def record(self, results: tuple[Result, ...], worker_id: UUID) -> Done[tuple[bool, ...]]:
        def work(tx: Transaction) -> tuple[bool, ...]:
            before, recorded = tx.state, ops.record_together(tx, results, worker_id)
            if any(recorded):
                tx.states[:] = []
                tx.put(self.edit(before, tx.state))
            return recorded

        return self.transact(work)

    @abstractmethod
    def edit(self, before: Any, after: Any) -> Any:
        """The database after a result, but for what is forgotten."""


class ArchivesNothing(Edited):
    def edit(self, _before: Any, after: Any) -> Any:
        return after._replace(queues={"f": after.queues["f"]._replace(archive={})})


class CountsNothing(Edited):
    def edit(self, before: Any, after: Any) -> Any:
        runs = {
            run_id: run._replace(
                row=run.row._replace(remaining_steps=before.runs[run_id].row.remaining_steps)
            )
            for run_id, run in after.runs.items()
        }
        return after._replace(runs=runs)


class EmptyOutput(Edited):
    def edit(self, _before: Any, after: Any) -> Any:
        runs = {
            run_id: run._replace(row=run.row._replace(output="{}" if run.row.output else None))
            for run_id, run in after.runs.items()
        }
        return after._replace(runs=runs)


class StartsTooEarly(Database):
    """The first claim queues every step, ready or not."""

    def claim(self, message_ids: tuple[int, ...], worker_id: UUID) -> Done[tuple[Task, ...]]:
        def work(tx: Transaction) -> tuple[Task, ...]:
            for run_id, begun in tx.state.runs.items():
                states = {
                    slug: state._replace(remaining_deps=0, initial_tasks=state.initial_tasks or 1)
                    if state.status == "created"
                    else state
                    for slug, state in begun.states.items()
                }
                runs = {**tx.state.runs, run_id: begun._replace(states=states)}
                tx.put(tx.state._replace(runs=runs))
                tx.call(calls.StartReadySteps(run_id))
            return ops.claim(tx, "f", message_ids, worker_id)

        return self.transact(work)


def _tasks(tx: Transaction) -> list[TaskRow]:
    return [task for run in tx.state.runs.values() for task in run.tasks.values()]


def _task(tx: Transaction, key: TaskKey) -> TaskRow:
    return tx.state.runs[key.run_id].tasks[key.step_slug, key.task_index]


def _key(task: TaskRow) -> TaskKey:
    return TaskKey(task.run_id, task.step_slug, task.task_index, task.attempts_count)


def _put(tx: Transaction, task: TaskRow) -> None:
    run = tx.state.runs[task.run_id]
    run = run._replace(tasks={**run.tasks, (task.step_slug, task.task_index): task})
    tx.put(tx.state._replace(runs={**tx.state.runs, task.run_id: run}))


def forgetful(state: State, event: Event) -> tuple[State, list[Command]]:
    """What could not be recorded is forgotten."""
    if isinstance(event, NotRecorded):
        state = state._replace(recording={event.lane: ()})
        return machine.step(state, Recorded(event.now, event.lane))
    return machine.step(state, event)


def abrupt(state: State, event: Event) -> tuple[State, list[Command]]:
    """When it is asked to stop it drops everything."""
    state, commands = machine.step(state, event)
    if isinstance(event, StopRequested) and state.phase is machine.Phase.STOPPING:
        return state._replace(phase=machine.Phase.STOPPED), [*commands, MarkStopped()]
    return state, commands


def discouraged(state: State, event: Event) -> tuple[State, list[Command]]:
    """After a read that failed it reads no more."""
    if isinstance(event, PollFailed):
        return state._replace(now=event.now), []
    return machine.step(state, event)


def lenient(state: State, event: Event) -> tuple[State, list[Command]]:
    """It waits for every handler, however long."""
    state, commands = machine.step(state, event)
    running = {key: replace(one, deadline=1e9) for key, one in state.running.items()}
    return state._replace(running=running), commands


def repeating(state: State, event: Event) -> tuple[State, list[Command]]:
    """A result that may not be recorded is worked out once more."""
    state, commands = machine.step(state, event)
    if isinstance(event, NotRecorded):
        commands = [*commands, *(Run(result.task) for result in state.outbox)]
    return state, commands


def deaf(state: State, event: Event) -> tuple[State, list[Command]]:
    """It never reads."""
    state, commands = machine.step(state, event)
    return state, [command for command in commands if not isinstance(command, Read)]


def careless(state: State, event: Event) -> tuple[State, list[Command]]:
    """It never looks for tasks whose worker is gone."""
    state, commands = machine.step(state, event)
    return state._replace(recover_at=float("inf")), commands


def broken_promise(seed: int, played: Callable[[int], object]) -> str:
    try:
        played(seed)
    except Broken as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        (NobodyAsksWhoseItIs, "another result took effect"),
        (NobodyAsksWhoseItIs, "has a result that no worker sent"),
        (CompletesTwice, "was completed twice"),
        (ClaimsFromOthers, "and then had by"),
        (GivesWhatOthersHave, "two handlers were called"),
        (DropsAResult, "is lost, and its worker was told it is not"),
        (RecoversForEver, "is at attempt 2 of 1"),
        (RecoversWhatRuns, "went from attempt 1 to 0"),
        (RecoversTooEarly, "was claimed, and nobody spoke of it again"),
        (ArchivesNothing, "was not archived when its task was over"),
        (CountsNothing, "remaining steps"),
        (EmptyOutput, "has the output {}"),
        (StartsTooEarly, "was queued before a was completed"),
    ],
)
def test_a_mistake_of_the_database_is_found(mistake: type[Database], noticed: str) -> None:
    played = partial(simulate, profile=OLD, database=mistake)
    assert any(noticed in broken_promise(seed, played) for seed in range(SEEDS))


@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        (forgetful, "is forgotten by a worker that stopped"),
        (abrupt, "is forgotten by a worker that stopped"),
        (discouraged, "the work is never done"),
        (lenient, "the work is never done"),
        (repeating, "two handlers were called"),
        (deaf, "the work is never done"),
        (careless, "the work is never done"),
    ],
)
def test_a_mistake_of_the_machine_is_found(mistake: Step, noticed: str) -> None:
    played = partial(simulate, profile=OLD, step=mistake)
    assert any(noticed in broken_promise(seed, played) for seed in range(SEEDS))


def test_a_mistake_is_told_with_the_command_that_repeats_it() -> None:
    with pytest.raises(Broken) as failed:
        simulate(11, OLD, step=deaf)
    assert failed.value.seed == 11
    assert str(failed.value).endswith("To repeat it: ./scripts/simulate --core 0.5.0 --seed 11")


# The command


def test_the_command_plays_and_says_how_fast() -> None:
    said = CliRunner().invoke(main, ["--seeds", "20", "--core", "0.8.1"])
    assert said.exit_code == 0
    assert said.output.startswith("20 schedules on core 0.8.1 in ")
    assert said.output.endswith("per second: no promise was broken\n")
    assert CliRunner().invoke(main, ["--seed", "7"]).output.startswith("1 schedule on core 0.5.0")


def test_the_command_plays_many_side_by_side() -> None:
    said = CliRunner().invoke(main, ["--seeds", "401"])
    # Above it, where the machine is slow, stands how far it is.
    assert said.output.splitlines()[-1].startswith("401 schedules on core 0.5.0 in ")


def test_the_command_refuses_what_it_does_not_know() -> None:
    assert CliRunner().invoke(main, ["--core", "0.4.0"]).exit_code == 2
    assert CliRunner().invoke(main, ["--seeds", "0"]).exit_code == 2


def test_the_command_shows_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    def plays(profile: Profile, seeds: range) -> Iterator[tuple[int, Broken | None]]:
        for seed in seeds:
            try:
                simulate(seed, profile, database=ArchivesNothing)
            except Broken as broken:
                yield 1, broken
            yield 1, None

    assert run(OLD, range(100), 4, plays) == 1
    said = capsys.readouterr().out.splitlines()
    seed = said[0].split()[1]
    assert said[0] == f"seed {seed} on core 0.5.0 breaks a promise:"
    assert "was not archived when its task was over" in said[2]
    start = next(number for number, line in enumerate(said) if line.startswith("The last 4 of "))
    assert len(said[start:]) == 2 + 4 + 2
    assert said[-1] == f"To repeat it: ./scripts/simulate --core 0.5.0 --seed {seed}"


def test_changes_are_told_in_a_line() -> None:
    lines = [line(event) for seed in range(20) for event in simulate(seed, OLD).events]
    text = "\n".join(lines)
    assert "run 1: started, 4 left" in text
    assert "run 1 a[0]: queued, attempt 0 of nobody, None → started, attempt 1 of" in text
    assert "message  1: read 0 times, hidden until" in text
    assert "→ gone" in text
    assert all("\n" not in one for one in lines)
