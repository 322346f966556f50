"""How a flow in the database differs from the one in the code."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pgflow_ref.compare import differences, mismatch, unsupported
from pgflow_ref.shape import FlowShape, Options, StepShape

STORED_OPTIONS = Options(3, 5, 60)  # the database has a flow's options in full


def flow(*steps: StepShape, options: Options | None = None) -> FlowShape:
    return FlowShape("f", options or Options(), steps)


def stored(*steps: StepShape) -> FlowShape:
    return flow(*steps, options=STORED_OPTIONS)


A, B = StepShape("a"), StepShape("b", ("a",))


@pytest.mark.parametrize(
    ("code", "database"),
    [
        pytest.param(flow(A, B), stored(A, B), id="the same"),
        pytest.param(flow(A, B), stored(B, A), id="other order of steps"),
        pytest.param(
            flow(A, B, StepShape("c", ("a", "b"))),
            stored(A, B, StepShape("c", ("b", "a"))),
            id="other order of dependencies",
        ),
        pytest.param(flow(A, options=Options(3, 5, 60)), stored(A), id="the same options"),
        pytest.param(
            flow(A), stored(StepShape("a", (), Options(9, 9, 9))), id="options left to the database"
        ),
        pytest.param(
            flow(StepShape("a"), StepShape("b", ("a",), Options(start_delay=9), "map")),
            stored(A, StepShape("b", ("a",), Options(start_delay=9), "map")),
            id="the same map step",
        ),
        pytest.param(
            flow(A), stored(StepShape("a", (), Options(start_delay=9))), id="a delay left to it"
        ),
        pytest.param(flow(), stored(), id="no steps"),
    ],
)
def test_what_agrees(code: FlowShape, database: FlowShape) -> None:
    assert differences(code, database) == []
    assert mismatch(code, database) is None


@pytest.mark.parametrize(
    ("code", "database", "found"),
    [
        pytest.param(
            flow(A, B), stored(A), ["step 'b' is missing in the database"], id="missing there"
        ),
        pytest.param(flow(A), stored(A, B), ["step 'b' is missing in the code"], id="missing here"),
        pytest.param(
            flow(A, B),
            stored(A, StepShape("b")),
            ["step 'b' depends on 'a' in the code and on nothing in the database"],
            id="dependency missing there",
        ),
        pytest.param(
            flow(A, StepShape("b"), StepShape("c")),
            stored(A, StepShape("b"), StepShape("c", ("b", "a"))),
            ["step 'c' depends on nothing in the code and on 'a', 'b' in the database"],
            id="dependencies missing here",
        ),
        pytest.param(
            flow(A, options=Options(1, 2, 3)),
            stored(A),
            [
                "max_attempts is 1 in the code and 3 in the database",
                "base_delay is 2 in the code and 5 in the database",
                "timeout is 3 in the code and 60 in the database",
            ],
            id="options of the flow",
        ),
        pytest.param(
            flow(StepShape("a", (), Options(timeout=30, start_delay=1))),
            stored(A),
            [
                "step 'a': timeout is 30 in the code and None in the database",
                "step 'a': start_delay is 1 in the code and None in the database",
            ],
            id="options of a step",
        ),
        pytest.param(
            flow(StepShape("a", step_type="map"), B),
            stored(A, StepShape("b", ("a",), step_type="map")),
            [
                "step 'a' is a map step in the code and a single step in the database",
                "step 'b' is a single step in the code and a map step in the database",
            ],
            id="types of steps",
        ),
    ],
)
def test_what_differs(code: FlowShape, database: FlowShape, found: list[str]) -> None:
    assert differences(code, database) == found
    said = mismatch(code, database)
    assert said is not None
    start = "flow 'f' in the database is not the one in the code: " + "; ".join(found)
    assert said.startswith(start + "; ")


def test_steps_that_are_only_missing_can_be_added() -> None:
    code = flow(StepShape("c", ("b",), Options(timeout=9)), B, A)
    assert mismatch(code, stored(A)) == (
        "flow 'f' in the database is not the one in the code: "
        "step 'c' is missing in the database; step 'b' is missing in the database; "
        "this adds what is missing: "
        "SELECT pgflow.add_step('f', 'b', ARRAY['a']); "
        "SELECT pgflow.add_step('f', 'c', ARRAY['b'], timeout => 9);"
    )


@pytest.mark.parametrize(
    "database",
    [
        pytest.param(stored(StepShape("b")), id="another one waits for other steps"),
        pytest.param(stored(B, StepShape("x")), id="another one is too much"),
        pytest.param(stored(StepShape("a", (), Options(timeout=9))), id="another has options"),
    ],
)
def test_whatever_else_differs_nothing_is_added(database: FlowShape) -> None:
    code = flow(StepShape("a", (), Options(timeout=7)), B)
    said = mismatch(code, database)
    assert said is not None
    assert said.endswith(
        "; give the flow a new slug, or delete it in the database and compile it again"
    )
    assert "SELECT" not in said


# What a core has


class Core(NamedTuple):
    core: str
    start_delay: bool
    map_steps: bool


OLD, LATER, NEW = Core("0.5.0", False, False), Core("0.6.1", True, False), Core("0.8.1", True, True)
DELAYED = StepShape("delayed", (), Options(start_delay=0))
MAP = StepShape("pick", (), Options(start_delay=7), "map")


@pytest.mark.parametrize(
    ("shape", "core", "lacking"),
    [
        (flow(A, B), OLD, None),
        (flow(), OLD, None),
        (flow(A, DELAYED), OLD, "step 'delayed': start_delay needs core 0.5.3"),
        (flow(A, DELAYED), LATER, None),
        (flow(MAP), OLD, "step 'pick': a map step needs core 0.7"),
        (flow(DELAYED, MAP), LATER, "step 'pick': a map step needs core 0.7"),
        (flow(DELAYED, MAP), NEW, None),
    ],
)
def test_what_a_core_does_not_have(shape: FlowShape, core: Core, lacking: str | None) -> None:
    said = None if lacking is None else f"flow 'f', {lacking} or newer, and this one is {core.core}"
    assert unsupported(shape, core) == said
