"""The pytest plugin, in this run and in runs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from pgflow_ref import Job, profiles
from pgflow_ref.pytest_plugin import left

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow_ref.pytest_plugin import MakeInMemory
    from pgflow_ref.telemetry import Event

TESTS = """
from pgflow_ref import Flow

order = Flow("order")
check = order.step("check")(lambda order, ctx: order)
pay = order.step("pay", depends_on=[check], start_delay=60)(lambda deps, ctx: {"paid": True})

def test_passes(pgflow):
    memory = pgflow(order)
    assert memory.start_flow_sync(order, 7, timeout=90).output == {"pay": {"paid": True}}

def test_fails(pgflow):
    first, second = pgflow(order, core="0.6.1"), pgflow(order)
    first.start_flow(order, {"id": 7})
    first.drain()
    print("cores", first.core, second.core)
    second.assert_enqueued(order)

def test_fails_with_empty_queues(pgflow):
    pgflow(order).assert_enqueued(order)
"""


def run_pytest(folder: Path, *options: str, tests: str = TESTS) -> str:
    """What pytest says of these tests, in a process and a folder of its own."""
    (folder / "test_orders.py").write_text(tests, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout


def job() -> Job:
    job = Job("mail")
    job.perform()(lambda given, _ctx: given)
    return job


def test_the_fixture(pgflow: MakeInMemory) -> None:
    heard: list[Event] = []
    memory = pgflow(job(), listeners=[heard.append])
    assert memory.start_flow_sync("mail", 7).output == {"mail": 7}
    assert heard[-1].name == "pgflow.run.completed"
    assert memory.core == profiles.known()[-1]
    assert pgflow(core="0.5.0").core == "0.5.0"


def test_pytest_finds_it() -> None:
    [found] = entry_points(group="pytest11", name="pgflow")
    assert found.value == "pgflow_ref.pytest_plugin"


def test_what_is_left(pgflow: MakeInMemory) -> None:
    first, second, third = (pgflow(job()) for _ in range(3))
    assert left([]) == left([first, second, third]) == ""
    first.enqueue_in("mail", 7, 60)
    third.enqueue("mail", 8)
    run = "mail:\n  mail of run 5eed0000-0000-0000-0000-000000000001, attempt 1, visible"
    assert left([first, second, third]) == f"{run} in 60 s, input 7\n{run} now, input 8"


def test_the_report_of_a_test_that_fails_says_what_is_queued(tmp_path: Path) -> None:
    said = run_pytest(tmp_path)
    assert "2 failed, 1 passed" in said
    assert len(re.findall("-+ pgflow, still queued -+", said)) == 1
    assert re.search(
        r"order:\n  pay of run \S+, attempt 1, visible in 60 s, input \{\"id\": 7\}\n", said
    )
    assert "cores 0.6.1 0.8.1" in said


@pytest.mark.parametrize(
    ("options", "core"), [((), "0.7.3"), (("--pgflow-core", "0.5.3"), "0.5.3")]
)
def test_all_tests_can_have_another_core(
    tmp_path: Path, options: tuple[str, ...], core: str
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\npgflow_core = 0.7.3\n", encoding="utf-8")
    said = run_pytest(tmp_path, *options)
    assert f"cores 0.6.1 {core}" in said


def test_a_core_that_nobody_knows_is_an_error_of_the_test(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "--pgflow-core", "0.4.0", "-k", "passes")
    assert "no profile of core '0.4.0'; known are" in said
    assert "1 failed" in said


def test_tests_that_do_without_pay_nothing(tmp_path: Path) -> None:
    said = run_pytest(
        tmp_path,
        tests="""
import sys

def test_passes():
    assert not {"psycopg", "pgflow_ref.testing"} & sys.modules.keys()
""",
    )
    assert "1 passed" in said


def test_the_fixture_is_listed(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "--fixtures", "-v")
    assert re.search(r"pgflow -- .*pytest_plugin\.py:\d+\n    Makes flows in memory", said)
