"""A call as the SQL that makes it: what is executed is what evidence shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg import sql

from pgflow_ref.model import calls
from pgflow_ref.model.calls import OMITTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgflow_ref.model import Profile, State
    from pgflow_ref.model.calls import Call

_FUNCTIONS: Final[dict[type[Call], str]] = {
    calls.CreateFlow: "pgflow.create_flow",
    calls.AddStep: "pgflow.add_step",
    calls.IsValidSlug: "pgflow.is_valid_slug",
    calls.CalculateRetryDelay: "pgflow.calculate_retry_delay",
    calls.StartFlow: "pgflow.start_flow",
    calls.StartFlowWithStates: "pgflow.start_flow_with_states",
    calls.GetRunWithStates: "pgflow.get_run_with_states",
    calls.StartReadySteps: "pgflow.start_ready_steps",
    calls.CascadeCompleteTasklessSteps: "pgflow.cascade_complete_taskless_steps",
    calls.MaybeCompleteRun: "pgflow.maybe_complete_run",
    calls.StartTasks: "pgflow.start_tasks",
    calls.CompleteTask: "pgflow.complete_task",
    calls.FailTask: "pgflow.fail_task",
    calls.PollForTasks: "pgflow.poll_for_tasks",
    calls.Read: "pgmq.read",
    calls.ReadWithPoll: "pgmq.read_with_poll",
    calls.SetVtBatch: "pgflow.set_vt_batch",
    calls.Send: "pgmq.send",
    calls.SetVt: "pgmq.set_vt",
    calls.Archive: "pgmq.archive",
    calls.Delete: "pgmq.delete",
    calls.DropQueue: "pgmq.drop_queue",
}
_TYPES: Final = {
    "base_delay": "integer",
    "message": "jsonb",
    "msg_ids": "bigint[]",
    "msg_id": "bigint",
    "output": "jsonb",
    "input": "jsonb",
    "deps_slugs": "text[]",
    "vt_offsets": "integer[]",
    "delay": "integer",
}
_IN_PLACE: Final[dict[type[Call], dict[str, str]]] = {  # pgmq's own names for some arguments
    calls.Send: {"message": "msg"},
}


def statement(call: Call, profile: Profile) -> str:
    """The SQL of a call, ready to run; of `Pass`, which is no call of SQL, nothing.

    Example:
        >>> statement(calls.CreateFlow("f", max_attempts=2), load("0.5.0").profile)
        "SELECT * FROM pgflow.create_flow(flow_slug => 'f', max_attempts => 2);"
    """
    special = _SPECIAL.get(type(call))
    if special is not None:
        return special(call, profile)
    name = _FUNCTIONS[type(call)]
    if isinstance(call, calls.ReadWithPoll) and "read_with_poll_in_core" in profile.behaviours:
        name = "pgflow.read_with_poll"
    return f"SELECT * FROM {name}({_arguments(call)});"


def script(history: Sequence[tuple[Call, State]], profile: Profile) -> list[str]:
    """A history as a script for psql, against a database that holds nothing but the core.

    Args:
        history: each call with the state that the model was in before it.
        profile: the version of the core.
    """
    return [_in_script(call, state, profile) for call, state in history]


def with_id(call: Call, state: State) -> Call:
    """A call with the run id that it would generate, spelled out."""
    if isinstance(call, (calls.StartFlow, calls.StartFlowWithStates)) and (
        call.run_id is OMITTED or call.run_id is None
    ):
        return replace(call, run_id=state.next_run_id)
    return call


def _in_script(call: Call, state: State, profile: Profile) -> str:
    """A call for a real server, whose clock cannot be set and whose ids are random."""
    if isinstance(call, calls.Pass):
        moved = [
            f"UPDATE {_identifier('pgmq', f'q_{name}')} SET vt = vt - interval"
            f" '{call.microseconds} microseconds';"
            for name in state.queues
        ]
        return "\n".join([f"-- {call.microseconds / 1e6:g} s pass", *moved])
    return statement(with_id(call, state), profile)


def _arguments(call: Call) -> str:
    names = _IN_PLACE.get(type(call), {})
    given = ((name, getattr(call, name)) for name in call.__slots__)
    return ", ".join(
        f"{names.get(name, name)} => {_literal(name, value)}"
        for name, value in given
        if value is not OMITTED
    )


def _literal(name: str, value: object) -> str:
    """A value with the type of its argument, where the value alone does not say it."""
    cast = f"::{_TYPES[name]}" if name in _TYPES else ""
    if isinstance(value, tuple):
        return f"ARRAY[{', '.join(_literal('', item) for item in value)}]{cast}"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})"
    if isinstance(value, UUID):
        return f"'{value}'"
    return sql.Literal(value).as_string(None) + cast


def _identifier(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)


def _register(call: Any, _profile: Profile) -> str:
    values = ", ".join(
        _literal("", value) for value in (call.worker_id, call.queue_name, call.function_name)
    )
    return (
        "INSERT INTO pgflow.workers (worker_id, queue_name, function_name)"
        f" VALUES ({values}) RETURNING *;"
    )


def _set_worker(column: str) -> Callable[[Any, Profile], str]:
    return lambda call, _profile: (
        f"UPDATE pgflow.workers SET {column} = clock_timestamp()"
        f" WHERE worker_id = '{call.worker_id}' RETURNING *;"
    )


def _end_worker(call: Any, profile: Profile) -> str:
    stops = "stopped_at" in profile.columns["workers"]
    return _set_worker("stopped_at" if stops else "deprecated_at")(call, profile)


_SPECIAL: Final[dict[type[Call], Callable[[Any, Profile], str]]] = {
    calls.RegisterWorker: _register,
    calls.Heartbeat: _set_worker("last_heartbeat_at"),
    calls.EndWorker: _end_worker,
    calls.DeleteWorker: lambda call, _: (
        f"DELETE FROM pgflow.workers WHERE worker_id = '{call.worker_id}' RETURNING *;"
    ),
    calls.Pass: lambda _call, _profile: "",
}
