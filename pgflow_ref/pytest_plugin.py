"""A pytest plugin: the fixture `pgflow` makes flows in memory (`pgflow_ref.testing`).

It is there wherever this library and pytest are installed; nothing has to be imported.

    def test_an_order_is_paid(pgflow):
        memory = pgflow(order, send_invoice)
        run = memory.start_flow_sync(order, {"id": 7})
        assert run.output == {"pay": {"paid": True}}
        memory.assert_enqueued(send_invoice, input={"order": 7}, in_=3600)

The version of the core is the newest that is known, or what the test asks for with
`pgflow(order, core="0.5.0")`, or, for all tests, that of the database which they stand for:

    [tool.pytest.ini_options]
    pgflow_core = "0.5.0"

`pytest --pgflow-core=0.8.1` tries another. What is still queued when a test fails is part of its
report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from pgflow_ref.flow import Flow
    from pgflow_ref.telemetry import Listener
    from pgflow_ref.testing import InMemory

_MADE: Final = pytest.StashKey["list[InMemory]"]()


class MakeInMemory(Protocol):
    """What the fixture `pgflow` is: see `pgflow_ref.testing.InMemory` for arguments and errors."""

    def __call__(
        self, *flows: Flow, core: str | None = None, listeners: Iterable[Listener] = ()
    ) -> InMemory:
        """Make flows in memory."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says which core is meant."""
    said = "the version of pgflow's core that the fixture `pgflow` has, such as 0.8.1"
    parser.addini("pgflow_core", f"{said} (default: the newest that is known)", default="")
    group = parser.getgroup("pgflow")
    group.addoption("--pgflow-core", metavar="VERSION", help=f"{said}, in place of pgflow_core")


@pytest.fixture
def pgflow(request: pytest.FixtureRequest) -> MakeInMemory:
    """Makes flows in memory of those that it is given; see `pgflow_ref.testing`."""
    from pgflow_ref.testing import InMemory  # noqa: PLC0415  # not for tests that do without

    config = request.config
    chosen = config.getoption("--pgflow-core") or config.getini("pgflow_core") or None
    made = request.node.stash.setdefault(_MADE, [])

    def make(*flows: Flow, core: str | None = None, listeners: Iterable[Listener] = ()) -> InMemory:
        memory = InMemory(*flows, core=core or chosen, listeners=listeners)
        made.append(memory)
        return memory

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report of a test that failed what it has left in its queues."""
    report = yield
    if report.when == "call" and report.failed and (text := left(item.stash.get(_MADE, []))):
        report.sections.append(("pgflow, still queued", text))
    return report


def left(made: list[InMemory]) -> str:
    """What is still queued, flow by flow; nothing, where nothing is."""
    return "\n".join(text for memory in made if (text := memory.describe_queues()))
