"""What a client does, as generators: they yield what they need done and are sent what came of it.

A call that takes several steps (look, wait, look again) is written once here, and performed by the
synchronous and by the asynchronous client alike (`client.py`, `async_client.py`). What fails is
raised in the call, where it asked for it.
"""

from pgflow_ref.calls.definitions import (
    FlowUpserted,
    delete_flow,
    ensure_flow,
    flow_exists,
    read_shape,
    upsert_flow,
)
from pgflow_ref.calls.requests import Atomic, Call, Clock, NewIds, Request, Sleep, Tell, perform
from pgflow_ref.calls.runs import (
    enqueue,
    enqueue_at,
    enqueue_in,
    get_flow_input,
    get_run,
    get_run_with_states,
    get_step_output,
    start_flow,
    start_flow_sync,
    start_flows,
)
from pgflow_ref.calls.schedule import MAX_SECONDS, instant, seconds, whole_seconds
from pgflow_ref.calls.upkeep import (
    Health,
    Pruned,
    capabilities,
    health_check,
    prune_data,
    recover_stalled_tasks,
)

__all__ = [
    "MAX_SECONDS",
    "Atomic",
    "Call",
    "Clock",
    "FlowUpserted",
    "Health",
    "NewIds",
    "Pruned",
    "Request",
    "Sleep",
    "Tell",
    "capabilities",
    "delete_flow",
    "enqueue",
    "enqueue_at",
    "enqueue_in",
    "ensure_flow",
    "flow_exists",
    "get_flow_input",
    "get_run",
    "get_run_with_states",
    "get_step_output",
    "health_check",
    "instant",
    "perform",
    "prune_data",
    "read_shape",
    "recover_stalled_tasks",
    "seconds",
    "start_flow",
    "start_flow_sync",
    "start_flows",
    "upsert_flow",
    "whole_seconds",
]
