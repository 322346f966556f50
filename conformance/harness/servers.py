"""A server of a case's own, which can be restarted: the others would not like that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from conformance.harness import cores, ways
from conformance.harness.databases import Cluster, template_of
from conformance.harness.kin import die_with_parent
from conformance.harness.memory import in_memory
from conformance.harness.ways import DIRECT
from pgflow_ref import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from conformance.harness.databases import Connection
    from conformance.harness.ways import Way

MODES: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
"""How PostgreSQL is told to stop: with its sessions ended in order, or like a crash."""

_WITHIN: Final = 60.0  # seconds for the server to end, and again to begin
_LOOK_EVERY: Final = 0.02  # seconds


class RestartableServer:
    """A PostgreSQL with the cores that are asked for, which is the same one after a restart.

    Its first process belongs to `EmbeddedPostgres`, those after a restart to this object. All of
    them die with the process that started them.

    Args:
        named: versions of the core, or paths.
        patch: what else is done to each database that cases are copied from.
        pgmq: the version or path of pgmq, or None for the usual one.
        way: how workers come to other servers; they come to this one likewise, with a PgBouncer of
            its own.
    """

    def __init__(
        self,
        named: Iterable[str],
        patch: Callable[[Connection], None] | None = None,
        pgmq: str | None = None,
        way: Way = DIRECT,
    ) -> None:
        self._way = way
        self._stack = contextlib.ExitStack()
        self._named = tuple(named)
        self._pgmq = pgmq
        self._patch = patch
        # What is committed must be there after a restart. The machine does not crash: no fsync.
        self._first = EmbeddedPostgres({"synchronous_commit": "on"})
        self._later: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with in_memory():
            self._first.start()
        try:
            url = self._first.url()
            as_elsewhere = ways.opened(
                url, self._way.user, self._way.password, pooled=self._way.is_pooled
            )
            self.cluster = Cluster(url, way=self._stack.enter_context(as_elsewhere))
            for core in self._named:
                self.cluster.create(template_of(core))
                cores.put(self.cluster.url_of(template_of(core)), core, self._pgmq)
                if self._patch is not None:
                    with self.cluster.connect(template_of(core)) as connection:
                        self._patch(connection)
        except BaseException:
            self._stack.close()
            self._first.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._later is not None:
            self._later.send_signal(signal.SIGQUIT)
            try:
                self._later.wait(_WITHIN)
            except subprocess.TimeoutExpired:
                self._later.kill()
                self._later.wait()
        self._first.stop()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._first.pid if self._later is None else self._later.pid

    @property
    def directory(self) -> Path:
        """Where its files are, until it is over."""
        return self._first.directory

    def restart(self, mode: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Stop the server, start it again on the same port, and wait until it takes connections.

        Args:
            mode: one of `MODES`.
            meanwhile: what is done while there is no server.

        Raises:
            TimeoutError: it does not stop or start.
        """
        pid = self.pid
        process = Path("/proc", str(pid))
        command = process.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
        data = self._first.directory / "data"
        os.kill(pid, MODES[mode])
        _wait(lambda: _has_ended(process) and self._reaped(), f"the server did not stop ({mode})")
        meanwhile()
        owner = data.stat()
        as_another = os.geteuid() == 0
        with (self._first.directory / "log").open("ab") as log:
            self._later = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._first.directory,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                user=owner.st_uid if as_another else None,
                group=owner.st_gid if as_another else None,
                extra_groups=[] if as_another else None,
                start_new_session=True,
                preexec_fn=_quit_with_parent,  # noqa: PLW1509  # one call into libc
            )
        _wait(self._takes_connections, f"the server did not start: {self._first.log()[-2000:]}")

    def _reaped(self) -> bool:
        return self._later is None or self._later.poll() is not None

    def _takes_connections(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.cluster.url):
            return True
        return False


def _has_ended(process: Path) -> bool:
    """Whether nothing of a process is left but, perhaps, its exit code."""
    try:
        state = process.joinpath("stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def _wait(until: Callable[[], bool], otherwise: str) -> None:
    give_up_at = time.monotonic() + _WITHIN
    while not until():
        if time.monotonic() > give_up_at:
            raise TimeoutError(otherwise)
        time.sleep(_LOOK_EVERY)


def _quit_with_parent() -> None:
    die_with_parent(signal.SIGQUIT)
