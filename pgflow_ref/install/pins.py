"""What is pinned: the files of a core, their checksums, and what they leave in a database.

The data is `pgflow_ref/data/pins.json` (files) and `fingerprints.json` (catalogs); `scripts/pin`
writes both. A release in `fingerprints.json` says only what it adds or changes (`set`) and what it
takes away (`gone`) from the release before it, as the migrations do.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    Item = tuple[str, ...]
    Items = Mapping[str, Item]

DEFAULT_CORE: Final = "0.5.0"
"""The core that is installed where none is named."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release of pgflow's core.

    Attributes:
        version: such as `0.5.0`.
        files: the migrations that make it, in order.
        replaced: functions of ours that take the place of the core's own where
            `pgmq.message_record` has more columns than pgmq 1.4.4 gave it.
        least_pgmq: the oldest pgmq that it runs on, or None where none is too old.
        items: its fingerprint, by object (`catalog.py` says what a fingerprint is).
    """

    version: str
    files: tuple[str, ...]
    replaced: tuple[str, ...]
    least_pgmq: str | None
    items: Items


@dataclass(frozen=True, slots=True)
class Package:
    """A package that SQL is read from.

    Attributes:
        name: its name in its registry.
        version: the one version that the checksums are of.
        licence: that of the SQL, as the package states it.
        folder: where the files are, below the package's root.
        files: SHA-256 in hexadecimal by file name, in the order in which the files are to run.
    """

    name: str
    version: str
    licence: str
    folder: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Queue:
    """One release of pgmq.

    Attributes:
        version: such as `1.11.1`.
        package: the package that holds it.
        items: the fingerprint of what its SQL leaves.
    """

    version: str
    package: Package
    items: Items


@dataclass(frozen=True, slots=True)
class Pins:
    """All that is pinned.

    Attributes:
        core: the package of the core.
        releases: the known releases of the core by version, oldest first.
        queues: the known releases of pgmq by version; the first is the one that is installed where
            none is named.
        ours: the fingerprints of the functions that we replace, by object.
    """

    core: Package
    releases: Mapping[str, Release]
    queues: Mapping[str, Queue]
    ours: Items

    @property
    def queue(self) -> Queue:
        """The pgmq that is installed where none is named."""
        return next(iter(self.queues.values()))


@functools.cache
def load() -> Pins:
    """The pinned data, read once."""
    pins, prints = _json("pins.json"), _json("fingerprints.json")
    core = _package(pins["core"])
    releases: dict[str, Release] = {}
    items: dict[str, Item] = {}
    for version, release in pins["releases"].items():
        delta = prints["core"][version]
        items = {key: value for key, value in items.items() if key not in delta["gone"]}
        items |= _items(delta["set"])
        releases[version] = Release(
            version=version,
            files=tuple(core.files)[: release["files"]],
            replaced=tuple(release["replaced"]),
            least_pgmq=release["least_pgmq"],
            items=items,
        )
    return Pins(
        core=core,
        releases=releases,
        queues=_queues(pins["pgmq"], prints["pgmq"]),
        ours=_items(prints["ours"]),
    )


def _queues(pins: dict[str, Any], prints: dict[str, Any]) -> dict[str, Queue]:
    queues: dict[str, Queue] = {}
    items: dict[str, Item] = {}
    for version, package in pins.items():
        delta = prints[version]
        items = {key: value for key, value in items.items() if key not in delta["gone"]}
        items |= _items(delta["set"])
        queues[version] = Queue(version, _package(package), dict(items))
    return queues


def known_pgmqs() -> tuple[str, ...]:
    """The versions of pgmq that can be installed as plain SQL; the first is the usual one.

    Example:
        >>> known_pgmqs()
        ('1.11.1', '1.13.0')
    """
    return tuple(load().queues)


def known_cores() -> tuple[str, ...]:
    """The versions of the core that can be installed and recognised, oldest first.

    Example:
        >>> known_cores()
        ('0.5.0', '0.5.3', '0.6.1', '0.7.3', '0.8.1')
    """
    return tuple(load().releases)


def changes(base: str, candidate: str) -> list[tuple[str, str]]:
    """What the catalogs of two known cores have that the other's have not, and what differs.

    Args:
        base: the one version.
        candidate: the other.

    Returns:
        A sign and an object each: `+` only the candidate has it, `-` only the base has it, `~` it
        is not the same in both. Columns and constraints of a table are named one by one.

    Example:
        >>> [what for _, what in changes("0.5.3", "0.6.1")]  # doctest: +NORMALIZE_WHITESPACE
        ['table pgflow.workers: deprecated_at timestamp with time zone',
         'table pgflow.workers: stopped_at timestamp with time zone']
    """
    releases = load().releases
    old, new = releases[base].items, releases[candidate].items
    found: list[tuple[str, str]] = []
    for key in sorted(old.keys() | new.keys()):
        if key not in old or key not in new:
            found.append(("+" if key in new else "-", key))
        elif key.startswith("function ") and old[key] != new[key]:
            found.append(("~", key))
        else:
            found += [
                ("+", f"{key}: {line}") for line in sorted(_lines(new[key]) - _lines(old[key]))
            ]
            found += [
                ("-", f"{key}: {line}") for line in sorted(_lines(old[key]) - _lines(new[key]))
            ]
    return found


def _lines(item: Item) -> set[str]:
    """A table's columns and constraints, without what only a checksum says."""
    return {line for line in item if not line.startswith("definitions ")}


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, three at most, to compare it with others.

    Example:
        >>> numbers("1.11.1"), numbers("1.5") >= (1, 5), numbers("0.8.1-next.2")
        ((1, 11, 1), True, (0, 8, 1))
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def our_sql(name: str) -> str:
    """SQL of our own, `pgflow_ref/data/sql/<name>.sql`."""
    return _data(f"sql/{name}.sql")


def _package(data: dict[str, Any]) -> Package:
    return Package(
        name=data["package"],
        version=data["version"],
        licence=data["licence"],
        folder=data["folder"],
        files=dict(data["files"]),
    )


def _items(data: dict[str, list[str]]) -> dict[str, Item]:
    return {key: tuple(value) for key, value in data.items()}


def _json(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_data(name))
    return loaded


def _data(name: str) -> str:
    return (resources.files("pgflow_ref") / "data" / name).read_text(encoding="utf-8")
