"""Recognise what a database holds from its fingerprint. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pgflow_ref.install import catalog, marks
from pgflow_ref.install import pins as pinned
from pgflow_ref.install.catalog import STOOD_IN_FOR

if TYPE_CHECKING:
    from pgflow_ref.install.catalog import Catalog
    from pgflow_ref.install.marks import Mark
    from pgflow_ref.install.pins import Item, Items, Pins

_DEFINITIONS: Final = "definitions "  # catalog.py
_NAMED: Final = 5  # objects in a message, before "and n more"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a schema differs from a pinned one; empty where it does not.

    Attributes:
        missing: objects that are not there, such as `function pgflow.add_step(text, text)`.
        different: objects that are there and not as they should be.
        extra: objects that should not be there.
    """

    missing: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.missing) + len(self.different) + len(self.extra)

    def __str__(self) -> str:
        """A handful of the objects by name, and how many more there are."""
        parts = []
        for word, names in (
            ("missing", self.missing),
            ("different", self.different),
            ("extra", self.extra),
        ):
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                parts.append(f"{word}: {', '.join(names[:_NAMED])}{more}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class CoreFound:
    """What the schema `pgflow` holds.

    Attributes:
        version: the known version that it is, or None where there is none or no known one.
        replaced: functions of it that are ours, such as `pgflow.read_with_poll`.
        nearest: the known version that it differs from least, or None where it holds nothing.
        difference: how it differs from that one.
        mark: what it was installed from, if that is pinned nowhere and nobody has changed it since.
    """

    version: str | None = None
    replaced: tuple[str, ...] = ()
    nearest: str | None = None
    difference: Difference = Difference()
    mark: Mark | None = None

    @property
    def label(self) -> str | None:
        """The version, or what else it was called when it was installed; None if nobody knows."""
        return self.version or (self.mark.label if self.mark else None)


@dataclass(frozen=True, slots=True)
class PgmqFound:
    """What the schema `pgmq` holds.

    Attributes:
        kind: `none`; the `extension`; `plain`, SQL without an extension that is pinned, or that was
            installed here from a file and is as it was; or `foreign`, anything else.
        version: the extension's, the pinned one, or what the file was called; or None.
        columns: those of `pgmq.message_record`.
        difference: of a foreign one, how it differs from the pinned SQL that is nearest.
        files: SHA-256 of the file that it was installed from, where that is pinned nowhere.
    """

    kind: Literal["none", "extension", "plain", "foreign"] = "none"
    version: str | None = None
    columns: tuple[str, ...] = ()
    difference: Difference = Difference()
    files: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a database holds.

    Attributes:
        server: the server's version as a number, such as 170010.
        core: pgflow's core.
        pgmq: the queue.
        offered: the version of the extension pgmq that the server has to offer, or None.
        realtime: `realtime.send` is absent (`none`), our stand-in (`ours`), or there (`other`).
        queues: how many tables of queues and archives there are.
        tables: how many tables there are that are none of pgflow's and pgmq's.
        stand_ins: the extensions that something of ours stands in for.
        extensions: those that a core may want and that are there, or that the server has to offer.
    """

    server: int
    core: CoreFound = CoreFound()
    pgmq: PgmqFound = PgmqFound()
    offered: str | None = None
    realtime: Literal["none", "ours", "other"] = "none"
    queues: int = 0
    tables: int = 0
    stand_ins: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()

    @property
    def has_nothing_to_lose(self) -> bool:
        """Whether nobody has anything in it: no core, no queue, no table."""
        return self.core.nearest is None and not self.queues and not self.tables


def recognise(read: Catalog, pins: Pins | None = None) -> Found:
    """Say what the catalogs mean.

    Args:
        read: the catalogs.
        pins: what is known; by default the data of this package.
    """
    pins = pins or pinned.load()
    return Found(
        server=read.server,
        core=_core(read.core, marks.read(read.comments.get("pgflow", "")), pins),
        pgmq=_pgmq(read, pins),
        offered=read.offered,
        realtime=_realtime(read.realtime),
        queues=read.queues,
        tables=read.tables,
        stand_ins=tuple(name for name, schema in STOOD_IN_FOR.items() if _is_ours(read, schema)),
        extensions=tuple(
            name
            for name, schema in STOOD_IN_FOR.items()
            if name in read.extensions or (schema in read.comments and not _is_ours(read, schema))
        ),
    )


def _is_ours(read: Catalog, schema: str) -> bool:
    return read.comments.get(schema, "").startswith(catalog.STAND_IN)


def _core(items: Items, mark: Mark | None, pins: Pins) -> CoreFound:
    if not items:
        return CoreFound()
    candidates = []
    for release in pins.releases.values():
        ours = {key: pins.ours[key] for key in pins.ours if function_name(key) in release.replaced}
        candidates.append((_compare(items, release.items, ours), release, ours))
    difference, release, ours = min(candidates, key=lambda candidate: len(candidate[0]))
    return CoreFound(
        version=None if difference else release.version,
        replaced=tuple(function_name(key) for key in ours if items.get(key) == ours[key]),
        nearest=release.version,
        difference=difference,
        mark=mark if mark and mark.catalog == marks.digest(items) else None,
    )


def _pgmq(read: Catalog, pins: Pins) -> PgmqFound:
    if read.extension is not None:
        return PgmqFound("extension", read.extension, read.message_columns)
    if not read.pgmq and not read.queues:
        return PgmqFound()
    nearest = min(
        ((_compare(read.pgmq, queue.items, {}), queue) for queue in pins.queues.values()),
        key=lambda candidate: len(candidate[0]),
    )
    difference, queue = nearest
    mark = marks.read(read.comments.get("pgmq", ""))
    if mark is not None and mark.catalog == marks.digest(read.pgmq):
        # A file may leave just what a pinned one leaves, as when it has other comments.
        label = mark.label if difference else queue.version
        return PgmqFound("plain", label, read.message_columns, files=mark.files)
    if not difference:
        return PgmqFound("plain", queue.version, read.message_columns)
    return PgmqFound("foreign", None, read.message_columns, difference)


def _realtime(comment: str | None) -> Literal["none", "ours", "other"]:
    if comment is None:
        return "none"
    return "ours" if comment.startswith(catalog.STAND_IN) else "other"


def _compare(have: Items, want: Items, ours: Items) -> Difference:
    return Difference(
        missing=tuple(sorted(key for key in want if key not in have)),
        different=tuple(
            key + _detail(have[key], want[key])
            for key in sorted(want)
            if key in have and have[key] not in (want[key], ours.get(key))
        ),
        extra=tuple(sorted(key for key in have if key not in want)),
    )


def _detail(have: Item, want: Item) -> str:
    """The first column or constraint in which two tables differ; a function has none to name."""
    lines = [("without", line) for line in want if line not in have]
    lines += [("with", line) for line in have if line not in want]
    for word, line in lines:
        if " " in line and not line.startswith(_DEFINITIONS):
            return f" ({word} {line})"
    if any(line.startswith(_DEFINITIONS) for _, line in lines):
        return " (a default or what a constraint says)"
    return " (the order of the columns)" if lines == [] else ""


def function_name(key: str) -> str:
    """`pgflow.f` of `function pgflow.f(text, integer)`."""
    return key.removeprefix("function ").partition("(")[0]
