"""Test flows in memory: no database, no waiting.

`InMemory` runs flows on the executable model of pgflow's core (`pgflow_ref.model`), handlers as a
worker runs them (`execute.py`), and has a clock that moves only when it is told to. It starts runs
like `PgFlow`, and can stand in its place where code under test is given one.

    def test_an_order_is_paid_and_its_invoice_sent():
        pgflow = InMemory(order, send_invoice)
        run_id = pgflow.start_flow(order, {"id": 7})
        pgflow.assert_enqueued(order, step="check", input={"id": 7})
        pgflow.drain()
        assert pgflow.get_step_output(run_id, "pay") == {"paid": True}
        pgflow.assert_enqueued(send_invoice, in_=timedelta(days=1))

With pytest there is a fixture, `pgflow`, which makes one: `pgflow(order, send_invoice)`; see
`pgflow_ref.pytest_plugin`.

What is other than with a database and a worker:

- Each flow has one worker, which is never asked to stop, and all do one task after the other: what
  goes wrong only when tasks run at once does not go wrong here.
- Time stands still but for `advance`, `drain(until_idle=True)` and `start_flow_sync`: handlers and
  other calls take none. So a task is out of time only when its handler moves the clock, and fails
  then when its handler returns. A handler that never returns, or sleeps, keeps the test waiting.
- As ever, whatever a handler raises fails its task and not the test; an `assert` in it, too.
- JSON is kept as written, not as jsonb: keys stay in order, 1e16 a float, depth has no limit.
- A result that the core refuses to record ends `drain` with `CoreRefused`; a worker goes on.
"""

from pgflow_ref.testing.database import CoreRefused
from pgflow_ref.testing.memory import InMemory, NeverIdle
from pgflow_ref.testing.queued import ANYTHING, QueuedTask

__all__ = ["ANYTHING", "CoreRefused", "InMemory", "NeverIdle", "QueuedTask"]
