"""Compare the catalogs of two cores: what the objects are, not yet what they do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.regress import shows
from conformance.regress.findings import Finding, Who

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from conformance.regress.catalogs import Catalog, Column, Function, Relation
    from conformance.regress.findings import Kind
    from conformance.regress.probes import Answers

    _Columns = tuple[tuple[str, str], ...]

_CALLERS: Final[dict[str, Who]] = {
    **dict.fromkeys(("start_tasks", "complete_task", "fail_task", "poll_for_tasks"), "workers"),
    **dict.fromkeys(("read_with_poll", "set_vt_batch", "requeue_stalled_tasks"), "workers"),
    **dict.fromkeys(("track_worker_function", "mark_worker_stopped"), "workers"),
    **dict.fromkeys(("workers", "step_task_record", "message_record"), "workers"),
    **dict.fromkeys(("create_flow", "add_step", "is_valid_slug"), "clients"),
    **dict.fromkeys(("ensure_flow_compiled", "delete_flow_and_data"), "clients"),
    **dict.fromkeys(("start_flow", "start_flow_with_states", "get_run_with_states"), "clients"),
    "runs": "clients",
}
"""Who calls or reads what, by the object's name without its schema; operators see the rest."""
_WRITTEN_BY_WORKERS: Final = "pgflow.workers"
"""The one table into which others than the core's own functions put rows."""
_RECORD: Final = frozenset({"msg_id", "read_ct", "enqueued_at", "vt", "message"})
"""The columns of a message that cores before 0.8 were made for; newer pgmqs have more."""
_HASH: Final = 12  # characters of a checksum that people are shown
_LISTED: Final = 30  # names in one line


def compare(
    base: Catalog,
    candidate: Catalog,
    answers: Mapping[str, Answers],
    ours: Collection[str] = (),
) -> list[Finding]:
    """Say what is different, and what is the same.

    Args:
        base: the one catalog.
        candidate: the other.
        answers: by signature of the base's functions, what became of calls of them.
        ours: names of functions that the installer has put in the place of the core's own, in one
            database or both.
    """
    return [
        *_functions(base, candidate, answers, ours),
        *_relations(base, candidate),
        *_named("type", base.types, candidate.types),
        *_grants(base, candidate),
        *_named("extension", base.extensions, candidate.extensions),
    ]


def concerns(name: str) -> Who:
    """Whom an object concerns first.

    Example:
        >>> [concerns(name) for name in ("pgflow.start_tasks", "pgflow.add_step", "pgflow.deps")]
        ['workers', 'clients', 'operators']
    """
    return _CALLERS.get(name.partition("(")[0].rpartition(".")[2], "operators")


def _functions(
    base: Catalog, candidate: Catalog, answers: Mapping[str, Answers], ours: Collection[str]
) -> Iterator[Finding]:
    same = []
    taken = {one.name for one in base.functions.values()}
    gone = base.functions.keys() - candidate.functions.keys()
    replaced = {base.functions[signature].name for signature in gone}
    for signature, old in base.functions.items():
        new = candidate.functions.get(signature)
        found = (
            _gone(old, candidate, answers.get(signature), base)
            if new is None
            else _differs(old, new, answers.get(signature), (base, candidate), ours)
        )
        if found is None:
            same.append(signature)
        else:
            yield found
    for signature, new in candidate.functions.items():
        if signature not in base.functions and new.name not in replaced:
            yield _new(new, beside=new.name in taken)
    yield from _same("function", same)


def _new(new: Function, *, beside: bool) -> Finding:
    """A function that takes the place of none; perhaps beside others of its name."""
    it = "It is new, beside the one of this name that there was" if beside else "It is new"
    detail = f"{it}, and gives back {new.result}." if new.result else f"{it}."
    what, script = f"function {new.signature}", shows.function(new)
    return Finding("changed", concerns(new.name), what, detail, script=script)


def _gone(
    old: Function, candidate: Catalog, answers: Answers | None, base: Catalog
) -> Finding | None:
    """A function whose signature is not there any more: can it still be called?"""
    others = [
        one.signature
        for one in candidate.functions.values()
        if one.name == old.name and one.signature not in base.functions
    ]
    what, who = f"function {old.signature}", concerns(old.name)
    instead = f"{' and '.join(others)} has taken its place" if others else "It is gone"
    if answers is not None and not answers.refused and answers.accepted:
        detail = f"{instead}; it takes every call that this one took, by name and by position."
        return Finding("changed", who, what, detail, script=shows.function(old))
    refused = dict(answers.refused) if answers is not None else {}
    if answers is not None and answers.accepted:
        ways = "; ".join(f"{call.how}, is refused: {said}" for call, said in refused.items())
        detail = f"{instead}; it takes other calls, but one {ways}."
    else:
        said = next(iter(refused.values()), "")
        detail = f"{instead}; no call of it is taken any more{f': {said}' if said else ''}."
    script = next((one.sql for one in refused), shows.function(old))
    return Finding("broken", who, what, detail, script=script)


def _differs(
    old: Function,
    new: Function,
    answers: Answers | None,
    catalogs: tuple[Catalog, Catalog],
    ours: Collection[str],
) -> Finding | None:
    """What is different in two functions of one signature."""
    kind: Kind = "changed"
    said, script = [], shows.function(old)
    if old.result != new.result or old.columns != new.columns:
        columns = _columns_of(old, catalogs[0]), _columns_of(new, catalogs[1])
        kind, words = _result(old, new, columns, is_ours=old.name in ours)
        said.append(words)
    names = [name for name, _ in old.arguments], [name for name, _ in new.arguments]
    if names[0] != names[1]:
        said.append(f"its arguments are called {', '.join(names[1])}, not {', '.join(names[0])}")
    if (old.optional, old.defaults) != (new.optional, new.defaults):
        said.append(f"defaults: {new.defaults or 'none'}, not {old.defaults or 'none'}")
    if old.properties != new.properties:
        said.append(f"it is {new.properties}, not {old.properties}")
    if old.body != new.body:
        said.append(f"its body has SHA-256 {new.body[:_HASH]}…, not {old.body[:_HASH]}…")
    if answers is not None and answers.refused:
        kind = "broken"
        call, words = next(iter(answers.refused.items()))
        said.append(f"a call {call.how}, is refused: {words}")
        script = call.sql
    if not said:
        return None
    if old.name in ours:
        said.append("one of the two is the installer's own, see what it notes")
    detail = "; ".join(said)
    who = concerns(old.name)
    return Finding(kind, who, f"function {old.signature}", _sentence(detail), script=script)


def _columns_of(function: Function, catalog: Catalog) -> _Columns:
    relation = catalog.relations.get(function.result.removeprefix("SETOF "))
    if relation is None:
        return function.columns
    return tuple((name, column.type) for name, column in relation.columns.items())


def _result(
    old: Function, new: Function, columns: tuple[_Columns, _Columns], *, is_ours: bool
) -> tuple[Kind, str]:
    """What is different in what two functions give back.

    Where one of the two is the installer's own, a column that the core's own never had is no loss.
    """
    before, after = columns
    lost = [one for one in before if one not in after]
    if not before or not after:
        return "broken", f"it gives back {new.result}, not {old.result}"
    if lost:
        is_loss = not is_ours or any(name in _RECORD for name, _ in lost)
        words = f"its rows have no {', '.join(f'{name} {kind}' for name, kind in lost)} any more"
        if not is_loss:
            words += ", which the core's own did not have either"
        return "broken" if is_loss else "changed", words
    if more := [f"{name} {kind}" for name, kind in after if (name, kind) not in before]:
        return "changed", f"its rows have {', '.join(more)} as well"
    if before != after:
        return "changed", f"the order of its columns is {', '.join(name for name, _ in after)}"
    return "changed", f"it gives back {new.result}, not {old.result}, with the same columns"


def _relations(base: Catalog, candidate: Catalog) -> Iterator[Finding]:
    same: dict[str, list[str]] = {}
    for name, old in base.relations.items():
        new = candidate.relations.get(name)
        if new is None or new.kind != old.kind:
            script = shows.there(name)
            if new is None and old.kind != "type":
                script = f"SELECT FROM {name} LIMIT 0;"
            detail = "It is gone." if new is None else f"It is a {new.kind}, not a {old.kind}."
            yield Finding("broken", concerns(name), f"{old.kind} {name}", detail, script=script)
            continue
        found = [*_columns(old, new), *_parts(old, new)]
        yield from found
        if not found:
            same.setdefault(old.kind, []).append(name)
    for name, new in candidate.relations.items():
        if name not in base.relations:
            columns = ", ".join(f"{one} {column.type}" for one, column in new.columns.items())
            detail = f"It is new: {columns}." if columns else "It is new."
            what, script = f"{new.kind} {name}", shows.there(name)
            yield Finding("changed", concerns(name), what, detail, script=script)
    for kind, names in same.items():
        yield from _same(kind, names)


def _columns(old: Relation, new: Relation) -> Iterator[Finding]:
    who = concerns(old.name)
    for name, column in old.columns.items():
        what = f"{old.kind} {old.name}: column {name}"
        if name not in new.columns:
            script = f"SELECT {name} FROM {old.name} LIMIT 0;"
            if old.kind == "type":
                script = f"SELECT (NULL::{old.name}).{name};"
            yield Finding("broken", who, what, "It is gone.", script=script)
        elif column != new.columns[name]:
            found = _column(old, what, column, new.columns[name])
            yield replace(found, script=shows.column(old.name, name))
    for name, column in new.columns.items():
        if name not in old.columns:
            kind, detail = _new_column(old, column)
            what, script = f"{old.kind} {old.name}: column {name}", shows.column(old.name, name)
            yield Finding(kind, who, what, detail, script=script)
    kept = [name for name in old.columns if name in new.columns]
    if kept != [name for name in new.columns if name in old.columns]:
        detail = "The columns are in another order, which who reads them by position will notice."
        script = shows.order(old.name)
        yield Finding("changed", who, f"{old.kind} {old.name}", detail, script=script)


def _column(relation: Relation, what: str, old: Column, new: Column) -> Finding:
    kind: Kind = "changed"
    said = []
    if old.type != new.type:
        said.append(f"it is {new.type}, not {old.type}")
    if old.not_null and not new.not_null:
        said.append("it may be NULL now, which who reads it must expect")
    if new.not_null and not old.not_null:
        said.append("NULL is refused now")
        kind = "broken" if relation.name == _WRITTEN_BY_WORKERS and not new.default else kind
    if old.default != new.default:
        said.append(f"its default is {new.default or 'none'}, not {old.default or 'none'}")
    return Finding(kind, concerns(relation.name), what, _sentence("; ".join(said)))


def _new_column(relation: Relation, column: Column) -> tuple[Kind, str]:
    default = f", default {column.default}" if column.default else ""
    told = f"It is new: {column.type}{' not null' if column.not_null else ''}{default}."
    needed = column.not_null and not column.default
    if needed and relation.name == _WRITTEN_BY_WORKERS:
        return "broken", f"{told} A worker that does not know of it cannot register."
    return "changed", told


def _parts(old: Relation, new: Relation) -> Iterator[Finding]:
    """Constraints, indexes, triggers, policies and the like: the database's own affairs."""
    if old.says != new.says:
        what, detail = f"{old.kind} {old.name}", _became(old.says or "plain", new.says or "plain")
        yield Finding("changed", "operators", what, detail, script=shows.says(old))
    for word, before, after in (
        ("constraint", old.constraints, new.constraints),
        ("index", old.indexes, new.indexes),
        ("trigger", old.triggers, new.triggers),
        ("policy", old.policies, new.policies),
    ):
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                what = f"{old.kind} {old.name}: {word} {name}"
                detail = _became(before.get(name), after.get(name))
                script = shows.part(word, old.name, name)
                yield Finding("changed", "operators", what, detail, script=script)


def _named(word: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Finding]:
    """Things that have a name and one thing to say."""
    same = [f"{name} {old[name]}" for name in sorted(old) if old[name] == new.get(name)]
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            kind: Kind = "broken" if word == "type" and name not in new else "changed"
            detail = _became(old.get(name), new.get(name))
            script = shows.named(word, name)
            yield Finding(kind, "operators", f"{word} {name}", detail, script=script)
    yield from _same(word, same)


def _became(old: str | None, new: str | None) -> str:
    if old is None:
        return f"It is new: {new}."
    return f"It is gone; it was: {old}." if new is None else f"It is: {new}. It was: {old}."


def _grants(base: Catalog, candidate: Catalog) -> Iterator[Finding]:
    """Of objects that both have; what a new one brings along is no change of rights."""
    there = _objects(base) & _objects(candidate)
    for name, privilege, role in sorted(base.grants ^ candidate.grants):
        if name not in there:
            continue
        taken = (name, privilege, role) in base.grants
        kind: Kind = "broken" if taken else "changed"
        detail = f"{privilege} is {'not granted any more' if taken else 'granted'} to {role}."
        yield Finding(kind, "operators", f"grant on {name}", detail, script=shows.rights(name))
    if same := base.grants & candidate.grants:
        detail = f"{len(same)} privileges of others than the owner."
        yield Finding("same", "operators", "grants", detail)


def _objects(catalog: Catalog) -> set[str]:
    columns = {
        f"column {name}.{column}"
        for name, one in catalog.relations.items()
        for column in one.columns
    }
    tables = {
        f"{'sequence' if one.kind == 'sequence' else 'table'} {name}"
        for name, one in catalog.relations.items()
    }
    functions = {f"function {signature}" for signature in catalog.functions}
    return {"schema pgflow", "schema pgmq", *functions, *tables, *columns}


def _same(word: str, names: list[str]) -> Iterator[Finding]:
    by_schema: dict[str, list[str]] = {}
    for name in sorted(names):
        schema, dot, _ = name.partition("(")[0].partition(".")
        by_schema.setdefault(schema if dot and word != "extension" else "", []).append(name)
    for schema, found in by_schema.items():
        shown = ", ".join(found[:_LISTED])
        rest = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        plural = f"{word}{'s' * (len(found) != 1)}"
        what = f"{len(found)} {plural}{f' of schema {schema}' if schema else ''}"
        yield Finding("same", "operators", what, f"{shown}{rest}.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
