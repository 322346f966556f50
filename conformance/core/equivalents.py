"""The list of mutants that are equivalent to the original: `fixtures/mutants.toml`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import tomli

from conformance.harness.cases import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.mutations import Mutant

PATH: Final = FIXTURES / "mutants.toml"
_KEYS: Final = {"cores", "function", "lines", "ids", "but", "reason"}
_NEEDED: Final = {"cores", "function", "reason"}


class ListError(Exception):
    """The list cannot be read; the message says what is wrong, and in which entry."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Mutants that nothing can tell from the original.

    Attributes:
        cores: the versions.
        function: the function that they change.
        lines: the first and the last line of its definition that it is about, or None for all.
        ids: the mutants' ids, or none for all.
        but: ids of mutants that it is not about.
        reason: why nothing can.
    """

    cores: tuple[str, ...]
    function: str
    lines: tuple[int, int] | None
    ids: tuple[str, ...]
    but: tuple[str, ...]
    reason: str

    def covers(self, core: str, mutant: Mutant) -> bool:
        """Whether it is about this mutant."""
        first, last = self.lines or (1, sys.maxsize)
        return (
            core in self.cores
            and mutant.function == self.function
            and first <= mutant.line <= last
            and (not self.ids or mutant.id in self.ids)
            and mutant.id not in self.but
        )


def load(text: str | None = None) -> list[Equivalent]:
    """Read the list.

    Args:
        text: TOML; by default that of the project's file.

    Raises:
        ListError: it is not such a list.
    """
    try:
        raw = tomli.loads(PATH.read_text(encoding="utf-8") if text is None else text)
    except tomli.TOMLDecodeError as error:
        raise ListError(f"{PATH.name}: {error}") from None
    if set(raw) - {"equivalent"} or not isinstance(raw.get("equivalent", []), list):
        raise ListError(f"{PATH.name}: it may have [[equivalent]] alone")
    return [_entry(number, given) for number, given in enumerate(raw.get("equivalent", []), 1)]


def reason_for(core: str, mutant: Mutant, listed: Sequence[Equivalent]) -> str | None:
    """Why a mutant is equivalent, or None."""
    return next((one.reason for one in listed if one.covers(core, mutant)), None)


def _entry(number: int, given: dict[str, Any]) -> Equivalent:
    def refuse(problem: str) -> ListError:
        return ListError(f"{PATH.name}, entry {number} ({given.get('function', '?')}): {problem}")

    if unknown := sorted(given.keys() - _KEYS):
        raise refuse(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    if missing := sorted(_NEEDED - given.keys()):
        raise refuse(f"{missing[0]} is missing")
    if not {"lines", "ids"} & given.keys():
        raise refuse("it must have lines, or ids, or both")
    lines, ids, but = given.get("lines"), given.get("ids", []), given.get("but", [])
    if lines is not None and (len(lines) != 2 or not all(isinstance(n, int) for n in lines)):  # noqa: PLR2004
        raise refuse("lines must be two numbers, the first and the last")
    if not all(isinstance(one, str) for one in [*ids, *but, *given["cores"], given["reason"]]):
        raise refuse("cores, ids and but must be lists of texts, and reason a text")
    return Equivalent(
        tuple(given["cores"]),
        given["function"],
        None if lines is None else (lines[0], lines[1]),
        tuple(ids),
        tuple(but),
        given["reason"],
    )
