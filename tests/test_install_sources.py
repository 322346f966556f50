"""Where the SQL comes from: directories, archives, the cache, and clients that only pretend."""

from __future__ import annotations

import importlib.util
import io
import shutil
import sysconfig
import tarfile
import threading
from typing import TYPE_CHECKING

import platformdirs
import pytest

from pgflow_ref.errors import SourceError
from pgflow_ref.install import fetch, pins, sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CORE = pins.load().core
NAMES = list(CORE.files)
FIRST = NAMES[0]


@pytest.fixture(scope="module")
def migrations() -> dict[str, bytes]:
    """The real files, from the real cache."""
    return {file.name: file.text.encode() for file in sources.core_files(NAMES)}


@pytest.fixture
def folder(tmp_path: Path, migrations: dict[str, bytes]) -> Path:
    """An unpacked package."""
    return fill(tmp_path / "unpacked" / "package" / CORE.folder, migrations)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "pgflow-ref" / "pgflow-core-0.8.1"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Make a program that is found as deno or npm; no other is found."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(programs))

    def which(name: str, path: str | None = None) -> str | None:
        program = programs / name
        return str(program) if program.exists() and path in (None, str(programs)) else None

    monkeypatch.setattr(shutil, "which", which)

    def make(name: str, script: str) -> Path:
        program = programs / name
        program.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n{script}\n")
        program.chmod(0o755)
        return tmp_path / "calls"

    return make


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def archive(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return path


def test_a_directory_holds_the_files_directly_or_below(
    folder: Path, migrations: dict[str, bytes]
) -> None:
    for source in (folder, folder.parents[3]):
        files = sources.core_files(NAMES, source)
        assert [file.name for file in files] == NAMES
        assert {file.name: file.text.encode() for file in files} == migrations


def test_a_directory_needs_no_more_files_than_the_release_has(folder: Path) -> None:
    for name in NAMES[7:]:
        (folder / name).unlink()
    assert len(sources.core_files(NAMES[:7], folder)) == 7
    with pytest.raises(SourceError, match=f"{NAMES[7]} is missing in {folder}"):
        sources.core_files(NAMES[:8], folder)


def test_an_archive_is_read_and_never_unpacked(
    tmp_path: Path, migrations: dict[str, bytes]
) -> None:
    files = {f"package/{CORE.folder}/{name}": content for name, content in migrations.items()}
    path = archive(tmp_path / "core.tgz", {"../../evil.sql": b"x", "/etc/evil": b"x", **files})
    before = sorted(tmp_path.rglob("*"))
    assert [file.name for file in sources.core_files(NAMES, path)] == NAMES
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_an_archive_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "core.tgz"
    with tarfile.open(path, "w:gz") as opened:
        link = tarfile.TarInfo(f"package/{CORE.folder}/{FIRST}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    with pytest.raises(SourceError, match="holds no migration"):
        sources.core_files(NAMES, path)


def test_a_member_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "core.tgz", {f"package/{CORE.folder}/{FIRST}": bytes(2 << 20)})
    with pytest.raises(SourceError, match="too large"):
        sources.core_files(NAMES, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "cannot be read as a .tgz"),
        (b"\x1f\x8b\x08\x00 cut off", "cannot be read as a .tgz"),
    ],
)
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "core.tgz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said):
        sources.core_files(NAMES, path)


def test_a_place_that_is_not_there_or_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere does not exist"):
        sources.core_files(NAMES, tmp_path / "nowhere")
    with pytest.raises(SourceError, match=f"holds no migration .* such as {FIRST}"):
        sources.core_files(NAMES, tmp_path)


def test_a_tampered_file_is_named_with_both_checksums(folder: Path) -> None:
    (folder / FIRST).write_bytes((folder / FIRST).read_bytes() + b"-- and more\n")
    with pytest.raises(SourceError) as caught:
        sources.core_files(NAMES, folder)
    said = str(caught.value)
    assert said.startswith(f"{FIRST} in {folder} is not the file of @pgflow/core 0.8.1: expected")
    assert CORE.files[FIRST] in said
    assert "found " in said


def copy_of(files: Path) -> str:
    return f'mkdir -p "$DENO_DIR/npm/x/{CORE.folder}"; cp {files}/* "$DENO_DIR/npm/x/{CORE.folder}"'


def test_a_cold_cache_is_filled_once(
    folder: Path, cache: Path, client: Callable[[str, str], Path]
) -> None:
    calls = client("deno", copy_of(folder))
    said: list[str] = []
    for _ in range(3):
        assert len(sources.core_files(NAMES, say=said.append)) == 12
    assert calls.read_text() == "called\n"
    assert said == [f"fetching @pgflow/core 0.8.1, once; it is kept in {cache}"]
    assert sorted(path.name for path in cache.iterdir()) == NAMES  # nothing else, nothing half


@pytest.mark.parametrize("damage", ["tampered", "missing"])
def test_a_damaged_cache_is_filled_again_once(
    damage: str, folder: Path, cache: Path, client: Callable[[str, str], Path]
) -> None:
    calls = client("deno", copy_of(folder))
    sources.core_files(NAMES)
    (cache / FIRST).write_text("garbage") if damage == "tampered" else (cache / FIRST).unlink()
    sources.core_files(NAMES)
    sources.core_files(NAMES)
    assert calls.read_text() == "called\n" * 2


@pytest.mark.usefixtures("cache")
def test_a_fetched_file_that_is_wrong_ends_it(
    folder: Path, cache: Path, client: Callable[[str, str], Path]
) -> None:
    (folder / FIRST).write_text("garbage")
    calls = client("deno", copy_of(folder))
    with pytest.raises(SourceError, match=f"{FIRST} in what deno fetched is not the file"):
        sources.core_files(NAMES[:1])
    assert calls.read_text() == "called\n"
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_npm_is_the_second_choice(
    tmp_path: Path, migrations: dict[str, bytes], client: Callable[[str, str], Path]
) -> None:
    files = {f"package/{CORE.folder}/{name}": content for name, content in migrations.items()}
    packed = archive(tmp_path / "packed", files)
    client("deno", "echo no network >&2; exit 7")
    client("npm", f'test "$4" = @pgflow/core@0.8.1 && cp {packed} core.tgz')
    assert len(sources.core_files(NAMES)) == 12


@pytest.mark.usefixtures("cache")
def test_without_a_client_it_says_what_was_tried(client: Callable[[str, str], Path]) -> None:
    with pytest.raises(SourceError) as caught:
        sources.core_files(NAMES)
    assert "deno: not found; npm: not found" in str(caught.value)
    assert "--from" in str(caught.value)
    client("deno", "exit 3")
    client("npm", "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 1")
    with pytest.raises(SourceError) as caught:
        sources.core_files(NAMES)
    said = str(caught.value)
    assert "deno: exit code 3: it said nothing" in said
    assert "npm: exit code 1: line 3 / line 4 / line 5 / line 6 / line 7" in said


@pytest.mark.usefixtures("cache")
def test_a_client_that_hangs_is_ended(
    client: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIME_LIMIT", 0.1)
    client("npm", "exec sleep 60")
    with pytest.raises(SourceError, match=r"npm: not done after 0\.1 s"):
        sources.core_files(NAMES)


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    folder: Path, cache: Path, client: Callable[[str, str], Path]
) -> None:
    client("deno", copy_of(folder))
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder should be")
    said: list[str] = []
    assert len(sources.core_files(NAMES, say=said.append)) == 12
    assert "are not kept" in said[-1]


def test_several_at_once_fill_one_cache(
    folder: Path, cache: Path, client: Callable[[str, str], Path]
) -> None:
    client("deno", copy_of(folder))
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(sources.core_files(NAMES))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [12] * 6
    assert sorted(path.name for path in cache.iterdir()) == NAMES


def test_pgmq_is_found_without_being_imported() -> None:
    (file,) = sources.pgmq_files()
    assert file.name == "pgmq.sql"
    assert "CREATE FUNCTION" in file.text


def test_another_version_of_pgmq_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "read_folder", lambda _, names: dict.fromkeys(names, b"other"))
    with pytest.raises(SourceError, match=r"pgmq\.sql .* expected .*; pip install 'pgmq==1\.1\.3'"):
        sources.pgmq_files()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"pgmq is not installed; pip install 'pgmq==1\.1\.3'"):
        sources.pgmq_files()
