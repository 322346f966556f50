"""The profiles: what each version of the core does, in words, as data.

A profile is a file of `pgflow_ref/data/profiles/`. It says what begins and what ends with its
version; all else is as in the version that it follows. Each behaviour has a name, which the model
asks for (`pgflow_ref.model.profile`), a sentence, its meaning for those whom it concerns, and the
place in the core where it comes from.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args

from pgflow_ref.errors import PgflowError
from pgflow_ref.model.profile import BEHAVIOURS, Behaviour, Profile

if sys.version_info >= (3, 11):
    import tomllib
else:
    try:
        import tomli as tomllib
    except ModuleNotFoundError:
        raise PgflowError(
            "profiles are TOML, which Python 3.10 reads with tomli: pip install 'pgflow-ref[cli]'"
        ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Concern = Literal["workers", "clients"]
CONCERNS: Final[tuple[Concern, ...]] = get_args(Concern)
"""Whom a behaviour may concern."""

_KEYS: Final = {"core": str, "follows": str, "columns": dict, "begins": dict, "ends": dict}
_BEGINS: Final = {"concerns": str, "surprising": bool, "says": str, "means": str, "where": str}
_ENDS: Final = {"says": str, "where": str}
_COLUMNS: Final = {"added": dict, "removed": dict}
_HEADER: Final = re.compile(r"\s*\[([^\[\]]+)\]")


class ProfileError(PgflowError):
    """A profile cannot be read; the message says the file, the line and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A behaviour of the core.

    Attributes:
        name: its name.
        concerns: workers or clients.
        surprising: whether it is other than a reader of pgflow's documentation would expect.
        says: what happens.
        means: what that means for those whom it concerns.
        where: the migration, by its time stamp, and the function that it comes from.
        since: the version that it began with.
    """

    name: Behaviour
    concerns: Concern
    surprising: bool
    says: str
    means: str
    where: str
    since: str


@dataclass(frozen=True, slots=True)
class Ending:
    """A behaviour that is no more.

    Attributes:
        entry: what it was.
        says: what is the case instead.
        where: the migration and the function that changed it.
        until: the first version without it.
    """

    entry: Entry
    says: str
    where: str
    until: str


@dataclass(frozen=True, slots=True)
class Core:
    """All that is known of a version of the core.

    Attributes:
        profile: what the model needs of it.
        entries: its behaviours by name.
        endings: what older versions did, by name.
    """

    profile: Profile
    entries: Mapping[Behaviour, Entry]
    endings: Mapping[Behaviour, Ending]


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different from one version to another.

    Attributes:
        begins: what the newer one does and the older one does not.
        ends: what the older one does and the newer one does not.
    """

    begins: tuple[Entry, ...]
    ends: tuple[Ending, ...]


@lru_cache
def known() -> tuple[str, ...]:
    """The versions that have a profile, oldest first."""
    folder = files("pgflow_ref") / "data" / "profiles"
    names = [one.name.removesuffix(".toml") for one in folder.iterdir()]
    return tuple(sorted(names, key=lambda name: [int(part) for part in name.split(".")]))


@lru_cache
def load(core: str) -> Core:
    """What is known of a version.

    Raises:
        ProfileError: there is no profile of it.

    Example:
        >>> load("0.5.0").entries["retry_delay_overflows"].concerns
        'workers'
        >>> "map_steps" in load("0.8.1").profile.behaviours
        True
    """
    if core not in known():
        raise ProfileError(f"there is no profile of core {core!r}; known are {', '.join(known())}")
    name = f"{core}.toml"
    text = (files("pgflow_ref") / "data" / "profiles" / name).read_text(encoding="utf-8")
    return parse(text, name, load)


def changes(base: str, candidate: str) -> Changes:
    """What is different from `base` to `candidate`, whichever is newer.

    Raises:
        ProfileError: one of them has no profile.

    Example:
        >>> [entry.name for entry in changes("0.5.0", "0.5.3").begins]
        ['start_delay']
    """
    before, after = load(base), load(candidate)
    return Changes(
        tuple(entry for name, entry in after.entries.items() if name not in before.entries),
        tuple(
            after.endings.get(name)
            or Ending(entry, "It had not begun yet.", entry.where, candidate)
            for name, entry in before.entries.items()
            if name not in after.entries
        ),
    )


def parse(text: str, name: str, earlier: Callable[[str], Core]) -> Core:
    """Read a profile.

    Args:
        text: TOML.
        name: what to call the file in errors.
        earlier: gives the version that this one follows.

    Raises:
        ProfileError: it is not a profile.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{name}: {error}") from None
    source = _Source(text, name)
    _check(source, (), raw, _KEYS, optional=("follows", "columns", "begins", "ends"))
    core = raw["core"]
    base = (
        earlier(raw["follows"]) if "follows" in raw else Core(Profile("", frozenset(), {}), {}, {})
    )
    entries, endings = dict(base.entries), dict(base.endings)
    for behaviour, given in raw.get("ends", {}).items():
        where = ("ends", behaviour)
        _check(source, where, given, _ENDS)
        if behaviour not in entries:
            source.refuse(where, f"{behaviour} ends, but had not begun")
        endings[behaviour] = Ending(entries.pop(behaviour), until=core, **given)
    for behaviour, given in raw.get("begins", {}).items():
        where = ("begins", behaviour)
        _check(source, where, given, _BEGINS)
        if behaviour not in BEHAVIOURS:
            source.refuse(where, f"the model knows no behaviour {behaviour!r}")
        if behaviour in entries:
            source.refuse(
                where, f"{behaviour} begins, but had begun with {entries[behaviour].since}"
            )
        if given["concerns"] not in CONCERNS:
            source.refuse((*where, "concerns"), f"concerns must be one of {', '.join(CONCERNS)}")
        entries[behaviour] = Entry(name=behaviour, since=core, **given)
    columns = _changed_columns(source, base.profile.columns, raw.get("columns", {}))
    return Core(Profile(core, frozenset(entries), columns), entries, endings)


class _Source:
    """A file's text, to say in which line something is."""

    def __init__(self, text: str, name: str) -> None:
        self.lines = text.splitlines()
        self.name = name

    def refuse(self, path: Sequence[str], problem: str) -> NoReturn:
        raise ProfileError(f"{self.name}, line {self._line(path)}: {problem}")

    def _line(self, path: Sequence[str]) -> int:
        """The line of a key, else of the table that it is in, else the first."""
        table, best = "", 1
        for number, line in enumerate(self.lines, 1):
            header = _HEADER.match(line)
            if header:
                table = header[1]
            key = line.partition("=")[0].strip()
            if ".".join(path) in (table, f"{table}.{key}" if table else key):
                return number
            if header and ".".join(path).startswith(table):
                best = number
        return best


def _check(
    source: _Source,
    path: tuple[str, ...],
    given: Any,
    wanted: Mapping[str, type],
    optional: Sequence[str] = (),
) -> None:
    """Whether a table has the keys that it must have, each of its type, and no other."""
    if not isinstance(given, dict):
        source.refuse(path, f"{'.'.join(path)} must be a table")
    for key, value in given.items():
        if key not in wanted:
            source.refuse((*path, key), f"unknown key {key!r}; known are {', '.join(wanted)}")
        if type(value) is not wanted[key]:
            kind = {str: "text", bool: "true or false", dict: "a table"}[wanted[key]]
            source.refuse((*path, key), f"{key} must be {kind}, not {value!r}")
    for key in wanted:
        if key not in given and key not in optional:
            source.refuse(path, f"{key} is missing")


def _changed_columns(
    source: _Source, base: Mapping[str, tuple[str, ...]], given: Any
) -> dict[str, tuple[str, ...]]:
    _check(source, ("columns",), given, _COLUMNS, optional=tuple(_COLUMNS))
    columns = dict(base)
    for change, tables in given.items():
        for table, names in tables.items():
            path = ("columns", change, table)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                source.refuse(path, f"{table} must be a list of columns")
            there = columns.get(table, ())
            for name in names:
                if (name in there) is (change == "added"):
                    source.refuse(
                        path, f"{table}.{name} is {'there' if name in there else 'not there'}"
                    )
            kept = tuple(name for name in there if name not in names)
            columns[table] = kept + tuple(names) if change == "added" else kept
    return columns
