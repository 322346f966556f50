"""What a whole run of the suite shares: the database server, the workers, the core's version."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import records
from conformance.harness.adapters import Adapter, find, prepare
from conformance.harness.databases import TEMPLATE, Cluster
from pgflow_ref import EmbeddedPostgres, __version__
from pgflow_ref.install import install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORE: Final = "0.5.0"


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


def open_session(
    names: Sequence[str], patience: float, say: Callable[[str], None]
) -> tuple[Session, EmbeddedPostgres]:
    """Prepare the workers, start the server and make the template that cases are copied from.

    Raises:
        AdapterError, PgflowError: the suite cannot run; the message says why.
    """
    adapters = tuple(find(name) for name in names)
    for adapter in adapters:
        if adapter.prepare:
            say(f"preparing worker {adapter.name}")
        prepare(adapter)
    say("starting PostgreSQL")
    server = EmbeddedPostgres().start()
    try:
        cluster = Cluster(server.url())
        cluster.create(TEMPLATE)
        say(f"installing pgmq and pgflow core {CORE}")
        report = install(cluster.url_of(TEMPLATE), CORE, say=say)
    except BaseException:
        server.stop()
        raise
    session = Session(
        server=server.url(),
        patience=patience,
        adapters=adapters,
        core=report.core,
        pgmq=report.pgmq,
        postgresql=server.version,
        replaced=report.replaced,
        stand_ins=report.stand_ins,
    )
    return session, server
