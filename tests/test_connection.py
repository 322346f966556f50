"""What connection URLs say, and what refusals of the database mean."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.pq import DiagnosticField

from pgflow_ref import CoreMissing, DatabaseUnavailable, FlowNotFound, RunExists
from pgflow_ref import operations as ops
from pgflow_ref.connection import is_passing, meaning, parameters, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = {"connect_timeout": "10", "application_name": "pgflow-ref"}
SECRET = "s3cr3t"


# Reading a URL


@pytest.mark.parametrize(
    ("url", "read"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param(
            "postgresql://u:p@h:1/d",
            {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "d"},
            id="everything",
        ),
        pytest.param("postgres://h", {"host": "h"}, id="the other scheme"),
        pytest.param(
            "postgresql://u%40x:p%2F%40@h/d%20e",
            {"user": "u@x", "password": "p/@", "host": "h", "dbname": "d e"},
            id="percent signs",
        ),
        pytest.param("host=h dbname='d e'", {"host": "h", "dbname": "d e"}, id="key=value"),
        pytest.param("postgresql://a:1,b:2/", {"host": "a,b", "port": "1,2"}, id="two hosts"),
        pytest.param(
            "postgresql:///d?host=/run/pg&sslmode=require",
            {"dbname": "d", "host": "/run/pg", "sslmode": "require"},
            id="socket",
        ),
        pytest.param(
            "postgresql://h?connect_timeout=3&application_name=shop",
            {"host": "h", "connect_timeout": "3", "application_name": "shop"},
            id="what is given goes before the defaults",
        ),
    ],
)
def test_a_url_is_read_and_completed(url: str, read: Mapping[str, str]) -> None:
    assert parameters(url) == {**DEFAULTS, **read}


UNREADABLE = [
    pytest.param(f"postgresql://u:{SECRET}@[::1/d", id="bracket"),
    pytest.param(f"postgresql://u:{SECRET}%zz@h/d", id="percent sign"),
    pytest.param(f"postgresql://u:{SECRET}@h/d?{SECRET}=1", id="parameter"),
    pytest.param(f"mysql://u:{SECRET}@h/d", id="another database"),
    pytest.param(f"password={SECRET} {SECRET}", id="key without value"),
    pytest.param(f"password='{SECRET}", id="quote"),
    pytest.param(f"postgresql://u:{SECRET}@h/\ud800", id="lone surrogate"),
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_an_unreadable_url_is_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="no connection URL") as caught:
        parameters(url)
    assert "postgresql://user:password@host:5432/database" in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# Why there is no connection


@pytest.mark.parametrize(
    ("url", "said", "told"),
    [
        pytest.param(
            "postgresql://u@h:99/d",
            "connection failed:\n\tis the  server\nrunning?\n",
            "no connection to database 'd' at h:99: connection failed: is the server running?",
            id="one line",
        ),
        pytest.param(
            "postgresql://h",
            "",
            "no connection to database '' at h:5432: OperationalError",
            id="no words",
        ),
        pytest.param(
            "dbname=d",
            "nobody home",
            "no connection to database 'd' at localhost:5432: nobody home",
            id="no host",
        ),
        pytest.param(
            f"postgresql://u:{SECRET}@h/d",
            f"what is {SECRET!r} in {SECRET}?",
            "no connection to database 'd' at h:5432: what is '***' in ***?",
            id="password",
        ),
    ],
)
def test_no_connection_is_explained_in_one_line(url: str, said: str, told: str) -> None:
    error = unavailable(url, psycopg.OperationalError(said))
    assert isinstance(error, DatabaseUnavailable)
    assert str(error) == told


# What refusals mean


START = ops.start_flow("order", "1", None)


def refusal(kind: type[psycopg.Error], constraint: str = "", said: str = "") -> psycopg.Error:
    info: Any = {
        DiagnosticField.CONSTRAINT_NAME: constraint.encode(),
        DiagnosticField.MESSAGE_PRIMARY: said.encode(),
    }
    return kind(said, info=info)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (refusal(pg.ForeignKeyViolation, "runs_flow_slug_fkey"), FlowNotFound),
        (refusal(pg.UniqueViolation, "runs_pkey"), RunExists),
        (refusal(pg.InvalidSchemaName), CoreMissing),
        (refusal(pg.UndefinedFunction), CoreMissing),
        (refusal(pg.UndefinedTable), CoreMissing),
        (refusal(pg.AdminShutdown), DatabaseUnavailable),
        (refusal(pg.CrashShutdown), DatabaseUnavailable),
        (psycopg.OperationalError("the connection is lost"), DatabaseUnavailable),
    ],
)
def test_known_refusals_have_errors(error: psycopg.Error, meant: type[Exception]) -> None:
    assert type(meaning(error, START)) is meant


@pytest.mark.parametrize(
    "error",
    [
        refusal(pg.UniqueViolation, "runs_flow_slug_fkey"),
        refusal(pg.ForeignKeyViolation, "of_a_trigger"),
        refusal(pg.RaiseException),
        refusal(pg.DeadlockDetected),
        refusal(pg.QueryCanceled),
        psycopg.DataError("cannot be sent"),
    ],
)
def test_other_refusals_stay_what_they_are(error: psycopg.Error) -> None:
    assert meaning(error, START) is error


def test_a_missing_core_is_explained() -> None:
    error = meaning(refusal(pg.InvalidSchemaName, said='schema "pgflow" does not exist'), START)
    assert str(error) == (
        "cannot start a run: the database says 'schema \"pgflow\" does not exist'; "
        "`pgflow-ref install URL` puts a pgflow core there"
    )


# What may go through later


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("gone"),
        OSError("no route"),
        ConnectionResetError(),
        psycopg.OperationalError("the connection is lost"),
        psycopg.InterfaceError("the connection is closed"),
        pg.ConnectionFailure("08006"),
        pg.ReadOnlySqlTransaction("25006: the server is a standby now"),
        pg.SerializationFailure("40001"),
        pg.DeadlockDetected("40P01"),
        pg.TooManyConnections("53300"),
        pg.DiskFull("53100"),
        pg.LockNotAvailable("55P03"),
        pg.QueryCanceled("57014"),
        pg.AdminShutdown("57P01"),
        pg.CannotConnectNow("57P03"),
        pg.IoError("58030"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        CoreMissing("nothing there"),
        pg.StatementTooComplex("54001: nested too deeply"),
        pg.NumericValueOutOfRange("22003"),
        pg.UntranslatableCharacter("22P05"),
        pg.CheckViolation("23514"),
        pg.InsufficientPrivilege("42501"),
        pg.UndefinedFunction("42883"),
        pg.RaiseException("P0001: a trigger says no"),
        psycopg.DataError("psycopg itself: text cannot contain NUL"),
        psycopg.ProgrammingError("psycopg itself: cannot adapt type"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pass(error: Exception) -> None:
    assert not is_passing(error)
