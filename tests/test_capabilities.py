"""What a core can do, judged by its functions and columns."""

from __future__ import annotations

import dataclasses

import pytest

from pgflow_ref.capabilities import Capabilities, judge, probe
from pgflow_ref.errors import CoreMissing, CoreUnsupported

# What each release of the core has, as far as it is looked at.
FUNCTIONS_050 = {"create_flow", "add_step", "start_flow", "start_tasks", "read_with_poll"}
COLUMNS_050 = {
    "step_task_record.flow_slug",
    "step_task_record.run_id",
    "step_task_record.step_slug",
    "step_task_record.input",
    "step_task_record.msg_id",
    "workers.worker_id",
    "workers.queue_name",
    "workers.function_name",
    "workers.started_at",
    "workers.stopped_at",
    "workers.last_heartbeat_at",
    "steps.flow_slug",
    "steps.step_slug",
    "steps.opt_timeout",
}
COLUMNS_053 = COLUMNS_050 | {"steps.opt_start_delay"}
COLUMNS_061 = COLUMNS_053 - {"workers.stopped_at"} | {"workers.deprecated_at"}
COLUMNS_073 = COLUMNS_061 | {"step_task_record.task_index", "steps.step_type"}
FUNCTIONS_081 = FUNCTIONS_050 - {"read_with_poll"}
FUNCTIONS_010 = FUNCTIONS_081 | {"ensure_flow_compiled", "delete_flow_and_data"}

PGMQ_144 = {"read", "read_with_poll", "set_vt"}
PGMQ_180 = PGMQ_144 | {"enable_notify_insert"}

CORE_050 = Capabilities(
    core="0.5.0",
    pgmq="1.4.4",
    stopped_at=True,
    deprecated_at=False,
    start_delay=False,
    map_steps=False,
    requeue_stalled_tasks=False,
    long_poll=True,
    notify=False,
)
CORE_053 = dataclasses.replace(CORE_050, core="0.5.3", start_delay=True)
CORE_061 = dataclasses.replace(CORE_053, core="0.6.1", stopped_at=False, deprecated_at=True)
CORE_073 = dataclasses.replace(CORE_061, core="0.7.3", map_steps=True)
CORE_081 = dataclasses.replace(CORE_073, core="0.8.1")


@pytest.mark.parametrize(
    ("functions", "columns", "expected"),
    [
        pytest.param(FUNCTIONS_050, COLUMNS_050, CORE_050, id="0.5.0"),
        pytest.param(FUNCTIONS_050, COLUMNS_053, CORE_053, id="0.5.3"),
        pytest.param(FUNCTIONS_050, COLUMNS_061, CORE_061, id="0.6.1"),
        pytest.param(FUNCTIONS_050, COLUMNS_073, CORE_073, id="0.7.3"),
        pytest.param(FUNCTIONS_081, COLUMNS_073, CORE_081, id="0.8.1"),
        pytest.param(FUNCTIONS_010, COLUMNS_073, CORE_081, id="0.10 has all of 0.8.1"),
    ],
)
def test_known_cores(functions: set[str], columns: set[str], expected: Capabilities) -> None:
    assert judge(functions, columns, "1.4.4", PGMQ_144) == expected
    without = dataclasses.replace(expected, pgmq=None)
    assert judge(functions, columns, None, PGMQ_144) == without


def test_no_core() -> None:
    with pytest.raises(CoreMissing, match=r"holds no pgflow core; `pgflow-ref install URL`"):
        judge(set(), set(), "1.4.4", set())


@pytest.mark.parametrize(
    ("functions", "columns"),
    [
        pytest.param(FUNCTIONS_050 - {"start_tasks"}, COLUMNS_050, id="poll_for_tasks"),
        pytest.param(set(), COLUMNS_050, id="tables only"),
        pytest.param({"create_flow"}, set(), id="functions only"),
    ],
)
def test_a_core_that_is_too_old(functions: set[str], columns: set[str]) -> None:
    with pytest.raises(CoreUnsupported, match=r"older than 0\.5\.0: it has no pgflow\.start_tasks"):
        judge(functions, columns, None, PGMQ_144)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"step_task_record.flow_input"}, "tasks come with flow_input; known"),
        ({"step_task_record.z", "step_task_record.flow_input"}, "tasks come with flow_input, z;"),
    ],
)
def test_a_core_that_is_too_new(extra: set[str], named: str) -> None:
    with pytest.raises(CoreUnsupported, match=named):
        judge(FUNCTIONS_010, COLUMNS_073 | extra, None, PGMQ_144)


def test_columns_of_other_tables_may_be_new() -> None:
    columns = COLUMNS_073 | {"workers.mood", "steps.flow_input"}
    assert judge(FUNCTIONS_010, columns, "1.4.4", PGMQ_144) == CORE_081


def test_what_newer_ones_add() -> None:
    found = judge(FUNCTIONS_010 | {"requeue_stalled_tasks"}, COLUMNS_073, None, PGMQ_180)
    assert found.notify
    assert found.requeue_stalled_tasks
    assert not judge(FUNCTIONS_081, COLUMNS_073, None, {"read"}).long_poll


@pytest.mark.parametrize("pgmq", ["1.11.1", None])
def test_probe_reads_one_row(pgmq: str | None) -> None:
    operation = probe()
    assert operation.params == {}
    rows = [(sorted(FUNCTIONS_050), sorted(PGMQ_144), sorted(COLUMNS_050), pgmq)]
    assert operation.read(rows) == dataclasses.replace(CORE_050, pgmq=pgmq)


def test_probe_of_an_empty_database() -> None:
    with pytest.raises(CoreMissing):
        probe().read([([], [], [], None)])
