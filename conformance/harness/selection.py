"""Which of the tests that pytest found are tried, and which case each of them tries."""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from conformance.harness.cases import Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARK: Final = "case"
"""The mark of a test that is not made from a file of cases: it names the case that it tries."""

HISTORIES: Final = "histories"
"""The group of the cases whose whole history is recorded."""

_NEAR: Final = 5  # names that are offered in place of one that is not there


class NothingMatches(Exception):
    """No case has an id like this; the message names those that are near."""


def refuse(config: pytest.Config, why: object) -> NoReturn:
    """End the run before it begins, with exit code 2, and say why once.

    In a parallel run the process that found out has no terminal: the conductor says it.
    """
    output: dict[str, str] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[MARK] = str(why)
    pytest.exit(f"the suite cannot run: {why}", returncode=2)


def case_of(item: pytest.Item) -> Case | None:
    """The case that a test tries: that which it was made from, or which its mark names."""
    from_file = _from_file(item)
    if isinstance(from_file, Case):
        return from_file
    mark = item.get_closest_marker(MARK)
    return mark.args[0] if mark is not None else None


def id_of(item: pytest.Item) -> str:
    """The id of a test's case; of one that names none, its own name."""
    case = case_of(item)
    return item.name if case is None else case.id


def parameter(item: pytest.Item, name: str) -> str | None:
    """With which worker (`worker_name`) or on which core (`core`) a test is made, if it is."""
    value = _parameters(item).get(name)
    return value if isinstance(value, str) else None


def select(
    items: Iterable[pytest.Item],
    *,
    quick: bool = False,
    globs: Sequence[str] = (),
    lenient: bool = False,
) -> list[pytest.Item]:
    """The tests that were asked for.

    Args:
        items: all that pytest found.
        quick: only what belongs to a quick run: what no file of cases has stays, and does less by
            itself.
        globs: only cases with an id like one of these; none: all.
        lenient: whether it is enough that one of the globs has cases.

    Raises:
        NothingMatches: no case has an id like one of the globs, or like any if `lenient`.
    """
    # Where no case fits what was asked for, pytest makes a test without one.
    there = [item for item in items if isinstance(_from_file(item), Case | None)]
    ids = {id_of(item) for item in there}
    unmatched = [glob for glob in globs if not any(fnmatchcase(one, glob) for one in ids)]
    if unmatched and not (lenient and len(unmatched) < len(globs)):
        raise NothingMatches(missing(unmatched[0], ids))
    if globs:
        there = [item for item in there if any(fnmatchcase(id_of(item), glob) for glob in globs)]
    return [item for item in there if not quick or _is_quick(item)]


def recorded(items: Iterable[pytest.Item], worker: str) -> list[pytest.Item]:
    """The tests of recorded histories with one worker: what it does is written down."""
    return [
        item
        for item in items
        if id_of(item).startswith(f"{HISTORIES}.") and parameter(item, "worker_name") == worker
    ]


def missing(wanted: str, known: Iterable[str]) -> str:
    """That there is no case like this, and which are near.

    Example:
        >>> missing("worker.sucess", ["worker.success", "compile.chain"])
        "no case is called 'worker.sucess'; near it: worker.success"
    """
    names = sorted(known)
    word = wanted.strip("*")
    near = [name for name in names if word and word in name][:_NEAR]
    near = near or get_close_matches(wanted, names, _NEAR, 0.5)
    said = f"no case is called {wanted!r}"
    return f"{said}; near it: {', '.join(near)}" if near else f"{said}; --list names all"


def _is_quick(item: pytest.Item) -> bool:
    case = _from_file(item)
    return not isinstance(case, Case) or case.quick


def _from_file(item: pytest.Item) -> object:
    return _parameters(item).get("case")


def _parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params
