"""A core is upgraded under way: what is run, how it is locked, and that what goes wrong is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness import eventlog, trespass
from conformance.harness.adapters import find
from conformance.harness.databases import Cluster, template_of
from conformance.harness.words import introduced
from conformance.regress import locks
from conformance.regress.findings import CannotRun
from conformance.regress.sides import lacking, side
from conformance.regress.upgrading import (
    FLOW,
    Upgrade,
    Upgraded,
    case_of,
    compare,
    findings,
)
from pgflow_ref.compile import compile_flow
from pgflow_ref.install import catalog, inspect
from pgflow_ref.install.sources import SqlFile
from tests.harness.made import cluster_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.harness.databases import Connection, Database

OLD, NEW = "0.6.1", "0.7.3"
MIGRATIONS = (SqlFile("next.sql", ""),)
RENAMED = (SqlFile("next.sql", "ALTER TABLE pgflow.runs RENAME failed_at TO ended_at;"),)
WELL = Upgraded("python, deno")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_with(OLD, NEW) as made:
        yield made


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """The old core, with one run of the flow under way."""
    with cluster.database(OLD) as made:
        for statement in compile_flow(case_of().shape):
            made.connection.execute(statement.encode())
        made.connection.execute("SELECT pgflow.start_flow(%s, %s)", [FLOW["slug"], '{"n": 1}'])
        yield made


def missing() -> tuple[SqlFile, ...]:
    found = lacking(side(OLD).files, side(NEW).files)
    assert found
    return found


def another(database: Database) -> Connection:
    return psycopg.connect(database.url, autocommit=True)


# What is run, and how.


def test_the_migrations_that_are_lacking() -> None:
    assert [file.name for file in missing()] == [file.name for file in side(NEW).files][9:]
    assert lacking(side(NEW).files, side(NEW).files) == ()
    assert lacking(side(NEW).files, side(OLD).files) is None


def test_an_upgrade_makes_the_core_of_a_new_installation(
    database: Database, cluster: Cluster
) -> None:
    tries = locks.run(database.connection, missing(), eventlog.note_again)
    assert tries == 1
    with cluster.connect(template_of(NEW)) as fresh:
        assert catalog.read(database.connection).core == catalog.read(fresh).core


def test_rows_in_another_form_are_no_trespass(database: Database) -> None:
    locks.run(database.connection, RENAMED, eventlog.note_again)
    assert trespass.problems(database.connection) == []
    assert not [e for e in eventlog.read(database.connection) if e.source.startswith("again")]


def test_without_a_second_note_rows_in_another_form_would_be_one(database: Database) -> None:
    locks.run(database.connection, RENAMED, lambda _: None)
    assert "without the suite seeing it" in "".join(trespass.problems(database.connection))


def test_an_upgrade_waits_with_nothing_in_its_hands(database: Database) -> None:
    with another(database) as worker, another(database) as upgrading:
        with worker.transaction():
            worker.execute("SELECT FROM pgflow.runs FOR UPDATE")
            with (
                upgrading.transaction(),
                pytest.raises(psycopg.errors.LockNotAvailable),
                upgrading.transaction(),
            ):
                locks.lock_all(upgrading)
            # What a call wants next is free.
            worker.execute("LOCK TABLE pgflow.step_states IN ROW SHARE MODE NOWAIT")
        with upgrading.transaction():
            locks.lock_all(upgrading)


def test_migrations_that_are_just_run_wait_for_calls_that_wait_for_them(database: Database) -> None:
    assert locks.circle(lambda: another(database), missing()) == "pgflow.step_states"
    assert inspect(database.connection).core.version == NEW


def test_migrations_that_lock_nothing_are_in_nobodys_way(database: Database) -> None:
    harmless = [SqlFile("next.sql", "CREATE FUNCTION pgflow.next() RETURNS int RETURN 1;")]
    assert not locks.circle(lambda: another(database), harmless)


# The whole of it, with one worker and without.


def tried(
    cluster: Cluster, folder: Path, migrations: tuple[SqlFile, ...], within: float = 90
) -> Upgraded:
    small = replace(case_of(before=6, after=2), within=within)
    trial = Upgrade(small, [introduced(find("python"))], folder, 3.0, OLD, migrations=migrations)
    trial.run(cluster)
    with cluster.connect(template_of(NEW)) as connection:
        return trial.upgraded(catalog.read(connection))


def test_a_worker_goes_on_through_an_upgrade(cluster: Cluster, tmp_path: Path) -> None:
    how = tried(cluster, tmp_path, missing())
    assert how.problems == ()
    assert how.in_hand
    assert how.catalogs[0] == how.catalogs[1]


def test_what_a_migration_loses_is_told(cluster: Cluster, tmp_path: Path) -> None:
    loses = SqlFile(
        "loses.sql",
        "UPDATE pgflow.step_tasks SET status = 'completed', completed_at = now(), output = '0'"
        " WHERE status = 'started';",
    )
    how = tried(cluster, tmp_path, (*missing(), loses), within=5)  # what is lost never comes
    assert how.problems
    assert {one.kind for one in findings(OLD, NEW, MIGRATIONS, how)} >= {"broken"}


def test_migrations_that_fail_leave_workers_at_work(cluster: Cluster, tmp_path: Path) -> None:
    wrong = SqlFile("wrong.sql", "SELECT 1 / 0;")
    how = tried(cluster, tmp_path, (*missing(), wrong))
    assert how.refusal == "division by zero (SQLSTATE 22012)"
    assert how.problems == ()


def test_where_no_migration_leads_nothing_is_started() -> None:
    (same,) = compare(side(NEW), side(NEW), (), lambda _: None)
    (back,) = compare(side(NEW), side(OLD), (), lambda _: None)
    assert (same.kind, back.kind) == ("same", "changed")
    assert "No migrations lead from 0.7.3 to 0.6.1" in back.detail


# What it comes to.


def test_nothing_lost_is_the_same() -> None:
    found = list(findings(OLD, NEW, MIGRATIONS, WELL))
    assert {one.kind for one in found} == {"same"}
    assert "nothing was lost, nothing was done twice" in found[0].detail


def test_each_problem_is_a_finding_up_to_a_number() -> None:
    how = replace(WELL, problems=tuple(f"run {n}: it is started" for n in range(10)))
    found = [one for one in findings(OLD, NEW, MIGRATIONS, how) if one.kind == "broken"]
    assert len(found) == 9
    assert "run 0: it is started" in found[0].detail
    assert found[-1].detail == "And 2 more things like these."


def test_a_circle_is_told_with_what_helps() -> None:
    found = list(findings(OLD, NEW, MIGRATIONS, replace(WELL, circle="pgflow.step_states")))
    (circle,) = [one for one in found if one.kind == "changed"]
    assert circle.who == "operators"
    assert "NOWAIT" in (circle.script or "")


def test_what_a_worker_says_is_told() -> None:
    how = replace(WELL, complaints={"python": ("cannot do this",)})
    (found,) = [one for one in findings(OLD, NEW, MIGRATIONS, how) if one.kind == "changed"]
    assert found.detail == "python said, and worked on: cannot do this."


def test_a_core_that_is_another_than_a_new_one_is_told() -> None:
    how = replace(WELL, catalogs=({"table pgflow.a": ("x",)}, {"table pgflow.a": ("y",)}))
    (found,) = [one for one in findings(OLD, NEW, MIGRATIONS, how) if one.kind == "changed"]
    assert "different are table pgflow.a" in found.detail


def test_a_refusal_names_the_migrations() -> None:
    (found,) = findings(OLD, NEW, MIGRATIONS, replace(WELL, refusal="no"))
    assert (found.kind, found.who, found.script) == ("broken", "operators", "next.sql")


@pytest.mark.parametrize("how", [replace(WELL, in_hand=0), replace(WELL, unsupported="no")])
def test_what_proves_nothing_is_no_finding(how: Upgraded) -> None:
    with pytest.raises(CannotRun):
        list(findings(OLD, NEW, MIGRATIONS, how))
