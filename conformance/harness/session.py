"""What a whole run of the suite shares: the database server, the workers, the core's version."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.harness import cores, hosts, records, ways
from conformance.harness.adapters import Adapter, Hello, find, prepare
from conformance.harness.databases import CORE, template_of
from conformance.harness.places import InPlace
from conformance.harness.ways import DIRECT, Way
from conformance.harness.words import introduced
from pgflow_ref import __version__
from pgflow_ref.install import inspect

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness.databases import Cluster, Connection
    from conformance.harness.hosts import Host

USUAL_CORES: Final = (CORE, "0.8.1")
"""The cores that workers are tested on, where none is asked for: each case on the first of these
that it is about."""


class PatchError(Exception):
    """The patch of the core cannot be applied; the message says why."""


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        workers: who takes part.
        patience: how much longer to wait than usual.
        cores: versions of the core or paths, or none for the usual ones.
        patch: a file of SQL to run after the core's own, or None.
        seed: what all that is random is made from.
        quick: whether it is to be over soon, and may show less.
        attach: the roles or names of workers that a person starts.
        database: where the databases are to be; one of `hosts.KINDS`.
        in_place: whether to work within the very database of a URL.
        pgmq: the version or path of pgmq, or None for the usual one.
        role: as whom workers connect; one of `ways.ROLES`.
    """

    workers: tuple[str, ...]
    patience: float = 1.0
    cores: tuple[str, ...] = ()
    patch: str | None = None
    seed: int = 0
    quick: bool = False
    attach: tuple[str, ...] = ()
    database: str = field(default=hosts.EMBEDDED, repr=False)  # a URL has a password
    in_place: bool = False
    pgmq: str | None = None
    role: str = ways.OWNER


@dataclass(frozen=True)
class Session:
    """Who takes part, and on what; the same in every process of a parallel run.

    Attributes:
        seed: what all that is random is made from; the one number that repeats it.
        quick: whether what is no case (`case.quick` says it of those) is to do less.
        prefix: how the names of all databases begin that cases get.
        in_place: whether there is one database alone, in which cases come one after the other.
        named: the cores as they were asked for; `cores` is what they turned out to be.
        pgmq: the pgmq as it was asked for, or None.
        way: how workers come to the server.
    """

    server: str = field(repr=False)  # with a password, which no traceback is to show
    patience: float
    adapters: tuple[Adapter, ...]
    cores: tuple[records.Core, ...]
    postgresql: str
    patch: str | None
    seed: int = 0
    quick: bool = False
    prefix: str = ""
    in_place: bool = False
    named: tuple[str, ...] = ()
    pgmq: str | None = None
    way: Way = DIRECT

    def cluster(self) -> Cluster:
        """Where cases get their databases from."""
        return hosts.cluster(
            self.server, self.prefix, self.patch, self.pgmq, self.way, in_place=self.in_place
        )

    def adapter(self, name: str) -> Adapter:
        """The adapter with this name."""
        return next(adapter for adapter in self.adapters if adapter.name == name)

    def dump(self) -> str:
        """As text, to hand it to the processes of a parallel run."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Session:
        """Read what `dump` wrote."""
        given: dict[str, Any] = json.loads(text)
        adapters = tuple(
            Adapter(
                one["name"],
                one["language"],
                tuple(one["command"]),
                tuple(one["prepare"]),
                Hello(**{**one["hello"], "capabilities": tuple(one["hello"]["capabilities"])}),
                tuple(one["attach"]),
            )
            for one in given.pop("adapters")
        )
        installed = tuple(
            records.Core(
                one["version"], one["pgmq"], tuple(one["replaced"]), tuple(one["stand_ins"])
            )
            for one in given.pop("cores")
        )
        named = tuple(given.pop("named"))
        way = Way(**given.pop("way"))
        return cls(adapters=adapters, cores=installed, named=named, way=way, **given)

    def suite(self) -> records.Suite:
        """The first record of the report; what the workers say of themselves comes later."""
        return records.Suite(
            version=__version__,
            started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            platform=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            postgresql=self.postgresql,
            cores=self.cores,
            workers=tuple(
                records.Worker(
                    one.name,
                    one.language,
                    one.hello.version,
                    one.hello.handler_input,
                    one.hello.capabilities,
                )
                for one in self.adapters
            ),
            seed=self.seed,
        )


def open_session(choice: Choice, say: Callable[[str], None]) -> tuple[Session, Host]:
    """Prepare the workers, get a server and make the template that cases are copied from.

    Raises:
        AdapterError, PgflowError, PatchError: the suite cannot run; the message says why.
    """
    patch = None if choice.patch is None else read_patch(Path(choice.patch))
    adapters = tuple(
        replace(_prepared(find(name), say), attach=choice.attach) for name in choice.workers
    )
    server = hosts.start(choice.database, in_place=choice.in_place, say=say, role=choice.role)
    try:
        cluster = hosts.cluster(
            server.url(), server.prefix, patch, choice.pgmq, server.way, in_place=server.in_place
        )
        named = choice.cores or USUAL_CORES
        installed = tuple(_template(cluster, core, choice, patch, say) for core in named)
    except BaseException:
        server.stop()
        raise
    session = Session(
        server=server.url(),
        patience=math.inf if choice.attach else choice.patience,  # people take their time
        adapters=adapters,
        cores=installed,
        postgresql=server.version,
        patch=patch,
        seed=choice.seed,
        quick=choice.quick,
        prefix=server.prefix,
        in_place=server.in_place,
        named=named,
        pgmq=choice.pgmq,
        way=server.way,
    )
    return session, server


def _prepared(adapter: Adapter, say: Callable[[str], None]) -> Adapter:
    """A worker that is ready for its first case, and has said who it is, if it can."""
    if adapter.prepare:
        say(f"preparing worker {adapter.name}")
    prepare(adapter)
    return introduced(adapter)


def _template(
    cluster: Cluster, core: str, choice: Choice, patch: str | None, say: Callable[[str], None]
) -> records.Core:
    """Make the database that cases are copied from; in place, see what it would be."""
    template, label = template_of(core), cores.of(core).label
    if isinstance(cluster, InPlace):
        say(f"pgmq and pgflow core {label} are installed for each case")
        report = cluster.attempt(core, say)
        return records.Core(label, report.pgmq, report.replaced, report.stand_ins)
    cluster.create(template)
    say(f"installing pgmq and pgflow core {label}")
    report = cores.put(cluster.url_of(template), core, choice.pgmq, say)
    if patch is not None:
        with cluster.connect(template) as connection:
            apply_patch(connection, patch, choice.patch or "")
            found = inspect(connection).core.difference
        say(f"{choice.patch} makes this another core than {label}: {found or 'in nothing'}")
    return records.Core(label, report.pgmq, report.replaced, report.stand_ins)


def read_patch(path: Path) -> str:
    """The SQL of a patch.

    Raises:
        PatchError: there is no such file, or it is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PatchError(f"{path} cannot be read: {error}") from None


def apply_patch(connection: Connection, patch: str, name: str) -> None:
    """Run a patch of the core.

    Raises:
        PatchError: the server refuses it.
    """
    try:
        connection.execute(patch.encode())
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        raise PatchError(f"{name}: the server refuses it: {said} ({error.sqlstate})") from None
