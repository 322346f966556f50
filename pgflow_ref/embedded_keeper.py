"""The keeper: the small process between an `EmbeddedPostgres` and its PostgreSQL server.

A server that belongs to one process has to go when that process goes, and a process that is killed
cannot clean up after itself. So the owner starts this program and holds the only writing end of the
pipe that is the keeper's stdin. However the owner ends, the kernel closes the pipe; the keeper sees
it, stops the server and removes its directory.

What is said: the owner writes one JSON line, the `Order`, and the keeper answers
with one JSON line on stdout: where the server is, or `{"error": text}`. After that, anything that
arrives on stdin, its end above all, means stop.

This file is run by its path and imports the standard library only, so that it starts fast and
depends on nothing that the owner has done to its own interpreter.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

START_SECONDS = 60.0  # for initdb, and again for the server: far more than either needs
QUIT_SECONDS = 10.0  # PostgreSQL itself kills what is left of its processes after 5
OWNER_SECONDS = 0.5  # between two looks at whether the owner is still there
PORT_ATTEMPTS = 10
SOCKET_PATH_BYTES = 103  # macOS; Linux has 107
TAIL_BYTES = 4000


class Trouble(Exception):
    """Why there is no server; the text is for the owner."""


class Order(NamedTuple):
    """What the owner asks for; its names are those of the JSON object."""

    owner: int
    bin: str
    tmp: str
    password: str
    config: str


class Place(NamedTuple):
    """Where the server lives, and as whom it runs (None: as the keeper itself)."""

    directory: Path
    bin: Path
    user: int | None
    group: int | None

    def give(self, path: Path) -> None:
        """Make a path the server's own."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group, follow_symlinks=False)


class Leash:
    """Knows when to stop: the owner's pipe says so, the owner is gone, or a signal came."""

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._signals, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The handlers do nothing: the byte in the pipe is looked at where it is safe to stop.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def pulled(self, seconds: float) -> bool:
        """Wait at most so long; True as soon as it is time to stop."""
        readable, _, _ = select.select([0, self._signals], [], [], seconds)
        # A child that the owner forked may hold the pipe open after the owner's death.
        return bool(readable) or os.getppid() != self._owner


def main() -> None:
    """Read the order, keep the server until it is time to stop, leave nothing behind."""
    os.umask(0o077)
    # Unbuffered: a buffer could swallow what comes after the order and means stop.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    if not line:
        return
    order = Order(**json.loads(line))
    try:
        keep(order, Leash(order.owner))
    except (Trouble, OSError, subprocess.SubprocessError) as error:
        # A statement that fails within initdb is shown in its output, and one sets the password.
        report({"error": str(error).replace(order.password, "********")})


def keep(order: Order, leash: Leash) -> None:
    """Run a server for the owner, from the first file to the last."""
    user, group = server_account()
    directory = make_directory(Path(order.tmp), user)
    try:
        place = furnish(Place(directory, Path(order.bin), user, group), order)
        initialise(place)
        server, port = launch(place, leash)
        try:
            if not leash.pulled(0):
                version = run(place, "postgres", "--version").split()[-1]
                answer = {"port": port, "pid": server.pid, "version": version}
                report({"directory": str(directory), **answer})
            while not leash.pulled(OWNER_SECONDS):
                server.poll()  # so that a server that died is no zombie
        finally:
            quit_server(server)
    finally:
        remove(directory)


def report(answer: Mapping[str, object]) -> None:
    """Tell the owner, if there still is one."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def server_account() -> tuple[int, int] | tuple[None, None]:
    """As whom the server runs: root must not run PostgreSQL, everybody else may."""
    if os.geteuid() != 0:
        return None, None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Trouble(
            "PostgreSQL refuses to run as root, and there is no user `nobody` to run it as; "
            "use an ordinary user"
        ) from None
    return nobody.pw_uid, nobody.pw_gid


def make_directory(wanted: Path, user: int | None) -> Path:
    """Make the directory where TMPDIR wants it, or in /tmp if the server could not live there."""
    for parent in (wanted.resolve(), Path("/tmp")):  # noqa: S108 - mkdtemp is safe there
        longest = parent / "pgflow-ref-12345678/socket/.s.PGSQL.65535"
        if len(os.fsencode(longest)) <= SOCKET_PATH_BYTES and (user is None or is_open(parent)):
            return Path(tempfile.mkdtemp(prefix="pgflow-ref-", dir=parent))
    raise Trouble(f"neither {wanted} nor /tmp can hold the server's directory; set TMPDIR")


def is_open(path: Path) -> bool:
    """Whether anybody may enter a directory or run a program; in doubt, no."""
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def furnish(place: Place, order: Order) -> Place:
    """Make what the server needs in its directory, and the programs too if it cannot reach them.

    The directory itself stays root's where the keeper is root: the server's user may pass through
    it, but cannot put a symbolic link where root will write or remove something.
    """
    if place.group is not None:
        os.chown(place.directory, -1, place.group)
        place.directory.chmod(0o710)
    for name in ("data", "socket"):
        (place.directory / name).mkdir(mode=0o700)
    for name, text in (("password", order.password), ("postgresql.conf", order.config)):
        (place.directory / name).write_text(text, encoding="utf-8")
    for path in place.directory.iterdir():
        place.give(path)
    if place.user is None or is_open(place.bin / "postgres"):
        return place
    copy = place.directory / "pginstall"
    shutil.copytree(place.bin.parent, copy, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        place.give(path)
    return place._replace(bin=copy / place.bin.name)


def initialise(place: Place) -> None:
    """Run initdb, to its end even if the owner dies meanwhile.

    A killed initdb leaves shared memory behind, and it takes less than a second.
    """
    password = place.directory / "password"
    run(
        place,
        "initdb",
        f"--pgdata={place.directory / 'data'}",
        f"--pwfile={password}",
        "--username=postgres",
        "--auth=scram-sha-256",
        # One locale on every machine: texts sort by code point, upper() knows all of Unicode.
        *("--encoding=UTF8", "--locale=C"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *("--no-sync", "--no-instructions"),
    )
    password.unlink()


def launch(place: Place, leash: Leash) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait until it is ready, or until it is time to stop."""
    log = place.directory / "log"
    for _ in range(PORT_ATTEMPTS):
        port = free_port()
        with log.open("wb") as output:
            server = spawn(
                place,
                output.fileno(),
                "postgres",
                *("-D", str(place.directory / "data"), "-p", str(port)),
                *("-c", f"config_file={place.directory / 'postgresql.conf'}"),
                *("-c", f"unix_socket_directories={place.directory / 'socket'}"),
            )
        try:
            if wait_until_ready(server, place.directory / "data/postmaster.pid", leash):
                return server, port
        except BaseException:
            quit_server(server)
            raise
        said = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        # Somebody took the port between our look at it and the server's.
        if "Address already in use" not in said:
            raise Trouble(f"PostgreSQL ended while it started (status {server.wait()}):\n{said}")
    raise Trouble(f"{PORT_ATTEMPTS} ports were free and then taken; PostgreSQL said:\n{said}")


def wait_until_ready(server: subprocess.Popen[bytes], pidfile: Path, leash: Leash) -> bool:
    """True when the server is ready or no longer wanted, False when it has ended."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None:
        if is_ready(pidfile, server.pid) or leash.pulled(0.01):
            return True
        if time.monotonic() > deadline:
            raise Trouble(f"PostgreSQL was not ready after {START_SECONDS:g} s")
    return False


def is_ready(pidfile: Path, pid: int) -> bool:
    """Whether postmaster.pid says so: the pid in its first line, the status in its eighth."""
    try:
        lines = pidfile.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return False
    return lines[0] == str(pid) and [line.strip() for line in lines[7:8]] == ["ready"]


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; whether it still is, the server will find out."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def run(place: Place, program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs to its end and return what it said."""
    process = spawn(place, subprocess.PIPE, program, *arguments)
    try:
        output, _ = process.communicate(timeout=START_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
    said = output.decode(errors="replace")
    if process.returncode != 0:
        raise Trouble(f"{program} failed (status {process.returncode}):\n{said[-TAIL_BYTES:]}")
    return said


def spawn(place: Place, output: int, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start one of PostgreSQL's programs as the server's user, with nothing of our environment."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    icu = place.bin.parent / "share/icu"  # only the wheels for musl have it, and they need it
    if icu.is_dir():
        environment["ICU_DATA"] = str(icu)
    return subprocess.Popen(
        [str(place.bin / program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=place.directory,
        env=environment,
        user=place.user,
        group=place.group,
        extra_groups=None if place.user is None else [],
        preexec_fn=dying_with_keeper(),  # noqa: PLW1509 - the keeper has one thread
    )


def dying_with_keeper() -> Callable[[], None] | None:
    """What a child does first so that it dies with a SIGKILLed keeper; there is that on Linux only.

    Sound here: the keeper has one thread (the kernel watches the parent's thread, not its process),
    Python runs this after it has changed the user (which would undo it), and exec keeps it. The
    directory of a SIGKILLed keeper is removed by the owner's stop(), if there is one.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    keeper = os.getpid()

    def tie() -> None:
        libc.prctl(1, int(signal.SIGQUIT), 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
        if os.getppid() != keeper:
            os._exit(1)

    return tie


def quit_server(server: subprocess.Popen[bytes]) -> None:
    """Stop the server at once, without a checkpoint: its data is thrown away."""
    server.send_signal(signal.SIGQUIT)
    try:
        server.wait(QUIT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def remove(directory: Path) -> None:
    """Remove the directory; again if a dying process put something there meanwhile."""
    deadline = time.monotonic() + QUIT_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
