"""A listener that makes spans and metrics of events: the extra `pgflow-ref[opentelemetry]`.

    bridge = Bridge(health=pgflow.health_check)
    Worker(flow, url, listeners=[bridge])

It knows OpenTelemetry's API alone. What is measured and where it goes, the application's own SDK
says; without one, nothing is.

**One trace for each run.** Nobody carries a trace from worker to worker: the run's id is all that
they share, so the trace is derived from it, by a rule that fits in a sentence and holds in any
language. The trace's id is the run's id, its 32 hexadecimal digits without hyphens; the parent of
all its spans is the last 16 of these digits. That parent stands for the run itself; no process ever
sends it. In W3C's words, run 67e55044-10b1-426f-9247-bb680e5fe0c8 is

    traceparent: 00-67e5504410b1426f9247bb680e5fe0c8-9247bb680e5fe0c8-01

**Sampling** is decided by the run's id too (`sampled`), so that all processes keep the same runs,
whole. A `TraceIdRatioBased` sampler of the SDK's would not do: it compares digits of which the
first two bits are the same in every UUID, and so keeps no run for any ratio up to a half, and every
run from three quarters on. The SDK's default sampler heeds what is decided here.

**Spans**

| span | kind | when | in which trace |
|---|---|---|---|
| `FLOW.STEP` | consumer | each attempt, from its start until its result is recorded | the run's |
| `FLOW run started` | producer | where a run is started | the caller's, linked to the run's |

An attempt that failed has the status error, with the reason. A span whose end is never heard of is
ended all the same: by the next attempt of its task, by its worker's stop, or when too many are
open; it then has `pgflow.task.lost`.

**Metrics**, all with `pgflow.flow`; those of tasks with `pgflow.step` as well

| metric | kind | unit | |
|---|---|---|---|
| `pgflow.tasks` | counter | {attempt} | by `pgflow.outcome`: completed, error, timeout, stopped |
| `pgflow.task.duration` | histogram | s | of handlers, by the same |
| `pgflow.runs` | counter | {run} | by `pgflow.outcome`: started, completed, failed |
| `pgflow.queue.depth` | gauge | {message} | messages in the flow's queue, with `health` |
| `pgflow.queue.oldest` | gauge | s | the age of the oldest of them, with `health` |
"""

from pgflow_ref.opentelemetry.bridge import Bridge
from pgflow_ref.opentelemetry.queues import FlowHealth, Health
from pgflow_ref.opentelemetry.traces import run_context, sampled, span_context

__all__ = ["Bridge", "FlowHealth", "Health", "run_context", "sampled", "span_context"]
