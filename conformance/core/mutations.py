"""Small faults for the functions of the core, to see whether a test suite would notice them.

A suite that passes says little until it has been seen to fail. `mutants` takes a function in SQL or
PL/pgSQL, as `pg_get_functiondef()` prints it, and makes many copies, each with exactly one fault of
a kind that people make: `<` for `<=`, a condition forgotten, a statement lost. Installed one at a
time, each should make some test fail; one that does not shows what the suite cannot see.

The rules (`RULES`) read tokens, so that comments and strings are never taken for code, and answer
splices of the source text, so that all that is not the fault stays as it was. They do not parse
SQL: the brackets (parentheses, CASE and the blocks of PL/pgSQL) and the words that begin a clause
tell them enough. A mutant may therefore be refused by PostgreSQL; leave such a one out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import getdoc
from typing import TYPE_CHECKING

from conformance.core.sql_tokens import BEFORE_OPERAND, STOPS, Code, Edit, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEFINITION = re.compile(
    r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) (?P<name>[^(]+)\(.*?"
    r"^AS (?P<quote>\$\w*\$)(?P<body>.*)(?P=quote)\s*$",
    re.DOTALL | re.MULTILINE,
)
_WIDTH = 80  # of a change as it is shown to people

_COMPARISONS = {"=": "<>", "<>": "=", "!=": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*"}
_AGGREGATES = {"MAX": "MIN", "MIN": "MAX", "BOOL_OR": "bool_and", "BOOL_AND": "bool_or"}
_CLOCKS = {"NOW": "clock_timestamp", "CLOCK_TIMESTAMP": "now"}
# Each becomes one that every status column may hold, so that no CHECK constraint betrays the fault.
_STATUSES = {
    "'created'": "'started'",
    "'queued'": "'started'",
    "'started'": "'completed'",
    "'completed'": "'failed'",
    "'failed'": "'started'",
    "'single'": "'map'",
    "'map'": "'single'",
}
_PAIRS = frozenset({"jsonb_build_object", "json_build_object"})  # keys and values in turn
_PAYLOADS = _PAIRS | {"concat", "send"}
_SIZED_TYPES = frozenset({"numeric", "varchar", "char", "bit", "time", "timestamp", "interval"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A function with one fault, and what the fault is."""

    id: str  # the function's bare name and a running number in text order: "complete_task:12"
    function: str  # as it is called: "pgflow.complete_task"
    rule: str
    line: int  # of the definition, from 1
    before: str  # squeezed and cut, for people
    after: str  # the same; "" if something was dropped
    sql: str  # the whole changed statement


def mutants(definition: str) -> list[Mutant]:
    """Make every mutant of one function, in the order of the text.

    Args:
        definition: The statement as `pg_get_functiondef()` prints it, with its body in quotes.

    Raises:
        ValueError: If it is not such a statement.
    """
    found = _DEFINITION.match(definition.lstrip())
    if found is None:
        raise ValueError(f"not a function with a quoted body: {_squeeze(definition)!r}")
    source = found.string
    code = Code(source, *found.span("body"))
    edits = [(edit, rule.name) for rule in RULES for edit in rule.edits(code)]
    unique: dict[str, tuple[Edit, str]] = {}
    for edit, rule_name in sorted(edits, key=lambda pair: pair[0][:2]):
        changed = source[: edit.start] + edit.after + source[edit.end :]
        if changed != source:
            unique.setdefault(changed, (edit, rule_name))
    return [
        Mutant(
            id=f"{found['name'].rpartition('.')[2]}:{number}",
            function=found["name"],
            rule=rule_name,
            line=source.count("\n", 0, edit.start) + 1,
            before=_squeeze(source[edit.start : edit.end]),
            after=_squeeze(edit.after),
            sql=changed,
        )
        for number, (changed, (edit, rule_name)) in enumerate(unique.items(), 1)
    ]


def _squeeze(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _comparison(code: Code) -> Iterator[Edit]:
    """A comparison becomes another: = and <>, < and <=, > and >=."""
    equal = frozenset("=")
    assigning = {code.until(first, equal) for pairs in code.assignments() for first, _ in pairs}
    for at, word in enumerate(code.words):
        if word in _COMPARISONS and at not in assigning:
            yield code.cut(at, at + 1, _COMPARISONS[word])


def _constant(code: Code) -> Iterator[Edit]:
    """An integer becomes the next one, true false and false true; LIMIT 1 becomes LIMIT 0."""
    for at, token in enumerate(code.tokens):
        before, call = code.word(at - 1), code.call(at)
        idle = call in _SIZED_TYPES or (before == "SELECT" and call == "exists")  # any value does
        after = "0" if (before, token.text) == ("LIMIT", "1") else _next_literal(token)
        if after and not idle and token.text not in _STATUSES:
            yield code.cut(at, at + 1, after)


def _next_literal(token: Token) -> str:
    if token.word.isdecimal():
        return str(int(token.word) + 1)
    return {"TRUE": "false", "FALSE": "true"}.get(token.word, _STATUSES.get(token.text, ""))


def _status(code: Code) -> Iterator[Edit]:
    """A status or a type of step becomes another one, where it is not a part of a message."""
    for at, token in enumerate(code.tokens):
        if token.text in _STATUSES and code.call(at) not in _PAYLOADS:
            yield code.cut(at, at + 1, _next_literal(token))


def _dropped_condition(code: Code) -> Iterator[Edit]:
    """One of the conditions joined by AND is dropped, or a whole WHERE, HAVING or FILTER."""
    either = STOPS | {"AND", "OR"}
    for at, word in enumerate(code.words):
        if word == "AND":
            yield code.cut(at, code.until(at + 1, either))
            before = code.since(at, either)
            if code.word(before) != "AND":
                yield code.cut(before + 1, at + 1)
        elif word == "WHERE" and code.call(at) == "filter":
            yield code.cut(code.parents[at] - 1, code.mates[code.parents[at]] + 1)
        elif word in {"WHERE", "HAVING"}:
            end = code.until(at + 1)
            if code.until(at + 1, STOPS | {"AND"}) == end:
                yield code.cut(at, end)


def _negated_condition(code: Code) -> Iterator[Edit]:
    """A condition gets or loses its NOT; AND becomes OR and OR becomes AND."""
    for at, token in enumerate(code.tokens):
        match code.word(at - 1), token.word, code.word(at + 1), code.word(at + 2):
            case _, "AND" | "OR" as word, _, _:
                yield code.cut(at, at + 1, "OR" if word == "AND" else "AND")
            case _, "IS", "NOT", _:
                yield code.cut(at, at + 3, f"IS {code.tokens[at + 2].text}")
            case _, "IS", _, _:
                yield code.cut(at, at + 2, f"IS NOT {code.tokens[at + 1].text}")
            case _, "NOT", "EXISTS" | "IN", "(":
                yield code.cut(at, at + 2, code.tokens[at + 1].text)
            case before, "EXISTS" | "IN", "(", _ if before != "NOT":
                yield code.cut(at, at + 1, f"NOT {token.text}")
            case before, "NOT", word, _ if before != "IS" and word not in {"NULL", "EXISTS", "IN"}:
                yield code.cut(at, at + 1)


def _dropped_statement(code: Code) -> Iterator[Edit]:
    """A statement of PL/pgSQL is dropped, with all that is inside it."""
    for first, end in code.statements():
        if code.word(first) != "NULL":
            yield code.cut(first, end + 1)


def _dropped_assignment(code: Code) -> Iterator[Edit]:
    """An UPDATE sets one column less."""
    for pairs in code.assignments():
        for at, (first, end) in enumerate(pairs):
            if at + 1 < len(pairs):
                yield code.cut(first, end + 1)
            elif at:
                yield code.cut(first - 1, end)


def _arithmetic(code: Code) -> Iterator[Edit]:
    """A sum becomes a difference and a difference a sum, a product a sum, a quotient a product."""
    for at, word in enumerate(code.words):
        left = code.word(at - 1)  # a sign, or the star for all columns, has no operand there
        if word in _ARITHMETIC and left not in BEFORE_OPERAND and re.search(r"[\w)\]'\"]$", left):
            yield code.cut(at, at + 1, _ARITHMETIC[word])


def _case_branch(code: Code) -> Iterator[Edit]:
    """The values of a CASE with a single WHEN change places with each other."""
    for at, close in code.mates.items():
        branches = [
            (inner, code.word(inner))
            for inner in range(at + 1, close)
            if code.parents[inner] == at and code.word(inner) in {"WHEN", "THEN", "ELSE", ";"}
        ]
        match branches:
            case [(_, "WHEN"), (then, "THEN"), (other, "ELSE")]:
                between = code.source[code.tokens[other - 1].end : code.tokens[other + 1].start]
                swapped = code.text(other + 1, close) + between + code.text(then + 1, other)
                yield code.cut(then + 1, close, swapped)


def _coalesce(code: Code) -> Iterator[Edit]:
    """COALESCE gives way to one of its arguments."""
    for at, word in enumerate(code.words):
        if word == "COALESCE" and code.word(at + 1) == "(":
            for first, end in code.items(at + 2):
                value = code.text(first, end)  # in brackets, unless it is a plain name or literal
                after = value if re.fullmatch(r"[\w.]+|'[^']*'", value) else f"({value})"
                yield code.cut(at, code.mates[at + 1] + 1, after)


def _payload(code: Code) -> Iterator[Edit]:
    """A value in a message that the function sends becomes another text, or NULL."""
    for at, close in code.mates.items():
        called = code.call(at + 1) if close > at + 1 else ""
        if called in _PAYLOADS:
            arguments, paired = code.items(at + 1), called in _PAIRS
            for first, end in arguments[1::2] if paired else arguments:
                literal = end == first + 1 and code.word(first).startswith("'")
                if literal or paired:
                    yield code.cut(first, end, "'mutated'" if literal else "NULL::text")


def _order(code: Code) -> Iterator[Edit]:
    """An ORDER BY sorts by one of its keys the other way round."""
    for at, word in enumerate(code.words):
        if word == "ORDER" and code.word(at + 1) == "BY":
            for first, _ in code.items(at + 2):
                last = code.until(first, STOPS | {"ASC", "DESC", "NULLS"})
                if code.word(last) in {"ASC", "DESC"}:
                    yield code.cut(last, last + 1, "DESC" if code.word(last) == "ASC" else "ASC")
                else:
                    yield code.cut(first, last, f"{code.text(first, last)} DESC")


def _time(code: Code) -> Iterator[Edit]:
    """The time of the transaction becomes the time of the clock, and the other way round."""
    yield from _renamed_calls(code, _CLOCKS)


def _aggregate(code: Code) -> Iterator[Edit]:
    """A count is one too many; MAX becomes MIN and bool_or bool_and, and the other way round."""
    yield from _renamed_calls(code, _AGGREGATES)
    for at, word in enumerate(code.words):
        if word == "COUNT" and code.word(at + 1) == "(":
            end = code.mates[at + 1] + 1
            if code.word(end) in {"FILTER", "OVER"}:
                end = code.mates.get(end + 1, end + 1) + 1
            yield code.cut(at, end, f"({code.text(at, end)} + 1)")


def _renamed_calls(code: Code, names: dict[str, str]) -> Iterator[Edit]:
    for at, word in enumerate(code.words):
        if word in names and code.word(at + 1) == "(":
            yield code.cut(at, at + 1, names[word])


def _clause(code: Code) -> Iterator[Edit]:
    """DISTINCT or ON CONFLICT DO NOTHING is dropped; JOIN becomes LEFT JOIN, LEFT JOIN JOIN."""
    for at, word in enumerate(code.words):
        before, following = code.word(at - 1), code.word(at + 1)
        if word == "DISTINCT":
            yield code.cut(at, at + 1)
        elif (word, following) == ("ON", "CONFLICT"):
            do = code.until(at + 1, frozenset({"DO"}))
            if code.word(do + 1) == "NOTHING":
                yield code.cut(at, do + 2)
        elif word == "JOIN" and before in {"LEFT", "INNER"}:
            yield code.cut(at - 1, at + 1, "JOIN" if before == "LEFT" else "LEFT JOIN")
        elif word == "JOIN" and before not in {"OUTER", "CROSS", "RIGHT", "FULL", "NATURAL"}:
            yield code.cut(at, at + 1, "LEFT JOIN")


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of fault: its name, and how to find all the places where it can be made."""

    name: str
    edits: Callable[[Code], Iterator[Edit]]

    @property
    def description(self) -> str:
        """What a fault of this kind is, in one sentence."""
        return str(getdoc(self.edits))


RULES = (
    Rule("comparison", _comparison),
    Rule("constant", _constant),
    Rule("status", _status),
    Rule("dropped condition", _dropped_condition),
    Rule("negated condition", _negated_condition),
    Rule("dropped statement", _dropped_statement),
    Rule("dropped assignment", _dropped_assignment),
    Rule("arithmetic", _arithmetic),
    Rule("case branch", _case_branch),
    Rule("coalesce", _coalesce),
    Rule("payload", _payload),
    Rule("order", _order),
    Rule("time", _time),
    Rule("aggregate", _aggregate),
    Rule("clause", _clause),
)
