"""A disk that is full refuses what needs room, and nothing of it is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness import disk
from conformance.harness.processes import NotSupported
from conformance.harness.servers import RestartableServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CORE = "0.5.0"
WITHIN = 20.0
HOLDER = """
import os, sys
from conformance.harness.disk import SmallDisk
with SmallDisk((os.getuid(), os.getgid())) as small:
    print(small.folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def may_mount() -> None:
    try:
        with disk.SmallDisk((os.getuid(), os.getgid())):
            pass
    except NotSupported as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def server() -> Iterator[RestartableServer]:
    with RestartableServer([CORE]) as made:
        yield made


@pytest.mark.usefixtures("may_mount")
def test_a_message_is_archived_when_there_is_room_again(server: RestartableServer) -> None:
    owner = server.directory.joinpath("data").stat()
    with (
        server.cluster.database(CORE) as database,
        disk.SmallDisk((owner.st_uid, owner.st_gid)) as small,
    ):
        connection = database.connection
        connection.execute("SELECT pgflow.create_flow('full')")
        disk.move(connection, small, "full")
        connection.execute("SELECT pgmq.send('full', '{}')")
        found = connection.execute(
            "SELECT oid::text FROM pg_tablespace WHERE spcname = %s", [small.name]
        ).fetchone()
        assert found is not None
        folder = f"pg_tblspc/{found[0]}/"
        small.fill()
        assert disk.denials(server.directory, folder) == 0
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute("SELECT pgmq.archive('full', 1)")
        assert disk.denials(server.directory, folder) == 1
        small.free()
        assert connection.execute("SELECT pgmq.archive('full', 1)").fetchone() == (True,)
        disk.drop(server.cluster, database, small)
        with server.cluster.connect("postgres") as other:
            left = other.execute(
                "SELECT spcname FROM pg_tablespace WHERE spcname LIKE 'conformance%'"
            )
            assert left.fetchall() == []
    assert not small.folder.exists()


@pytest.mark.usefixtures("may_mount")
def test_nothing_is_left_when_its_process_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert folder.is_mount()
        holder.send_signal(signal.SIGKILL)
    give_up_at = time.monotonic() + WITHIN
    while folder.exists() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert not folder.exists()


def test_where_none_can_be_mounted_it_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = tmp_path / "mount"
    mount.write_text("#!/bin/sh\necho must be superuser >&2\nexit 32\n", encoding="utf-8")
    mount.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(NotSupported, match="must be superuser"), disk.SmallDisk((0, 0)):
        pass
    assert list(tmp_path.iterdir()) == [mount]
