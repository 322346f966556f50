"""The scripts of docs/core-behaviour.md do what they say, pasted into a real database as they are.

No clock is replaced here: what a reader would see is what is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from conformance.core import examples, statements
from conformance.core.document import PAGE
from conformance.harness.databases import Cluster
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.install import install
from pgflow_ref.model import State, apply
from pgflow_ref.profiles import known, load

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with EmbeddedPostgres() as server:
        yield Cluster(server.url())


@pytest.mark.parametrize("core", known())
def test_the_scripts_of_the_page(core: str, cluster: Cluster) -> None:
    name = f"scripts_{core.replace('.', '_')}"
    cluster.create(name)
    install(cluster.url_of(name), core)
    profile, page = load(core).profile, PAGE.read_text(encoding="utf-8")
    fresh = [name for name, entry in load(core).entries.items() if entry.since == core]
    with psycopg.connect(cluster.url_of(name)) as connection:
        for behaviour in fresh:
            played = examples.examples(core)[behaviour]
            if load(core).entries[behaviour].surprising:
                assert examples.script(played, profile) in page
            state = State()
            connection.execute("SELECT 'a transaction around it all, which is rolled back'")
            for call in played:
                (text,) = statements.script([(call, state)], profile)
                reply = apply(state, call, profile)
                state = reply.state
                expected = None if reply.refusal is None else reply.refusal.sqlstate
                assert sqlstate(connection, text) == expected, f"{behaviour}: {text}"
            connection.rollback()


def sqlstate(connection: psycopg.Connection[Any], text: str) -> str | None:
    """How the server refuses a statement, or None."""
    try:
        with connection.transaction():
            connection.execute(text.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None
