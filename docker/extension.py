"""Make the extension pgmq, as PostgreSQL wants it: a control file and a script, in a folder.

    python docker/extension.py VERSION SQL SHA256 FOLDER

SQL is a file below docker/packages/ or a URL, and SHA256 its checksum; both are empty for the
version that the project itself knows, which comes from the Python package pgmq.
"""

from __future__ import annotations

import hashlib
import re
import sys
import urllib.request
from pathlib import Path
from typing import Final

from pgflow_ref.install import pins, sources

PACKAGES: Final = Path(__file__).parent / "packages"
CONTROL: Final = """\
comment = 'pgmq {version}, a message queue in PostgreSQL'
default_version = '{version}'
schema = 'pgmq'
relocatable = false
superuser = false
"""


def known(version: str) -> bytes:
    """The SQL that the project knows.

    Raises:
        SystemExit: it knows another version.
    """
    queues = pins.load().queues
    if version not in queues:
        sys.exit(
            f"pgmq {version} is not known, {' and '.join(queues)} are; of any other say where it"
            " is (PGMQ_SQL: a file in docker/packages/ or a URL) and its checksum (PGMQ_SHA256)"
        )
    (file,) = sources.pgmq_files(queues[version])
    return file.text.encode()


def given(place: str, checksum: str) -> bytes:
    """The SQL of a file or a URL, if it is what the checksum says.

    Raises:
        SystemExit: it is not, or cannot be had.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        sys.exit("PGMQ_SHA256 must be the SHA-256 of PGMQ_SQL: 64 digits, 0-9 and a-f")
    try:
        if place.startswith("https://"):
            with urllib.request.urlopen(place, timeout=60) as answer:  # noqa: S310  # https only
                text: bytes = answer.read()
        else:
            text = (PACKAGES / place).read_bytes()
    except OSError as error:
        sys.exit(f"{place} cannot be read: {error}")
    found = hashlib.sha256(text).hexdigest()
    if found != checksum:
        sys.exit(f"{place} is not what it should be: expected SHA-256 {checksum}, found {found}")
    return text


def main(version: str, place: str, checksum: str, folder: Path) -> None:
    """Write the two files."""
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        sys.exit(f"{version!r} is no version of pgmq, such as 1.11.1")
    text = given(place, checksum) if place else known(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pgmq.control").write_text(CONTROL.format(version=version), encoding="utf-8")
    (folder / f"pgmq--{version}.sql").write_bytes(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
