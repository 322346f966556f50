"""Promises that named workers are known not to keep: `fixtures/deviations.toml`.

A deviation is still tried. It excuses a failure only where it covers the worker's version and the
core, where the failure is the one that it describes, and where a person has explained it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import tomli
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNEXPLAINED: Final = "to be explained"
"""The reason of an entry that was written by machine; it excuses nothing."""

_NEEDED: Final = ("worker", "case", "holds", "reason", "reference", "date")
_VERSIONS: Final = ("versions", "cores")
_OPTIONAL: Final = (*_VERSIONS, "or_holds")
_HEADER: Final = re.compile(r"^[ \t]*\[\[[ \t]*deviation[ \t]*\]\]", re.MULTILINE)


class DeviationsError(Exception):
    """The file of deviations is wrong; the message names file and line."""


@dataclass(frozen=True)
class Deviation:
    """A promise that some workers are known not to keep.

    Attributes:
        workers: the adapters that share it, by name.
        case: the case's id.
        holds: a text that one of the problems must hold; any other failure is not this one.
        reason: what they do instead.
        reference: where that is documented or discussed.
        date: since when it is known here.
        versions: the versions of the worker that have it, such as `<=0.8.1`; empty: all.
        cores: the versions of the core on which they have it; empty: all.
        or_holds: what a problem may hold instead, where one cause shows in two ways.
        line: where it stands in its file.
    """

    workers: tuple[str, ...]
    case: str
    holds: str
    reason: str
    reference: str
    date: str
    versions: str = ""
    cores: str = ""
    or_holds: str = ""
    line: int = 0

    @property
    def who(self) -> str:
        """The workers that it is about, in a phrase.

        Example:
            >>> Deviation(("deno", "node"), "a.b", "", "", "", "", versions="<1").who
            'deno and node <1'
        """
        names = " and ".join(self.workers)
        on = f" on core {self.cores}" if self.cores else ""
        return f"{names} {self.versions}".rstrip() + on

    @property
    def explained(self) -> bool:
        """Whether a person has said why."""
        return self.reason != UNEXPLAINED

    def fits(self, problems: Iterable[str]) -> bool:
        """Whether a failure is this one, and no other.

        Example:
            >>> known = Deviation(("deno",), "a.b", "is late", "", "", "", or_holds="2 attempts")
            >>> known.fits(["a is late"]), known.fits(["2 attempts"]), known.fits(["is gone"])
            (True, True, False)
        """
        said = "\n".join(problems)
        return self.holds in said or (bool(self.or_holds) and self.or_holds in said)

    def covers(self, worker: str, version: str, core: str) -> bool:
        """Whether it speaks of this worker, in this version, on this core.

        A version that nobody knows, or that is none as Python counts them, is covered only where
        the deviation has no condition on it.

        Example:
            >>> known = Deviation(("deno",), "a.b", "", "", "", "", versions="<=0.8.1")
            >>> known.covers("deno", "0.8.1", "0.5.0"), known.covers("deno", "0.9.0", "0.5.0")
            (True, False)
        """
        return (
            worker in self.workers and _admits(self.versions, version) and _admits(self.cores, core)
        )


def find(
    deviations: Iterable[Deviation], case: str, workers: Mapping[str, str], core: str
) -> Deviation | None:
    """The deviation that covers a trial, if there is one; the first of several.

    Args:
        deviations: all that are known.
        case: the id of the case.
        workers: the versions of those who take part, by name.
        core: the version of the core.
    """
    for one in deviations:
        if one.case == case and any(one.covers(*worker, core) for worker in workers.items()):
            return one
    return None


def load(path: Path) -> list[Deviation]:
    """Read the file of known deviations.

    Raises:
        DeviationsError: it is no TOML, or an entry lacks something, has too much or is there twice.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise DeviationsError(f"{path}: it is no text: {error}") from None
    except OSError as error:
        raise DeviationsError(f"{path}: it cannot be read: {error}") from None


def parse(text: str, name: str) -> list[Deviation]:
    """Read the text of such a file.

    Raises:
        DeviationsError: as for `load`; `name` stands in the message.
    """
    try:
        given = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise DeviationsError(f"{name}:{error.lineno}: {error.msg}") from None
    lines = lines_of(text)
    listed = given.pop("deviation", [])
    if given or not isinstance(listed, list):
        keys = ", ".join(given) or "deviation = …"
        raise DeviationsError(f"{name}:1: it has {keys}, and may have [[deviation]] alone")
    if len(lines) != len(listed):
        raise DeviationsError(f"{name}:1: every deviation has a line [[deviation]] of its own")
    deviations: list[Deviation] = []
    for line, entry in zip(lines, listed, strict=True):
        try:
            one = _deviation(entry, line)
            _check_new(one, deviations)
        except ValueError as error:
            raise DeviationsError(f"{name}:{line}: {error}") from None
        deviations.append(one)
    return deviations


def lines_of(text: str) -> list[int]:
    """The lines, from 1, at which the entries begin."""
    return [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]


def _deviation(entry: Any, line: int) -> Deviation:
    if not isinstance(entry, dict):
        raise ValueError("a deviation is a table")  # noqa: TRY004  # of the file, not of ours
    missing = [key for key in _NEEDED if key not in entry]
    unknown = [key for key in entry if key not in (*_NEEDED, *_OPTIONAL)]
    if missing or unknown:
        said = [f"{', '.join(missing)} is missing"] if missing else []
        said += [f"{', '.join(unknown)} is unknown"] if unknown else []
        raise ValueError("; ".join(said))
    workers = entry["worker"]
    workers = [workers] if isinstance(workers, str) else workers
    if not isinstance(workers, list) or not workers or not all(map(_is_name, workers)):
        raise ValueError(f"worker is a name, or a list of names, not {entry['worker']!r}")
    for key, value in entry.items():
        if key != "worker" and not isinstance(value, str):
            raise ValueError(f"{entry['case']}: {key} is a text, not {value!r}")
    for key in _VERSIONS:
        _check_versions(key, entry.get(key, ""))
    texts = {key: value for key, value in entry.items() if key != "worker"}
    return Deviation(tuple(workers), **texts, line=line)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _check_versions(key: str, given: str) -> None:
    try:
        SpecifierSet(given)
    except InvalidSpecifier as error:
        raise ValueError(f"{key}: {error}; it is something like '<=0.8.1'") from None


def _check_new(one: Deviation, others: Sequence[Deviation]) -> None:
    for other in others:
        twice = sorted(set(one.workers) & set(other.workers))
        same = (one.case, one.versions, one.cores) == (other.case, other.versions, other.cores)
        if same and twice:
            raise ValueError(
                f"given twice: {', '.join(twice)}: {one.case}, as in line {other.line}"
            )


def _admits(specifier: str, version: str) -> bool:
    if not specifier:
        return True
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
