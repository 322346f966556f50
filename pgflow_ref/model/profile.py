"""What a version of the core does: names for its behaviours, and the columns of its tables.

The model asks a profile, never a version. The texts that go with the names, and what changed where,
are data (`pgflow_ref/data/profiles/`, read by `pgflow_ref.profiles`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Behaviour: TypeAlias = Literal[
    # What a version has, and another has not. The model asks for these.
    "add_step_in_one_statement",
    "failed_run_is_closed",
    "failed_run_is_open",
    "map_steps",
    "missing_output_is_left_out",
    "missing_output_is_null",
    "read_with_poll_in_core",
    "read_with_poll_in_pgmq",
    "start_delay",
    "step_started_is_sent",
    "stepless_run_completes_at_once",
    "task_index_in_record",
    "workers_are_deprecated",
    "workers_are_stopped",
    # What surprises. The model notes these where they show.
    "cascade_ends_at_fifty",
    "claim_ignores_visibility",
    "claim_needs_no_worker",
    "claim_shows_message_again",
    "complete_task_completes_stepless_run",
    "completion_refused_by_new_dependency",
    "completion_sent_again",
    "definition_is_kept_silently",
    "error_outlives_success",
    "fail_task_clears_failed_at",
    "fail_task_postpones_queued_task",
    "failed_run_keeps_messages",
    "failed_run_starts_tasks",
    "failed_run_strands_tasks",
    "flow_and_index_collide",
    "flow_case_shares_queue",
    "flow_slug_of_48_refused",
    "incomplete_map_is_cut_short",
    "late_failure_is_silent",
    "map_of_two_uses_one",
    "new_step_empties_output",
    "new_step_is_not_in_run",
    "null_output_is_json_null",
    "one_attempt_at_least",
    "poll_of_no_time_reads_nothing",
    "repeated_dependency_never_starts",
    "retry_delay_overflows",
    "reused_message_id_claims_both",
    "reused_message_id_starts_lost_task",
    "run_failed_sent_again",
    "started_task_is_never_requeued",
    "step_failed_sent_again",
    "step_started_is_not_sent",
    "stepless_run_stays_started",
    "type_violation_needs_no_claim",
    "type_violation_says_less",
]
"""The name of a behaviour; `docs/core-behaviour.md` describes each."""

REFUSALS: Final[frozenset[Behaviour]] = frozenset(
    {
        "add_step_in_one_statement",
        "cascade_ends_at_fifty",
        "completion_refused_by_new_dependency",
        "flow_and_index_collide",
        "flow_slug_of_48_refused",
        "retry_delay_overflows",
    }
)
"""The behaviours that are refusals: in a call that is refused, no other shows."""

BEHAVIOURS: Final[frozenset[Behaviour]] = frozenset(get_args(Behaviour))


@dataclass(frozen=True, slots=True)
class Profile:
    """What one version of the core does.

    Attributes:
        core: the version, such as 0.5.0.
        behaviours: what it does.
        columns: its tables' columns that the model has, by table.
    """

    core: str
    behaviours: frozenset[Behaviour]
    columns: Mapping[str, tuple[str, ...]]
