"""pgflow in Python: declare flows, start their runs, work on their tasks.

`Flow`, `Job`, `Context` and the errors are here at once. `PgFlow`, `Worker` and the embedded
database are loaded when they are first used, because they load psycopg and asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from pgflow_ref.config import WorkerConfig
from pgflow_ref.errors import (
    ConfigError,
    CoreMissing,
    CoreUnsupported,
    DatabaseUnavailable,
    EmbeddedError,
    FlowBusy,
    FlowMismatch,
    FlowNotFound,
    InstallRefused,
    InvalidDelay,
    InvalidFlow,
    InvalidSchedule,
    NotJson,
    PgflowError,
    PrivilegeMissing,
    RunExists,
    RunFailed,
    RunNotFound,
    RunTimeout,
    SourceError,
    StepNotCompleted,
    StepNotFound,
    TaskFailed,
    WorkerExists,
    WorkerNotFound,
)
from pgflow_ref.flow import Context, Flow, Job, Step
from pgflow_ref.telemetry import Event

if TYPE_CHECKING:
    from pgflow_ref.async_client import AsyncPgFlow
    from pgflow_ref.calls import FlowUpserted, Health, Pruned
    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.client import PgFlow
    from pgflow_ref.embedded import EmbeddedPostgres
    from pgflow_ref.operations import FlowHealth, Recovered, Run, StepState, WorkerHealth
    from pgflow_ref.worker import Worker

__version__: Final = "0.1.0"

__all__ = [
    "AsyncPgFlow",
    "Capabilities",
    "ConfigError",
    "Context",
    "CoreMissing",
    "CoreUnsupported",
    "DatabaseUnavailable",
    "EmbeddedError",
    "EmbeddedPostgres",
    "Event",
    "Flow",
    "FlowBusy",
    "FlowHealth",
    "FlowMismatch",
    "FlowNotFound",
    "FlowUpserted",
    "Health",
    "InstallRefused",
    "InvalidDelay",
    "InvalidFlow",
    "InvalidSchedule",
    "Job",
    "NotJson",
    "PgFlow",
    "PgflowError",
    "PrivilegeMissing",
    "Pruned",
    "Recovered",
    "Run",
    "RunExists",
    "RunFailed",
    "RunNotFound",
    "RunTimeout",
    "SourceError",
    "Step",
    "StepNotCompleted",
    "StepNotFound",
    "StepState",
    "TaskFailed",
    "Worker",
    "WorkerConfig",
    "WorkerExists",
    "WorkerHealth",
    "WorkerNotFound",
]

_LATER: Final = {
    "AsyncPgFlow": "async_client",
    "Capabilities": "capabilities",
    "EmbeddedPostgres": "embedded",
    "FlowHealth": "operations",
    "FlowUpserted": "calls",
    "Health": "calls",
    "PgFlow": "client",
    "Pruned": "calls",
    "Recovered": "operations",
    "Run": "operations",
    "StepState": "operations",
    "Worker": "worker",
    "WorkerHealth": "operations",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
