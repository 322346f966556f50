"""Every call to the database as a value: SQL text, parameters, how to read the rows.

Nothing here talks to a database. The synchronous client, the asynchronous one, the worker and the
tests all run these same operations, so no statement is written twice.

JSON goes in and comes out as text, and is cast in SQL: what a connection of the user's has been
taught about json does not matter then, and nothing is lost on the way (`json_contract.py`).
"""

from pgflow_ref.operations.definitions import StoredFlow, stored_flow
from pgflow_ref.operations.operation import Operation, Row
from pgflow_ref.operations.recovery import Recovered, recover_stalled_tasks
from pgflow_ref.operations.runs import Run, StepState, get_run, get_run_with_states, start_flow
from pgflow_ref.operations.tasks import (
    claim,
    claimed_tasks,
    heartbeat,
    mark_stopped,
    read_messages,
    record,
    register_worker,
    start_tasks,
)

__all__ = [
    "Operation",
    "Recovered",
    "Row",
    "Run",
    "StepState",
    "StoredFlow",
    "claim",
    "claimed_tasks",
    "get_run",
    "get_run_with_states",
    "heartbeat",
    "mark_stopped",
    "read_messages",
    "record",
    "recover_stalled_tasks",
    "register_worker",
    "start_flow",
    "start_tasks",
    "stored_flow",
]
