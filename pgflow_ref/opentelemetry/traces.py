"""The trace of a run, derived from its id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.context import Context as OtelContext

_LOW_56: Final = (1 << 56) - 1
_LOW_64: Final = (1 << 64) - 1


def span_context(run_id: UUID, *, ratio: float = 1.0) -> SpanContext:
    """The run as the parent of its spans: its trace, in every process and every language.

    Args:
        run_id: the run.
        ratio: the share of runs that are kept; see `sampled`.

    Raises:
        ValueError: the ratio is not between 0 and 1.

    Example:
        >>> from uuid import UUID
        >>> context = span_context(UUID("67e55044-10b1-426f-9247-bb680e5fe0c8"))
        >>> f"{context.trace_id:032x}-{context.span_id:016x}"
        '67e5504410b1426f9247bb680e5fe0c8-9247bb680e5fe0c8'
    """
    flags = trace.TraceFlags.SAMPLED if sampled(run_id, ratio) else trace.TraceFlags.DEFAULT
    return SpanContext(
        # An id of zeros is none to OpenTelemetry; only a run id of somebody's making has them.
        trace_id=run_id.int or 1,
        span_id=run_id.int & _LOW_64 or 1,
        is_remote=True,
        trace_flags=trace.TraceFlags(flags),
    )


def sampled(run_id: UUID, ratio: float) -> bool:
    """Whether a run is among the share of runs that are kept: the same answer everywhere.

    The last 14 hexadecimal digits of the id are compared. They are random in ids of versions 4 and
    7, which is what pgflow makes.

    Args:
        run_id: the run.
        ratio: from 0, none, to 1, all.

    Raises:
        ValueError: the ratio is not between 0 and 1.

    Example:
        >>> from uuid import UUID
        >>> run_id = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")
        >>> sampled(run_id, 0.2), sampled(run_id, 0.3)
        (False, True)
    """
    if not 0 <= ratio <= 1:  # so put, NaN is not
        raise ValueError(f"the share of runs that are kept is between 0 and 1, not {ratio}")
    return run_id.int & _LOW_56 < ratio * (_LOW_56 + 1)


def run_context(run_id: UUID, *, ratio: float = 1.0) -> OtelContext:
    """A context in which spans become part of the run's trace.

    Args:
        run_id: the run.
        ratio: the share of runs that are kept; see `sampled`.

    Example:
        with tracer.start_as_current_span("pack", context=run_context(ctx.run_id)):
            ...
    """
    parent = NonRecordingSpan(span_context(run_id, ratio=ratio))
    return trace.set_span_in_context(parent)
