"""What a whole run of the suite shares: the database server, the workers, the core's version."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.harness import records
from conformance.harness.adapters import Adapter, find, prepare
from conformance.harness.databases import TEMPLATE, Cluster
from pgflow_ref import EmbeddedPostgres, __version__
from pgflow_ref.install import inspect, install

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness.databases import Connection

CORE: Final = "0.5.0"
"""The core that workers are tested on, where none is asked for."""


class PatchError(Exception):
    """The patch of the core cannot be applied; the message says why."""


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        workers: who takes part.
        patience: how much longer to wait than usual.
        cores: versions of the core, or none for the usual ones.
        patch: a file of SQL to run after the core's own, or None.
    """

    workers: tuple[str, ...]
    patience: float = 1.0
    cores: tuple[str, ...] = ()
    patch: str | None = None


@dataclass(frozen=True)
class Session:
    """Who takes part, and on what; the same in every process of a parallel run."""

    server: str
    patience: float
    adapters: tuple[Adapter, ...]
    core: str
    pgmq: str
    postgresql: str
    replaced: tuple[str, ...]
    stand_ins: tuple[str, ...]
    patch: str | None

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
            Adapter(one["name"], one["language"], tuple(one["command"]), tuple(one["prepare"]))
            for one in given.pop("adapters")
        )
        replaced, stand_ins = tuple(given.pop("replaced")), tuple(given.pop("stand_ins"))
        return cls(adapters=adapters, replaced=replaced, stand_ins=stand_ins, **given)

    def suite(self) -> records.Suite:
        """The first record of the report; what the workers say of themselves comes later."""
        return records.Suite(
            version=__version__,
            started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            platform=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            postgresql=self.postgresql,
            core=self.core,
            pgmq=self.pgmq,
            replaced=self.replaced,
            stand_ins=self.stand_ins,
            workers=tuple(records.Worker(one.name, one.language, "") for one in self.adapters),
        )


def open_session(choice: Choice, say: Callable[[str], None]) -> tuple[Session, EmbeddedPostgres]:
    """Prepare the workers, start the server and make the template that cases are copied from.

    Raises:
        AdapterError, PgflowError, PatchError: the suite cannot run; the message says why.
    """
    core = choice.cores[0] if choice.cores else CORE
    patch = None if choice.patch is None else read_patch(Path(choice.patch))
    adapters = tuple(find(name) for name in choice.workers)
    for adapter in adapters:
        if adapter.prepare:
            say(f"preparing worker {adapter.name}")
        prepare(adapter)
    say("starting PostgreSQL")
    server = EmbeddedPostgres().start()
    try:
        cluster = Cluster(server.url())
        cluster.create(TEMPLATE)
        say(f"installing pgmq and pgflow core {core}")
        report = install(cluster.url_of(TEMPLATE), core, say=say)
        if patch is not None:
            with cluster.connect(TEMPLATE) as connection:
                apply_patch(connection, patch, choice.patch or "")
                found = inspect(connection).core.difference
            say(f"{choice.patch} makes this another core than {core}: {found or 'in nothing'}")
    except BaseException:
        server.stop()
        raise
    session = Session(
        server=server.url(),
        patience=choice.patience,
        adapters=adapters,
        core=report.core,
        pgmq=report.pgmq,
        postgresql=server.version,
        replaced=report.replaced,
        stand_ins=report.stand_ins,
        patch=patch,
    )
    return session, server


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
