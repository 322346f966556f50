"""Flows in memory, as a type checker sees them; see `declare.py`."""

from __future__ import annotations

from datetime import datetime, timedelta

from typing_extensions import assert_type

from pgflow_ref import Flow, Run
from pgflow_ref.pytest_plugin import MakeInMemory
from pgflow_ref.testing import InMemory, QueuedTask

order = Flow("order")


def use(pgflow: MakeInMemory) -> None:
    memory = pgflow(order, core="0.8.1")
    assert_type(memory, InMemory)
    assert_type(memory.drain(until_idle=True), int)
    assert_type(memory.now, datetime)
    assert_type(memory.queued(order), list[QueuedTask])
    assert_type(memory.start_flow_sync(order, {}), Run)
    assert_type(memory.assert_enqueued(order, input={}, in_=timedelta(1)), QueuedTask)
    memory.advance("an hour")  # type: ignore[arg-type]
    memory.drain(True)  # type: ignore[call-arg]
    InMemory("order")  # type: ignore[arg-type]
