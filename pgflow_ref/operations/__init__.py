"""Every call to the database as a value: SQL text, parameters, how to read the rows.

Nothing here talks to a database. The synchronous client, the asynchronous one, the worker and the
tests all run these same operations, so no statement is written twice.

JSON goes in and comes out as text, and is cast in SQL: what a connection of the user's has been
taught about json does not matter then, and nothing is lost on the way (`json_contract.py`).
"""

from pgflow_ref.operations.definitions import (
    Queue,
    StoredFlow,
    define,
    flow_exists,
    lock_flow,
    queue_of,
    stored_flow,
)
from pgflow_ref.operations.deletion import (
    delete_definition,
    delete_history,
    delete_messages,
    delete_messages_of_runs,
    delete_runs,
    drop_queue,
    flows_with_runs,
    forget_queue,
    lock_runs,
    runs_over_for,
)
from pgflow_ref.operations.ends import RunEnd, ended_runs, runs_ended_by, runs_failed_here
from pgflow_ref.operations.health import (
    FlowHealth,
    WorkerHealth,
    flows_health,
    server_version,
    workers_health,
)
from pgflow_ref.operations.operation import Operation, Row
from pgflow_ref.operations.overview import FlowOverview, flows_overview
from pgflow_ref.operations.recovery import Recovered, recover_stalled_tasks
from pgflow_ref.operations.runs import (
    Run,
    StepOutput,
    StepState,
    delay_run,
    get_run,
    get_run_with_states,
    get_step_output,
    schedule_run,
    start_flow,
    start_flows,
)
from pgflow_ref.operations.signals import (
    NO_NOTIFY,
    enable_notifications,
    listen,
    lock_notifications,
    notifications,
    read_with_poll,
    still_there,
    unlisten,
    visible_in,
)
from pgflow_ref.operations.tasks import (
    Answer,
    Now,
    Pulse,
    attempts_now,
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
    "NO_NOTIFY",
    "Answer",
    "FlowHealth",
    "FlowOverview",
    "Now",
    "Operation",
    "Pulse",
    "Queue",
    "Recovered",
    "Row",
    "Run",
    "RunEnd",
    "StepOutput",
    "StepState",
    "StoredFlow",
    "WorkerHealth",
    "attempts_now",
    "claim",
    "claimed_tasks",
    "define",
    "delay_run",
    "delete_definition",
    "delete_history",
    "delete_messages",
    "delete_messages_of_runs",
    "delete_runs",
    "drop_queue",
    "enable_notifications",
    "ended_runs",
    "flow_exists",
    "flows_health",
    "flows_overview",
    "flows_with_runs",
    "forget_queue",
    "get_run",
    "get_run_with_states",
    "get_step_output",
    "heartbeat",
    "listen",
    "lock_flow",
    "lock_notifications",
    "lock_runs",
    "mark_stopped",
    "notifications",
    "queue_of",
    "read_messages",
    "read_with_poll",
    "record",
    "recover_stalled_tasks",
    "register_worker",
    "runs_ended_by",
    "runs_failed_here",
    "runs_over_for",
    "schedule_run",
    "server_version",
    "start_flow",
    "start_flows",
    "start_tasks",
    "still_there",
    "stored_flow",
    "unlisten",
    "visible_in",
    "workers_health",
]
