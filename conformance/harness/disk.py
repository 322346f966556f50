"""A disk that is full: a table on a small file system in memory, of which nothing is left.

A write that needs one more page of the table is refused with SQLSTATE 53100 (disk_full) until there
is room again. Everything else in the database goes on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from psycopg import sql

from conformance.harness.processes import NotSupported

if TYPE_CHECKING:
    from typing_extensions import Self

    from conformance.harness.databases import Cluster, Connection, Database

SIZE: Final = 4 * 2**20  # bytes of the file system
_PIECE: Final = 4096  # bytes that are written at once; the file system's own pages
_BALLAST: Final = "ballast"
_WITHIN: Final = 20.0  # seconds for the keeper to take the file system away

# It ends when its standard input does, so also when the harness is killed. Lazily, for a server
# may still have files open then.
_KEEPER: Final = """
trap '' INT TERM HUP
mount -t tmpfs -o "size=$2,mode=0755" tmpfs "$1" || exit 1
echo mounted
cat >&2
umount "$1" 2>&- || umount -l "$1"
rmdir "$1"
"""


class SmallDisk:
    """A file system of a few megabytes, gone at the end, also when the harness is killed.

    Args:
        owner: the user and the group of the server that is to write there.

    Raises:
        NotSupported: none can be mounted here.
    """

    def __init__(self, owner: tuple[int, int]) -> None:
        self._owner = owner

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="pgflow-disk-"))
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "sh", str(self.folder), str(SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "mounted\n":
            _, said = self._keeper.communicate()
            self.folder.rmdir()
            raise NotSupported(f"no small file system can be mounted here: {said.strip()}")
        self.space = self.folder / "space"
        self.name = f"conformance_{self.folder.name}"
        self.folder.chmod(0o755)
        self.space.mkdir(mode=0o700)
        os.chown(self.space, *self._owner)
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.communicate(timeout=_WITHIN)

    def fill(self) -> None:
        """Leave no room."""
        with self.folder.joinpath(_BALLAST).open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(_PIECE))
            except OSError:
                return

    def free(self) -> None:
        """Make room again."""
        self.folder.joinpath(_BALLAST).unlink(missing_ok=True)


def move(connection: Connection, disk: SmallDisk, queue: str) -> None:
    """Put the archive of a queue, which must be empty, on this disk.

    An empty table has no page with room, so that its next row needs one. Its indexes stay.
    """
    space, table = sql.Identifier(disk.name), sql.Identifier("pgmq", f"a_{queue.lower()}")
    connection.execute(
        sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(space, sql.Literal(str(disk.space)))
    )
    connection.execute(sql.SQL("ALTER TABLE {} SET TABLESPACE {}").format(table, space))


def drop(cluster: Cluster, database: Database, disk: SmallDisk) -> None:
    """Drop a database that has a table on this disk, so that the disk can go."""
    database.close()
    cluster.drop(database.url.rpartition("/")[2])
    with cluster.connect("postgres") as connection:
        connection.execute(
            sql.SQL("DROP TABLESPACE IF EXISTS {}").format(sql.Identifier(disk.name))
        )


def denials(server: Path, folder: str) -> int:
    """How many writes found no room in this tablespace, as the log of the server says."""
    said = server.joinpath("log").read_text(encoding="utf-8", errors="replace")
    return sum("could not extend file" in line and folder in line for line in said.splitlines())
