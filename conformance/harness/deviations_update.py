"""Bringing the file of known deviations up to what a run has found: `--update-deviations`.

The text is changed where it has to be and nowhere else, so comments and order stay. What a machine
cannot decide is left to a person, who is told.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from conformance.harness.deviations import (
    UNEXPLAINED,
    Deviation,
    DeviationsError,
    find,
    lines_of,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from conformance.harness.records import Case

UNKNOWN_REFERENCE: Final = "to be given"

# What is another one in each run: ids, and numbers.
_CHANGES: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f-]+)?\b|\b\d[\d.,]*\b")
_LEAST: Final = 8  # characters that say enough of a problem
_WORKER: Final = re.compile(r"^\s*worker\s*=")


@dataclass
class Update:
    """What becomes of the deviations.

    Attributes:
        kept: those that stay, in their order; one that stays for some of its workers alone has
            fewer of them.
        added: new ones, which a person has to explain.
        removed: those that are no deviations any more.
        by_hand: what a person has to decide, in sentences.
    """

    kept: list[Deviation] = field(default_factory=list)
    added: list[Deviation] = field(default_factory=list)
    removed: list[Deviation] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)

    def sentence(self, path: Path) -> str:
        """What was done, in a line."""
        if not self.added and not self.removed:
            return f"{path} is as it was"
        said = f"{path}: {len(self.added)} added, {len(self.removed)} removed"
        return said + ("; the new ones excuse nothing until they have a reason" * bool(self.added))


def update(
    known: Sequence[Deviation],
    results: Sequence[Case],
    versions: Mapping[str, str],
    today: str,
) -> Update:
    """Decide what becomes of the deviations after a run.

    Args:
        known: what was known before.
        results: what the run has found.
        versions: the versions of the workers, by name.
        today: the date for new entries.
    """
    change = Update()
    passed: dict[Deviation, set[str]] = {}
    failed: dict[Deviation, set[str]] = {}
    for result in results:
        if not result.workers:
            continue
        taking_part = {name: versions.get(name, "") for name in result.workers}
        one = find(known, result.id, taking_part, result.core)
        if result.outcome == "failed":
            _failure(change, result, one, versions, today)
        if one is not None and result.outcome in ("failed", "deviation", "unexpected_pass"):
            where = passed if result.outcome == "unexpected_pass" else failed
            where.setdefault(one, set()).update(set(result.workers) & set(one.workers))
    for one in known:
        _settle(change, one, passed.get(one, set()), failed.get(one, set()))
    return change


def _failure(
    change: Update, result: Case, one: Deviation | None, versions: Mapping[str, str], today: str
) -> None:
    name = " + ".join(result.workers)
    if one is not None:
        if not one.fits(result.problems):
            change.by_hand.append(f"line {one.line}: {name} fails {result.id} in another way")
        return
    if len(result.workers) > 1:
        change.by_hand.append(f"{result.id}: which of {name} deviates, a person has to say")
        return
    version = versions.get(name, "")
    change.added.append(
        Deviation(
            workers=(name,),
            case=result.id,
            holds=steady(result.problems[0]) if result.problems else "",
            reason=UNEXPLAINED,
            reference=UNKNOWN_REFERENCE,
            date=today,
            versions=f"=={version}" if version else "",
            cores=f"=={result.core}" if result.core else "",
        )
    )


def _settle(change: Update, one: Deviation, passed: set[str], failed: set[str]) -> None:
    for name in sorted(passed & failed):
        change.by_hand.append(
            f"line {one.line}: {name} passes {one.case} on some cores, and fails it on others"
        )
    gone = passed - failed
    left = tuple(name for name in one.workers if name not in gone)
    if gone:
        change.removed.append(replace(one, workers=tuple(sorted(gone))))
    if left:
        change.kept.append(replace(one, workers=left))


def steady(problem: str) -> str:
    """The longest part of a problem that is the same in each run.

    Example:
        >>> steady("run 1f2e3d4c: its output is 7, not null")
        ': its output is'
    """
    longest = max((part.strip() for part in _CHANGES.split(problem)), key=len)
    return longest if len(longest) >= _LEAST else problem


def rewritten(text: str, name: str, change: Update) -> str:
    """The text of the file after an update.

    Raises:
        DeviationsError: it is written in a way that cannot be changed by machine.
    """
    lines = text.splitlines(keepends=True)
    kept = {one.line: one for one in change.kept}
    starts = lines_of(text)
    for at, start in reversed(list(enumerate(starts))):
        end = starts[at + 1] - 1 if at + 1 < len(starts) else len(lines)
        while end > start and _is_no_entry(lines[end - 1]):
            end -= 1
        if start not in kept:
            _remove(lines, start - 1, end)
        else:
            _narrow(lines, start, end, kept[start])
    new = "".join(lines)
    for one in change.added:
        new = f"{new.rstrip()}\n\n{_entry(one)}".lstrip()
    wanted = [replace(one, line=0) for one in (*change.kept, *change.added)]
    if _read(new) != wanted:
        raise DeviationsError(f"{name}:1: it cannot be changed by machine; change it by hand")
    return new


def _read(text: str) -> list[Deviation] | None:
    try:
        return [replace(one, line=0) for one in parse(text, "")]
    except DeviationsError:
        return None


def write(path: Path, text: str) -> None:
    """Put a text in place of a file's, at once or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _is_no_entry(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _remove(lines: list[str], start: int, end: int) -> None:
    """Take an entry out, with the comment that stands right above it."""
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    if end < len(lines) and not lines[end].strip():
        end += 1
    del lines[start:end]


def _narrow(lines: list[str], start: int, end: int, one: Deviation) -> None:
    """Let an entry name the workers that still deviate."""
    text = "".join(lines[start - 1 : end])
    if parse(text, "")[0].workers == one.workers:
        return
    for at in range(start, end):
        if _WORKER.match(lines[at]):
            lines[at] = f"worker = {_workers(one)}\n"


def _entry(one: Deviation) -> str:
    """An entry as text."""
    keys = ("versions", "cores", "case", "holds", "reason", "reference", "date")
    given = [(key, str(getattr(one, key))) for key in keys]
    lines = [f"{key} = {_quoted(value)}\n" for key, value in given if value or key == "holds"]
    return "".join(["[[deviation]]\n", f"worker = {_workers(one)}\n", *lines])


def _workers(one: Deviation) -> str:
    names: Iterable[str] = map(_quoted, one.workers)
    return f"[{', '.join(names)}]" if len(one.workers) > 1 else _quoted(one.workers[0])


def _quoted(text: str) -> str:
    """A text as TOML has it; JSON's escapes are TOML's."""
    sound = text.encode(errors="replace").decode()
    return json.dumps(sound, ensure_ascii=False).replace("\x7f", "\\u007f")
