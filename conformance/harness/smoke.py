"""Whether the harness works on this machine, before any worker is blamed: `smoke`.

Each check proves one thing that all cases rely on, and says what to do where it does not hold.
"""

from __future__ import annotations

import importlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from conformance.harness import eventlog, gates
from conformance.harness.adapters import Adapter, find
from conformance.harness.cases import Case, RunOf
from conformance.harness.databases import CORE, Cluster, template_of
from conformance.harness.kin import Kin
from conformance.harness.trial import Trial
from conformance.harness.words import introduced
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.install import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.harness.databases import Connection

_PACKAGES: Final = ("psycopg", "pytest", "xdist", "hypothesis", "jinja2", "ruamel.yaml", "rich")
_SPACE: Final = 500 * 2**20  # bytes: a server, a database a process, and what workers say
_WITHIN: Final = 30.0  # seconds for what takes a moment
_FLOW: Final = {"slug": "smoke", "steps": [{"slug": "only", "handler": [{"return": 42}]}]}
_EXPECTED: Final = {"status": "completed", "output": {"only": 42}}
_IDLE: Final = """\
import signal, sys, uuid
if sys.argv[-1] == "work":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print('{"type": "hello", "contract": "1.0", "name": "idle", "language": "python",'
          ' "version": "0", "handler_input": "split", "capabilities": []}', flush=True)
    print('{"type": "ready", "worker_id": "%s"}' % uuid.uuid4(), flush=True)
    signal.sigwait({signal.SIGTERM})
    print('{"type": "stopped"}', flush=True)
"""


class Broken(Exception):
    """Something does not work; the message says what was seen."""


@dataclass(frozen=True)
class Check:
    """One thing that has to work.

    Attributes:
        name: what it is about.
        remedy: what to do if it does not.
        do: proves it, and says in a sentence what was seen; raises what it likes if it does not.
    """

    name: str
    remedy: str
    do: Callable[[Ground], str]


@dataclass(frozen=True)
class Found:
    """What came of a check.

    Attributes:
        name: which.
        well: whether it holds.
        said: what was seen.
        remedy: what to do, where it does not hold.
    """

    name: str
    well: bool
    said: str
    remedy: str = ""


@dataclass
class Ground:
    """What later checks stand on.

    Attributes:
        stack: what is to be closed at the end.
        cluster: the server's databases, once it runs.
    """

    stack: ExitStack
    server: EmbeddedPostgres | None = None
    cluster: Cluster | None = None
    folder: Path = field(default_factory=Path)

    def databases(self) -> Cluster:
        """The server's databases."""
        if self.cluster is None:
            raise Broken("there is no server to try it on")
        return self.cluster


def look() -> Iterator[Found]:
    """Check everything, one after the other; what is started is gone at the end."""
    with ExitStack() as stack:
        ground = Ground(stack)
        ground.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smoke-")))
        for check in CHECKS:
            yield _found(check, ground)


def _found(check: Check, ground: Ground) -> Found:
    try:
        return Found(check.name, well=True, said=check.do(ground))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is to be told
        said = str(error) or type(error).__name__
        return Found(check.name, well=False, said=said, remedy=check.remedy)


def _python(_: Ground) -> str:
    for name in _PACKAGES:
        importlib.import_module(name)
    return f"Python {platform.python_version()} at {sys.executable}, with all packages"


def _system(_: Ground) -> str:
    if not Path("/proc/self/stat").exists():
        raise Broken(f"{platform.system()} has no /proc, in which the harness finds processes")
    return f"{platform.system()} {platform.machine()}, with /proc"


def _disk(ground: Ground) -> str:
    free = shutil.disk_usage(ground.folder).free
    if free < _SPACE:
        raise Broken(f"only {free // 2**20} MiB are free in {ground.folder.parent}")
    return f"{free // 2**20:,} MiB are free in {ground.folder.parent}"


def _loopback(_: Ground) -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), _WITHIN), server.accept()[0]:
            return f"127.0.0.1 takes connections, as on port {port}"


def _kills(_: Ground) -> str:
    script = "sleep 1000 & setsid sleep 1000 & echo there; wait"
    kin = Kin(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE)
    assert kin.process.stdout is not None
    with kin.process.stdout as said:
        said.readline()
        kin.end()
    if kin.process.returncode != -signal.SIGKILL or kin.left():
        raise Broken(f"after SIGKILL there are still {', '.join(kin.left()) or 'exit codes'}")
    return "a process that is killed is gone, and so are its children"


def _postgresql(ground: Ground) -> str:
    ground.server = ground.stack.enter_context(EmbeddedPostgres())
    ground.cluster = Cluster(ground.server.url())
    return f"PostgreSQL {ground.server.version} runs on port {ground.server.port}"


def _core(ground: Ground) -> str:
    cluster = ground.databases()
    cluster.create(template_of(CORE))
    report = install(cluster.url_of(template_of(CORE)), CORE)
    return f"pgmq {report.pgmq} and pgflow core {report.core} are installed"


def _event_log(ground: Ground) -> str:
    with ground.databases().database(CORE) as database:
        _flow_in(database.connection)
        kinds = {event.source for event in eventlog.read(database.connection)}
    if not {"run", "step", "task"} <= kinds:
        raise Broken(f"a run was started, and its log has {', '.join(sorted(kinds)) or 'nothing'}")
    return "a case has a database of its own, whose log has every change"


def _gates(ground: Ground) -> str:
    with ground.databases().database(CORE) as database:
        _flow_in(database.connection)
        gates.shut(database.connection, "smoke", "read", "before")
        read = threading.Thread(target=_read_a_message, args=[ground.databases(), database.url])
        read.start()
        try:
            waited = _comes_to_wait(database.connection, read)
        finally:
            gates.open_(database.connection)
            read.join(_WITHIN)
    if not waited or read.is_alive():
        raise Broken("a statement went through a gate that was shut" if not waited else "it hangs")
    return "a statement waits at a gate, and goes on when that opens"


def _good_worker(ground: Ground) -> str:
    trial = _tried(ground, introduced(find("plain")), 1.0)
    if trial.outcome != "passed":
        raise Broken(f"a worker that is right {trial.outcome}: {'; '.join(trial.problems)}")
    return f"a worker that is right passes, in {trial.seconds:.1f} s"


def _bad_worker(ground: Ground) -> str:
    path = ground.folder / "idle.py"
    path.write_text(_IDLE, encoding="utf-8")
    trial = _tried(ground, Adapter("idle", "python", (sys.executable, "-I", str(path))), 0.1)
    wanted = "were not over" if not trial.problems else trial.problems[0]
    if trial.outcome != "failed" or "over" not in wanted:
        raise Broken(f"a worker that does nothing {trial.outcome}: {'; '.join(trial.problems)}")
    return f"a worker that does nothing fails: {wanted}"


def _nothing_left(ground: Ground) -> str:
    cluster = ground.databases()
    with cluster.connect("postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'case%'")
        left = [str(name) for (name,) in rows]
    if left:
        raise Broken(f"databases were left behind: {', '.join(left)}")
    assert ground.server is not None
    folder = ground.server.directory
    ground.server.stop()
    if folder.exists():
        raise Broken(f"the server left {folder} behind")
    return "no database is left, and nothing of the server"


def _tried(ground: Ground, adapter: Adapter, patience: float) -> Trial:
    case = Case(
        id="smoke.one_step",
        promise="A run of one step completes.",
        reference="this check",
        flow=_FLOW,
        worker={},
        runs=(RunOf({}, _EXPECTED),),
    )
    folder = ground.folder / adapter.name
    folder.mkdir()
    trial = Trial(case, [adapter], folder, patience)
    trial.run(ground.databases())
    return trial


def _flow_in(connection: Connection) -> None:
    connection.execute("SELECT pgflow.create_flow('smoke')")
    connection.execute("SELECT pgflow.add_step('smoke', 'only')")
    connection.execute("SELECT pgflow.start_flow('smoke', '{}')")


def _read_a_message(cluster: Cluster, url: str) -> None:
    with cluster.connect(url.rpartition("/")[2]) as connection:
        connection.execute("SELECT * FROM pgmq.read('smoke', 30, 1)")


def _comes_to_wait(connection: Connection, thread: threading.Thread) -> bool:
    while thread.is_alive():
        if gates.waiting(connection):
            return True
        thread.join(0.02)
    return False


CHECKS: Final = (
    Check("Python", "run ./scripts/conformance once: it makes .venv ready", _python),
    Check("system", "run the suite on Linux, or in a container of it", _system),
    Check("disk", "make room, or set TMPDIR to a folder that has some", _disk),
    Check("loopback", "let processes on this machine connect to 127.0.0.1", _loopback),
    Check("processes", "allow signals to one's own processes; a container needs --init", _kills),
    Check("PostgreSQL", "see what it says above; pip install 'pgflow-ref[embedded]'", _postgresql),
    Check("core", "let npm's and PyPI's registries be reached once: both are kept", _core),
    Check("event log", "report this: it is a mistake of the suite", _event_log),
    Check("gates", "report this: it is a mistake of the suite", _gates),
    Check("good worker", "see what it says; --patience 3 if this machine is slow", _good_worker),
    Check("bad worker", "report this: a suite that passes it proves nothing", _bad_worker),
    Check("clean end", "look for processes of postgres, and report this", _nothing_left),
)
"""All checks, in their order: the later ones stand on the earlier ones."""
