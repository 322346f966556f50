"""What the catalogs of two databases have of difference, and that each script shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from conformance.harness.databases import Cluster
from conformance.regress import catalogs, probes, schemas
from pgflow_ref import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.regress.findings import Finding

OLD, NEW = "old", "new"
BOTH = """
CREATE SCHEMA pgflow;
CREATE SCHEMA pgmq;
CREATE TABLE pgflow.runs (run_id uuid, n integer, lost text);
CREATE TABLE pgflow.gone (n integer);
CREATE VIEW pgflow.list AS SELECT n FROM pgflow.runs;
CREATE SEQUENCE pgflow.ids;
CREATE POLICY own ON pgflow.runs USING (n > 0);
CREATE INDEX by_n ON pgflow.runs (n);
CREATE TYPE pgflow.color AS ENUM ('red');
CREATE FUNCTION pgflow.kept(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION pgflow.body() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pgflow.moved(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pgflow.lost(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pgflow.seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER watch AFTER INSERT ON pgflow.runs EXECUTE FUNCTION pgflow.seen();
CREATE AGGREGATE pgflow.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE AGGREGATE pgflow.ended(integer) (SFUNC = int4pl, STYPE = integer);
GRANT SELECT ON pgflow.runs TO PUBLIC;
"""
CHANGES = {
    "view pgflow.list": "CREATE OR REPLACE VIEW pgflow.list AS SELECT n FROM pgflow.runs LIMIT 1",
    "sequence pgflow.ids": "ALTER SEQUENCE pgflow.ids INCREMENT 2 CYCLE",
    "table pgflow.runs: policy own": "ALTER POLICY own ON pgflow.runs TO pg_monitor",
    "table pgflow.runs: policy row level security": (
        "ALTER TABLE pgflow.runs FORCE ROW LEVEL SECURITY"
    ),
    "table pgflow.runs": "ALTER TABLE pgflow.runs SET (fillfactor = 70)",
    "table pgflow.runs: trigger watch": "ALTER TABLE pgflow.runs DISABLE TRIGGER watch",
    "table pgflow.runs: index by_n": "DROP INDEX pgflow.by_n",
    "table pgflow.runs: constraint few": (
        "ALTER TABLE pgflow.runs ADD CONSTRAINT few CHECK (n < 9)"
    ),
    "table pgflow.runs: column n": "ALTER TABLE pgflow.runs ALTER n SET DEFAULT 1",
    "table pgflow.runs: column lost": "ALTER TABLE pgflow.runs DROP lost",
    "table pgflow.runs: column more": "ALTER TABLE pgflow.runs ADD more text",
    "table pgflow.gone": "DROP TABLE pgflow.gone",
    "table pgflow.come": "CREATE TABLE pgflow.come (n integer)",
    "type pgflow.color": "ALTER TYPE pgflow.color ADD VALUE 'blue'",
    "grant on table pgflow.runs": "REVOKE SELECT ON pgflow.runs FROM PUBLIC",
    "function pgflow.kept(text)": (
        "CREATE FUNCTION pgflow.kept(a text) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    ),
    "function pgflow.body()": (
        "CREATE OR REPLACE FUNCTION pgflow.body() RETURNS integer LANGUAGE sql AS 'SELECT 2'"
    ),
    "function pgflow.moved(integer)": (
        "DROP FUNCTION pgflow.moved; "
        "CREATE FUNCTION pgflow.moved(a bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    ),
    "function pgflow.lost(integer)": "DROP FUNCTION pgflow.lost",
    "function pgflow.total(integer)": (
        "CREATE OR REPLACE AGGREGATE pgflow.total(integer)"
        " (SFUNC = int4pl, STYPE = integer, INITCOND = '7')"
    ),
    "function pgflow.ended(integer)": "DROP AGGREGATE pgflow.ended(integer)",
    "extension pg_trgm": "CREATE EXTENSION pg_trgm",
}
"""By what is found, what was done."""
BROKEN = {
    "table pgflow.runs: column lost",
    "table pgflow.gone",
    "grant on table pgflow.runs",
    "function pgflow.lost(integer)",
    "function pgflow.ended(integer)",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with EmbeddedPostgres() as server:
        cluster = Cluster(server.url())
        for name in (OLD, NEW):
            cluster.create(name)
            with cluster.connect(name) as connection:
                connection.execute(BOTH.encode())
        with cluster.connect(NEW) as connection:
            for statement in CHANGES.values():
                connection.execute(statement.encode())
        yield cluster


@pytest.fixture(scope="module")
def found(cluster: Cluster) -> dict[str, Finding]:
    with cluster.connect(OLD) as old, cluster.connect(NEW) as new:
        before, after = catalogs.read(old), catalogs.read(new)
        answers = probes.put(before.functions.values(), old, new)
    listed = [one for one in schemas.compare(before, after, answers) if one.kind != "same"]
    assert len({one.what for one in listed}) == len(listed)
    return {one.what: one for one in listed}


def test_all_that_is_different_is_found_and_nothing_else(found: dict[str, Finding]) -> None:
    assert found.keys() == CHANGES.keys()
    assert {what for what, one in found.items() if one.kind == "broken"} == BROKEN


@pytest.mark.parametrize("what", CHANGES)
def test_a_script_does_otherwise_on_the_other_database(
    what: str, found: dict[str, Finding], cluster: Cluster
) -> None:
    script = found[what].script
    assert script is not None
    assert said(cluster, OLD, script) != said(cluster, NEW, script)


def said(cluster: Cluster, name: str, script: str) -> list[tuple[Any, ...]] | str | None:
    with cluster.connect(name) as connection:
        try:
            return connection.execute(script.encode()).fetchall()
        except psycopg.Error as error:
            return error.sqlstate


def test_who_is_meant_by_a_policy_is_told(found: dict[str, Finding]) -> None:
    detail = found["table pgflow.runs: policy own"].detail
    assert "to pg_monitor using (n > 0)" in detail
    assert "to everybody using (n > 0)" in detail
