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
    FlowMismatch,
    FlowNotFound,
    InstallRefused,
    InvalidFlow,
    NotJson,
    PgflowError,
    RunExists,
    RunFailed,
    RunNotFound,
    RunTimeout,
    SourceError,
    TaskFailed,
)
from pgflow_ref.flow import Context, Flow, Job, Step

if TYPE_CHECKING:
    from pgflow_ref.client import PgFlow
    from pgflow_ref.embedded import EmbeddedPostgres
    from pgflow_ref.operations import Run, StepState
    from pgflow_ref.worker import Worker

__version__: Final = "0.1.0"

__all__ = [
    "ConfigError",
    "Context",
    "CoreMissing",
    "CoreUnsupported",
    "DatabaseUnavailable",
    "EmbeddedError",
    "EmbeddedPostgres",
    "Flow",
    "FlowMismatch",
    "FlowNotFound",
    "InstallRefused",
    "InvalidFlow",
    "Job",
    "NotJson",
    "PgFlow",
    "PgflowError",
    "Run",
    "RunExists",
    "RunFailed",
    "RunNotFound",
    "RunTimeout",
    "SourceError",
    "Step",
    "StepState",
    "TaskFailed",
    "Worker",
    "WorkerConfig",
]

_LATER: Final = {
    "EmbeddedPostgres": "embedded",
    "PgFlow": "client",
    "Run": "operations",
    "StepState": "operations",
    "Worker": "worker",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
