"""Where the model and the database differ after a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.harness.values import same, show
from pgflow_ref.model import calls, rows, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.core.subject import Seen
    from pgflow_ref.model import Profile, Refusal, Reply, State

KEYS: Final = {
    "flows": ("flow_slug",),
    "steps": ("flow_slug", "step_slug"),
    "deps": ("flow_slug", "dep_slug", "step_slug"),
    "runs": ("run_id",),
    "step_states": ("run_id", "step_slug"),
    "step_tasks": ("run_id", "step_slug", "task_index"),
    "workers": ("worker_id",),
}
"""The primary keys of the tables of schema `pgflow`."""

_NOTHING: Final = "nothing"
_TABLES: Final[dict[type[Any], str]] = {
    rows.FlowRow: "flows",
    rows.StepRow: "steps",
    rows.RunRow: "runs",
    rows.TaskRow: "step_tasks",
    rows.WorkerRow: "workers",
}
_ORDER: Final = ("msg_id", "run_id", "step_slug", "task_index")
_RECORD: Final = ("flow_slug", "run_id", "step_slug", "input", "msg_id")


def differences(call: calls.Call, reply: Reply, seen: Seen, profile: Profile) -> list[str]:
    """Compare everything: one sentence for each place, with what each side has."""
    if reply.refusal != seen.refusal:
        said = f" ({seen.said})" if seen.refusal else ""
        return [
            f"the model expects {_show(reply.refusal)}, the database {_did(seen.refusal)}{said}"
        ]
    return [*_answer(call, reply, seen, profile), *_contents(reply.state, seen, profile)]


def _show(refusal: Refusal | None) -> str:
    if refusal is None:
        return "that it is accepted"
    return f"a refusal with {refusal.sqlstate} {refusal.constraint}".rstrip()


def _did(refusal: Refusal | None) -> str:
    if refusal is None:
        return "accepted it"
    return f"refused it with {refusal.sqlstate} {refusal.constraint}".rstrip()


def _answer(call: calls.Call, reply: Reply, seen: Seen, profile: Profile) -> Iterator[str]:
    if reply.refusal is None:
        expected = _expected_rows(call, reply, profile)
        yield from _differ("the answer", expected, _unordered(call, seen.rows))
    events = [event._asdict() for event in reply.events]
    yield from _differ("events", events, seen.events)


def _contents(state: State, seen: Seen, profile: Profile) -> Iterator[str]:
    for table, expected in tables.rows(state, profile, boxed=True).items():
        yield from _rows_differ(f"pgflow.{table}", KEYS[table], expected, seen.tables[table])
    queues = dict(seen.queues)
    yield from _differ("pgmq.meta", sorted(state.queue_names), queues.pop("meta"))
    for name, queue in state.queues.items():
        q, a = f"q_{name}", f"a_{name}"
        yield from _messages(q, tables.MESSAGE, queue.messages, queues.pop(q, None))
        yield from _messages(a, tables.ARCHIVED, queue.archive, queues.pop(a, None))
    if queues:
        yield f"tables: the database also has {', '.join(sorted(queues))}"


def _messages(
    table: str,
    columns: Sequence[str],
    expected: Mapping[int, rows.MessageRow],
    found: Sequence[Any] | None,
) -> Iterator[str]:
    if found is None:
        yield f"pgmq.{table}: the database has no such table"
        return
    wanted = [tables.message_as_json(row, columns) for row in expected.values()]
    yield from _rows_differ(f"pgmq.{table}", ("msg_id",), wanted, found)


def _rows_differ(
    table: str,
    key: Sequence[str],
    expected: Iterable[Mapping[str, Any]],
    found: Iterable[Mapping[str, Any]],
) -> Iterator[str]:
    """Compare two tables row by row, by primary key."""
    mine = {tuple(row[column] for column in key): row for row in expected}
    real = {tuple(row[column] for column in key): row for row in found}
    if mine == real and all(same(mine[one], real[one]) for one in mine):
        return
    for one in sorted(mine.keys() | real.keys(), key=str):
        what = f"{table} ({', '.join(map(str, one))})"
        if one not in real:
            yield f"{what}: the model has it, the database has not"
        elif one not in mine:
            yield f"{what}: the database has it, the model has not"
        else:
            yield from _differ(what, [mine[one]], [real[one]])


def _differ(what: str, expected: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    if expected == found and same(expected, found):
        return
    if len(expected) != len(found):
        ours, theirs = f"{len(expected)}: {show(expected)}", f"{len(found)}: {show(found)}"
        yield f"{what}: the model has {ours}; the database {theirs}"
        return
    for index, (mine, real) in enumerate(zip(expected, found, strict=True)):
        place = what if len(found) == 1 else f"{what}[{index}]"
        if isinstance(mine, dict) and isinstance(real, dict):
            for key in sorted(mine.keys() | real.keys()):
                left, right = mine.get(key, _NOTHING), real.get(key, _NOTHING)
                if not same(left, right):
                    yield f"{place}.{key}: the model has {show(left)}, the database {show(right)}"
        elif not same(mine, real):
            yield f"{place}: the model has {show(mine)}, the database {show(real)}"


def _expected_rows(call: calls.Call, reply: Reply, profile: Profile) -> list[Any]:
    """The rows as JSON; what SQL gives in no certain order, in order."""
    found = [_row(call, row, profile) for row in reply.rows]
    return _unordered(call, found)


def _row(call: calls.Call, row: Any, profile: Profile) -> object:
    if isinstance(row, rows.MessageRow):
        batch = isinstance(call, calls.SetVtBatch)
        columns = profile.columns["set_vt_batch"] if batch else tables.MESSAGE
        return tables.message_as_json(row, columns)
    if isinstance(row, rows.Record):
        return tables.as_json(row, profile.columns["step_task_record"])
    table = _TABLES.get(type(row))
    return row if table is None else tables.as_json(row, profile.columns[table])


def _unordered(call: calls.Call, found: Sequence[Any]) -> list[Any]:
    unwrapped = [_unwrap(call, row) for row in found]
    if isinstance(call, (calls.StartTasks, calls.Read, calls.ReadWithPoll, calls.SetVtBatch)):
        return sorted(unwrapped, key=lambda row: [str(row.get(name)) for name in _ORDER])
    if isinstance(call, (calls.GetRunWithStates, calls.StartFlowWithStates)):
        for whole in unwrapped:
            if isinstance(whole, dict) and isinstance(whole.get("steps"), list):
                whole["steps"].sort(key=_sorting)
    if isinstance(call, (calls.StartReadySteps, calls.MaybeCompleteRun, calls.Pass)):
        return []  # functions without a result
    return unwrapped


def _sorting(value: Any) -> str:
    """A text to sort JSON by, whatever order its keys are in."""
    return str(sorted(value.items())) if isinstance(value, dict) else str(value)


def _unwrap(call: calls.Call, row: Any) -> Any:
    """A function that gives one value gives one column, named like itself."""
    if isinstance(row, dict) and len(row) == 1:
        (name,) = row
        if name in _SCALARS.get(type(call), ()):
            return row[name]
    return row


_SCALARS: Final[dict[type[calls.Call], tuple[str, ...]]] = {
    calls.IsValidSlug: ("is_valid_slug",),
    calls.CalculateRetryDelay: ("calculate_retry_delay",),
    calls.GetRunWithStates: ("get_run_with_states",),
    calls.StartFlowWithStates: ("start_flow_with_states",),
    calls.CascadeCompleteTasklessSteps: ("cascade_complete_taskless_steps",),
    calls.Send: ("send",),
    calls.Archive: ("archive",),
    calls.Delete: ("delete",),
    calls.DropQueue: ("drop_queue",),
}
