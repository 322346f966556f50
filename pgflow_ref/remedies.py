"""What this library's worker does about those behaviours of the core that surprise workers.

What a behaviour is, and what it means, stands in its profile (`profiles`); this is the other half,
by the same names, for `pgflow-ref doctor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.model.profile import Behaviour
    from pgflow_ref.operations import Grant
    from pgflow_ref.profiles import Core

_LIKE_ANY: Final = (
    "It cannot see it, and works on such tasks like on any others: let handlers be such that they "
    "may run in vain. Prune failed runs now and then."
)
_HANDLER_SEES: Final = (
    "The handler gets what the core gives. compile_on_start never changes a step that is there; "
    "give a changed flow a new slug."
)

REMEDIES: Final[Mapping[Behaviour, str]] = {
    "claim_ignores_visibility": "It claims only what it has just read.",
    "claim_needs_no_worker": (
        "It registers before it reads, and claims in its own name. Its recovery goes by time, not "
        "by the name, so it finds tasks of nobody too."
    ),
    "claim_shows_message_again": (
        "It hides messages for the longest timeout of the flow and 2 s, and lets be what it cannot "
        "claim; it deletes no message."
    ),
    "completion_refused_by_new_dependency": (
        "It fails the attempt with the database's words, so that the task does not stay started. "
        "compile_on_start never adds a dependency to a step that is there."
    ),
    "fail_task_postpones_queued_task": "It records a failure only while the attempt is its own.",
    "failed_run_is_open": _LIKE_ANY,
    "failed_run_keeps_messages": _LIKE_ANY,
    "failed_run_starts_tasks": _LIKE_ANY,
    "failed_run_strands_tasks": (
        "A handler that runs when its run fails goes on, and its result changes nothing. Recovery "
        "leaves failed runs alone. Prune them now and then."
    ),
    "flow_case_shares_queue": (
        "It claims tasks of its own flow alone, but reads, and so hides, the other's messages. "
        "Give one of the flows another slug."
    ),
    "incomplete_map_is_cut_short": _HANDLER_SEES,
    "missing_output_is_left_out": _HANDLER_SEES,
    "missing_output_is_null": _HANDLER_SEES,
    "null_output_is_json_null": "A handler gets None for both.",
    "one_attempt_at_least": "A flow declared in Python has at least one attempt.",
    "poll_of_no_time_reads_nothing": (
        "It polls with pgmq.read; with long_poll it waits in the server for a second at least."
    ),
    "retry_delay_overflows": (
        "It says in its log that the failure cannot be recorded. Recovery puts the task back until "
        "it has no attempt left, and then fails it."
    ),
    "reused_message_id_claims_both": (
        "It tells the tasks apart by run and step, not by message, and works on all that it got."
    ),
    "reused_message_id_starts_lost_task": (
        "It works on what is handed out alone. The lost task belongs to a failed run; prune those "
        "now and then."
    ),
    "started_task_is_never_requeued": (
        "Every worker looks for such tasks every 15 s or so (recovery_interval), puts them back, "
        "or fails those that have no attempt left."
    ),
    "type_violation_needs_no_claim": (
        "It completes only tasks that are its own. A handler that returns no array, not even an "
        "empty one, where a map step waits for it still fails the run."
    ),
}
"""By the behaviour's name: in one or two sentences."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A behaviour of the core that surprises workers.

    Attributes:
        name: its name.
        says: what happens.
        means: what that means for a worker.
        remedy: what this library's worker does about it.
    """

    name: str
    says: str
    means: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is to know of a database.

    Attributes:
        server: the version of PostgreSQL.
        capabilities: what its core can do.
        defects: what of that core surprises workers.
        missing_grants: what this user lacks to work on the flows that are there, as in a GRANT.
    """

    server: str
    capabilities: Capabilities
    defects: tuple[Defect, ...]
    missing_grants: tuple[str, ...] = ()


def defects(core: Core) -> tuple[Defect, ...]:
    """Those behaviours of a core that surprise workers, with what is done about them.

    Example:
        >>> from pgflow_ref.profiles import load
        >>> [defect.name for defect in defects(load("0.8.1"))][:2]
        ['claim_ignores_visibility', 'claim_needs_no_worker']
    """
    return tuple(
        Defect(name, entry.says, entry.means, REMEDIES[name])
        for name, entry in sorted(core.entries.items())
        if entry.surprising and entry.concerns == "workers"
    )


def without(missing: Sequence[Grant], user: str, flow_slug: str) -> str:
    """Say which grants a worker's user lacks, and how it gets them.

    Example:
        >>> from pgflow_ref.operations import Grant
        >>> print(without([Grant("SELECT", "TABLE pgmq.q_order")], "shop", "order"))
        the user 'shop' may not work on flow 'order': missing is SELECT ON TABLE pgmq.q_order; let \
the owner of the core run `pgflow-ref roles --worker shop --flow order`
    """
    what = ", and ".join(grant.words for grant in missing)
    return (
        f"the user {user!r} may not work on flow {flow_slug!r}: missing is {what}; let the owner of"
        f" the core run `pgflow-ref roles --worker {user} --flow {flow_slug}`"
    )
