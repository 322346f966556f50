"""Cores and pgmq from a path: what they are, how they are installed, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.errors import InstallRefused, SourceError
from pgflow_ref.install import (
    archives,
    inspect,
    install,
    pins,
    script,
    sources,
    wanted,
    wanted_pgmq,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Folder = Callable[..., Path]

FILES = list(pins.load().core.files)
NEXT = "20991231235959_pgflow_next.sql"
NEXT_PGMQ = "CREATE FUNCTION pgmq.next() RETURNS int LANGUAGE sql AS 'SELECT 1';"
NEXT_SQL = "CREATE FUNCTION pgflow.next() RETURNS int LANGUAGE sql AS 'SELECT 1';"


@pytest.fixture(scope="module")
def migrations() -> dict[str, str]:
    """The real files, by name."""
    return {file.name: file.text for file in sources.core_files(FILES)}


@pytest.fixture
def folder(tmp_path: Path, migrations: dict[str, str]) -> Folder:
    """Make a folder of the first so many files, and of others."""

    def make(count: int, **others: str) -> Path:
        made = tmp_path / f"core-{len(list(tmp_path.iterdir()))}"
        made.mkdir()
        for name in FILES[:count]:
            (made / name).write_text(migrations[name])
        for name, text in others.items():
            (made / name).write_text(text)
        return made

    return make


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as running:
        yield running


@pytest.fixture
def empty(server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("CREATE DATABASE wanted TEMPLATE template0")
        yield server.url("wanted")
        admin.execute("DROP DATABASE wanted WITH (FORCE)")


def tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_|^infor'"
        ).fetchone()
        assert row is not None
        return int(row[0])


# What it is


def test_a_known_version_needs_no_place() -> None:
    known = wanted("0.7.3")
    assert (known.label, known.like, known.release, known.source) == ("0.7.3",) * 3 + (None,)


@pytest.mark.parametrize(
    ("count", "version"), [(7, "0.5.0"), (8, "0.5.3"), (9, "0.6.1"), (11, "0.7.3"), (12, "0.8.1")]
)
def test_the_first_files_are_a_known_version(count: int, version: str, folder: Folder) -> None:
    found = wanted(folder(count))
    assert (found.label, found.release, len(found.files)) == (version, version, count)
    assert not found.newer
    assert not found.altered


def test_files_between_two_versions_are_none(folder: Folder) -> None:
    found = wanted(folder(10))
    assert (found.release, found.like, found.newer, found.altered) == (None, "0.6.1", (), ())


def test_a_file_after_all_others_is_newer(folder: Folder) -> None:
    place = folder(12, **{NEXT: NEXT_SQL})
    found = wanted(place)
    assert (found.release, found.like, found.version) == (None, "0.8.1", "0.8.1")
    assert found.newer == (NEXT,)
    assert found.label == f"{place.name}-{found.digest[:7]}"


def test_a_file_that_was_changed_is_noticed(folder: Folder) -> None:
    found = wanted(folder(12, **{FILES[3]: "SELECT 1;"}))
    assert found.release is None
    assert len(found.altered) == 1
    assert f"{FILES[3]} in" in found.altered[0]
    assert "expected SHA-256" in found.altered[0]


def test_how_files_were_published_before_0_8_is_no_change(
    folder: Folder, migrations: dict[str, str]
) -> None:
    extension = 'CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";'
    older = migrations[FILES[0]].replace('SCHEMA IF NOT EXISTS "pgmq"', 'SCHEMA "pgmq"')
    older = older.replace(extension, 'CREATE EXTENSION "pgmq" WITH SCHEMA "pgmq" VERSION "1.4.4";')
    assert older != migrations[FILES[0]]
    assert wanted(folder(7, **{FILES[0]: older})).release == "0.5.0"


def test_a_project_that_has_installed_pgflow(folder: Folder, migrations: dict[str, str]) -> None:
    own = {f"20260101000{n:03}_{name}": migrations[name] for n, name in enumerate(FILES[:9])}
    found = wanted(folder(0, **own, **{"20260202000000_shop.sql": "CREATE TABLE shop ();"}))
    assert found.release == "0.6.1"


@pytest.mark.parametrize(
    ("count", "like"), [(7, "0.5.0"), (8, "0.5.3"), (9, "0.6.1"), (11, "0.7.3"), (12, "0.8.1")]
)
def test_one_file_is_most_like(
    count: int, like: str, tmp_path: Path, migrations: dict[str, str]
) -> None:
    path = tmp_path / "all.sql"
    path.write_text("\n".join(migrations[name] for name in FILES[:count]))
    assert wanted(path).like == like


def archive(path: Path, version: str, files: dict[str, str]) -> Path:
    members = {f"package/dist/supabase/migrations/{name}": text for name, text in files.items()}
    members["package/package.json"] = json.dumps({"name": "@pgflow/core", "version": version})
    with tarfile.open(path, "w:gz") as opened:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            opened.addfile(member, io.BytesIO(text.encode()))
    return path


def test_an_archive_says_its_version(tmp_path: Path, migrations: dict[str, str]) -> None:
    assert wanted(archive(tmp_path / "a.tgz", "0.8.1", migrations)).release == "0.8.1"
    newer = wanted(archive(tmp_path / "b.tgz", "0.10.0", {**migrations, NEXT: NEXT_SQL}))
    assert (newer.label, newer.version, newer.like) == ("0.10.0", "0.10.0", "0.8.1")
    assert newer.newer == (NEXT, "version 0.10.0")
    less = {name: migrations[name] for name in FILES[:11]}
    with pytest.raises(SourceError, match=f"says to be @pgflow/core 0.8.1, and lacks {FILES[11]}"):
        wanted(archive(tmp_path / "c.tgz", "0.8.1", less))
    changed = wanted(archive(tmp_path / "d.tgz", "0.8.1", {**migrations, FILES[0]: "SELECT 1;"}))
    assert changed.altered
    assert changed.label.startswith("d-")


@pytest.mark.parametrize("name", ["nowhere/core", "core.tgz", "core.sql"])
def test_a_path_that_leads_nowhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        wanted(tmp_path / name)


def test_a_path_that_cannot_be_looked_at_is_said() -> None:
    name = f"./{'x' * 5000}"
    for look in (wanted, wanted_pgmq):
        with pytest.raises(SourceError, match=r"cannot be read: File name too long"):
            look(name)


def test_a_place_without_sql_and_a_file_that_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no file of SQL"):
        wanted(tmp_path)
    (tmp_path / "core.tgz").write_text("no archive")
    with pytest.raises(SourceError, match=r"cannot be read as a \.tgz"):
        wanted(tmp_path / "core.tgz")
    (tmp_path / "core.sql").write_bytes(b"\xff")
    with pytest.raises(SourceError, match="is not UTF-8"):
        wanted(tmp_path / "core.sql")


def test_more_files_than_a_core_has_are_not_cut(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(9)
    files = {one.name: one.read_text() for one in place.iterdir()}
    whole = archive(tmp_path / "core.tgz", "0.10.0", files)
    monkeypatch.setattr(archives, "MOST", 8)
    for path in (place, whole):
        with pytest.raises(SourceError, match="holds more than 8 files of SQL: that is no core"):
            wanted(path)


# How it is installed


def test_a_newer_core_takes_force_and_is_known_again(empty: str, folder: Folder) -> None:
    place = folder(12, **{NEXT: NEXT_SQL})
    with pytest.raises(InstallRefused, match=f"newer than all that is known, {NEXT}; --force"):
        install(empty, str(place))
    assert tables(empty) == 0

    report = install(empty, str(place), force=True)
    assert (report.core, report.changed) == (wanted(place).label, True)
    assert any("is pinned nowhere" in note and "0.8.1" in note for note in report.notes)
    assert install(empty, str(place)) == dataclasses.replace(report, changed=False)
    with pytest.raises(InstallRefused, match=rf"holds pgflow core {report.core}, not 0\.8\.1"):
        install(empty, "0.8.1")
    with psycopg.connect(empty) as connection:
        connection.execute("DROP FUNCTION pgflow.next()")
    with psycopg.connect(empty) as connection:
        assert inspect(connection).core.version == "0.8.1"
    with pytest.raises(InstallRefused, match=r"holds pgflow core 0\.8\.1, not"):
        install(empty, str(place), force=True)


@pytest.mark.parametrize("have", ["CREATE TABLE mine ()", "queue"])
def test_force_is_for_a_database_that_holds_nothing(have: str, empty: str, folder: Folder) -> None:
    with psycopg.connect(empty) as connection:
        if have == "queue":
            connection.execute(sources.pgmq_files()[0].text.encode())
            connection.execute("SELECT pgmq.create('work')")
        else:
            connection.execute(have.encode())
    before = tables(empty)
    with pytest.raises(InstallRefused, match="--force is for a database that holds nothing else"):
        install(empty, str(folder(12, **{NEXT: NEXT_SQL})), force=True)
    assert tables(empty) == before


def test_a_changed_file_takes_force(empty: str, folder: Folder, migrations: dict[str, str]) -> None:
    place = folder(7, **{FILES[6]: migrations[FILES[6]] + "-- mine\n"})
    with pytest.raises(InstallRefused, match=f"{FILES[6]} in .* found .*; --force"):
        install(empty, str(place))
    assert tables(empty) == 0
    report = install(empty, str(place), force=True)
    # A comment changes nothing: what comes out is known, and so are our functions in it.
    assert (report.core, report.changed) == ("0.5.0", True)
    assert report.replaced == ("pgflow.read_with_poll", "pgflow.set_vt_batch")


def test_a_failure_in_the_last_file_leaves_nothing(empty: str, folder: Folder) -> None:
    place = folder(12, **{NEXT: f"{NEXT_SQL} SELECT 1/0;"})
    with pytest.raises(InstallRefused, match=f"{NEXT}: .*division by zero.*nothing was changed"):
        install(empty, str(place), force=True)
    assert tables(empty) == 0


def test_a_file_that_would_keep_a_half_is_refused_before_anything_runs(
    empty: str, folder: Folder, tmp_path: Path
) -> None:
    place = folder(12, **{NEXT: f"{NEXT_SQL}\nCOMMIT;\nSELECT 1/0;"})
    with pytest.raises(SourceError, match=f"{NEXT} in {place} has COMMIT in line 2; .* take that"):
        install(empty, str(place), force=True)
    queue = tmp_path / "pgmq.sql"
    queue.write_text(f"{sources.pgmq_files()[0].text}\nEND;\nSELECT 1/0;")
    with pytest.raises(SourceError, match=f"{queue} has END in line"):
        install(empty, pgmq=str(queue))
    assert tables(empty) == 0


def test_what_is_no_core_is_refused(empty: str, folder: Folder) -> None:
    place = folder(0, **{"mine.sql": "CREATE SCHEMA pgflow; CREATE TABLE pgflow.mine ();"})
    with pytest.raises(
        InstallRefused, match=r"is no core of pgflow .* leaves no pgflow\.start_flow"
    ):
        install(empty, str(place))
    assert tables(empty) == 0


def test_one_file_of_a_known_version_is_that_version(
    empty: str, tmp_path: Path, migrations: dict[str, str]
) -> None:
    path = tmp_path / "dump.sql"
    path.write_text("\n".join(migrations[name] for name in FILES[:7]))
    report = install(empty, str(path))
    assert (report.core, len(report.replaced)) == ("0.5.0", 2)
    assert not install(empty, str(path)).changed
    assert not install(empty, "0.5.0").changed


WANTS = """
CREATE EXTENSION IF NOT EXISTS "pg_net" WITH SCHEMA "public";
CREATE EXTENSION IF NOT EXISTS "pg_cron";
CREATE FUNCTION pgflow.ask() RETURNS bigint LANGUAGE sql AS $$
    SELECT net.http_post(url => 'http://localhost/' || (SELECT decrypted_secret
                         FROM vault.decrypted_secrets WHERE name = 'project'), body => '{"a": 1}')
$$;
SELECT cron.schedule(job_name => 'ask', schedule => '1 second', command => 'SELECT pgflow.ask()');
"""


def test_what_stands_in_for_extensions(empty: str, folder: Folder) -> None:
    """What cores from 0.10 on want, in a small migration of our own."""
    place = str(folder(12, **{NEXT: WANTS}))
    report = install(empty, place, force=True)
    assert report.stand_ins == ("realtime.send", "pg_net", "pg_cron", "supabase_vault")
    assert "pg_cron is ours: it keeps jobs in cron.job and runs none of them" in report.notes
    assert install(empty, place) == dataclasses.replace(report, changed=False)
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT vault.create_secret('shop', 'project')")
        connection.execute("SELECT pgflow.ask()")
        asked = "SELECT method, url, body FROM net.requests_recorded"
        assert connection.execute(asked).fetchall() == [("POST", "http://localhost/shop", {"a": 1})]
        again = "SELECT cron.schedule('ask', '1 hour', 'SELECT 1')"
        connection.execute(again.encode())
        jobs = "SELECT jobname, schedule, command FROM cron.job"
        assert connection.execute(jobs).fetchall() == [("ask", "1 hour", "SELECT 1")]
        connection.execute("SELECT cron.unschedule('ask')")
        assert connection.execute(jobs).fetchall() == []
        with pytest.raises(psycopg.errors.RaiseException, match="could not find"):
            connection.execute("SELECT cron.unschedule('ask')")


def test_a_core_that_wants_none_gets_none(empty: str) -> None:
    assert install(empty, "0.8.1").stand_ins == ("realtime.send",)
    with psycopg.connect(empty) as connection:
        found = connection.execute("SELECT to_regnamespace('net')").fetchone()
    assert found == (None,)


def test_the_script_of_a_path(empty: str, folder: Folder) -> None:
    place = str(folder(12, **{NEXT: WANTS}))
    with pytest.raises(InstallRefused, match="--force"):
        script(place)
    text = script(place, force=True).encode()
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA cron")
        with pytest.raises(psycopg.errors.RaiseException, match=r"pgmq or .*cron.*pgflow-ref inst"):
            connection.execute(text)
        connection.execute("ROLLBACK")
        connection.execute("DROP SCHEMA cron")
        connection.execute(text)
        assert connection.execute("SELECT count(*) FROM cron.job").fetchone() == (1,)


@pytest.mark.parametrize(("count", "pgmq"), [(9, "1.11.1"), (12, "1.13.0"), (12, "file")])
def test_what_the_script_of_a_path_leaves_is_recognised(
    count: int, pgmq: str, empty: str, folder: Folder, tmp_path: Path
) -> None:
    if pgmq == "file":
        (tmp_path / "next.sql").write_text(f"{wanted_pgmq('1.13.0').sql()[0].text}\n{NEXT_PGMQ}\n")
        pgmq = str(tmp_path / "next.sql")
    names = r'CREATE TABLE pgflow."naïve ""table" ("column \ä" text);'
    place = str(folder(count, **{NEXT: names}))
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(script(place, pgmq=pgmq, force=True).encode())
        by_script = inspect(connection)
        left = connection.execute("SELECT to_regclass('pgmq.q_pgflow_ref_trial')").fetchone()
    report = install(empty, place, pgmq=pgmq, force=True)
    assert not report.changed
    assert left == (None,)
    assert by_script.core.mark is not None
    assert report.core == by_script.core.mark.label
    assert bool(report.replaced) == (count == 9)


def test_the_script_of_a_path_without_a_core(empty: str, tmp_path: Path) -> None:
    (tmp_path / "other.sql").write_text("CREATE SCHEMA pgflow;")
    text = script(str(tmp_path / "other.sql"), force=True).encode()
    with psycopg.connect(empty, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match=r"it leaves no pgflow\.start_flow"):
            connection.execute(text)
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT to_regnamespace('pgflow')").fetchone() == (None,)


# pgmq


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
def test_another_known_pgmq(core: str, empty: str) -> None:
    report = install(empty, core, pgmq="1.13.0")
    assert report.pgmq == "1.13.0"
    assert install(empty, core) == dataclasses.replace(report, changed=False)
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT pgflow.create_flow('f')")
        read = "SELECT * FROM pgmq.read('f', 1, 1)"
        connection.execute(read.encode())
    with pytest.raises(InstallRefused, match=r"holds pgmq 1\.13\.0, not 1\.11\.1"):
        install(empty, core, pgmq="1.11.1")


def test_pgmq_from_a_file(empty: str, tmp_path: Path) -> None:
    (known,) = sources.pgmq_files()
    path = tmp_path / "pgmq.sql"
    path.write_text(known.text)
    assert wanted_pgmq(path).label == "1.11.1"
    path.write_text(
        f"{known.text}\nCREATE FUNCTION pgmq.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    )
    assert wanted_pgmq(path).label.startswith("pgmq-")
    report = install(empty, pgmq=str(path))
    assert report.pgmq == wanted_pgmq(path).label
    assert report.replaced  # its messages have as many columns
    assert not install(empty, pgmq=str(path)).changed
    assert not install(empty).changed


def test_a_pgmq_that_differs_only_in_its_comments(empty: str, tmp_path: Path) -> None:
    known = sources.pgmq_files()[0].text
    mine, other = tmp_path / "mine.sql", tmp_path / "other.sql"
    mine.write_text(f"-- Ours.\n{known}")
    other.write_text(f"-- Somebody else's.\n{known}")
    assert install(empty, pgmq=str(mine)).changed
    assert not install(empty, pgmq=str(mine)).changed
    assert not install(empty, pgmq="1.11.1").changed
    with pytest.raises(InstallRefused, match=r"holds pgmq 1\.11\.1, not other-"):
        install(empty, pgmq=str(other))


def test_a_pgmq_that_works_only_as_an_extension(empty: str, tmp_path: Path) -> None:
    (known,) = sources.pgmq_files()
    path = tmp_path / "pgmq.sql"
    path.write_text(
        f"{known.text}\nCREATE OR REPLACE FUNCTION pgmq.create(queue_name text) RETURNS void "
        "LANGUAGE plpgsql AS $$ BEGIN ALTER EXTENSION pgmq ADD TABLE pgmq.meta; END $$;"
    )
    with pytest.raises(InstallRefused, match=r"cannot make a queue .* as an extension"):
        install(empty, pgmq=str(path))
    assert tables(empty) == 0


def test_a_pgmq_that_nobody_has(empty: str, tmp_path: Path) -> None:
    with pytest.raises(InstallRefused, match=r"pgmq 1\.4\.4 is not known as plain SQL .*1\.13\.0"):
        install(empty, pgmq="1.4.4")
    with pytest.raises(InstallRefused, match="'latest' is neither a version"):
        install(empty, pgmq="latest")
    with pytest.raises(SourceError, match=r"holds no pgmq\.sql"):
        install(empty, pgmq=str(tmp_path))
    (tmp_path / "pgmq.sql").write_text("SELECT 1;")
    (tmp_path / "pgmq.sql.version").write_text("1.13.0\n")
    with pytest.raises(SourceError, match=r"says to be pgmq 1\.13\.0 and is not: expected"):
        install(empty, pgmq=str(tmp_path))
    assert tables(empty) == 0
