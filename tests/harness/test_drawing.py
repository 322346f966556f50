"""The geometry of what the page draws."""

from __future__ import annotations

import doctest
import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness import report
from conformance.harness.records import Fault, Span, Step, Worker
from conformance.harness.run import Run
from conformance.harness.templates import drawing, graph
from tests.harness.streams import DENO, DIAMOND, END, PYTHON, SUITE, case, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.records import Record


def page_of(stream: Sequence[Record]) -> str:
    return report.render_page(Run.of(stream))


class TestDrawing:
    def test_tasks_at_the_same_time_are_in_different_rows(self) -> None:
        spans = [
            Span("deno", "a", "r", start, end, "completed")
            for start, end in ((0.0, 4.0), (1.0, 2.0), (1.5, 3.0), (2.0, 3.0), (4.0, 10.0))
        ]
        drawn = drawing.draw(mixed(timeline=tuple(spans)))
        assert drawn is not None
        (lane,) = [lane for lane in drawn.lanes if lane.worker == "deno"]
        assert lane.bars[0].path == "M0 7h10000M1000 21h2000M1500 35h1500"
        assert lane.height == 42

    def test_idle_worker_has_an_empty_lane(self) -> None:
        drawn = drawing.draw(mixed(timeline=(Span("deno", "a", "r", 0.0, 1.0, "completed"),)))
        assert drawn is not None
        assert [(lane.worker, lane.tasks) for lane in drawn.lanes] == [("python", 0), ("deno", 1)]

    def test_thinning_keeps_failures_and_shares(self) -> None:
        spans = tuple(
            Span(
                "python" if at % 4 else "deno",
                "a",
                "r",
                at * 1.0,
                at + 0.5,
                "failed" if at % 100 == 1 else "completed",
            )
            for at in range(4000)
        )
        drawn = drawing.draw(mixed(timeline=spans), 1000)
        assert drawn is not None
        assert (drawn.drawn, drawn.tasks) == (1000, 4000)
        bars = {(lane.worker, bar.status): bar.count for lane in drawn.lanes for bar in lane.bars}
        assert bars["python", "failed"] == 40
        assert bars["deno", "completed"] == pytest.approx(240, abs=5)
        html = page_of([SUITE, mixed(timeline=spans), END])
        assert "3,000 of 4,000 tasks are drawn" in html

    def test_lost_tasks_are_drawn_but_in_nobodys_hands(self) -> None:
        lost = Span("deno", "a", "r", 1.0, None, "started")
        done = [Span("python", "a", "r", at * 0.5, at * 0.5 + 0.5, "completed") for at in range(20)]
        drawn = drawing.draw(mixed(timeline=(lost, *done)))
        assert drawn is not None
        assert drawn.peak == pytest.approx(1.0)
        assert drawn.lanes[1].open == 1
        assert drawn.lanes[1].bars[0].path == "M1000 7h9000"

    @pytest.mark.parametrize(
        "span", [(0.0, 0.0), (-5.0, -1.0), (3.0, 1.0), (0.0, 1e-9), (0.0, 9e9)]
    )
    def test_odd_times(self, span: tuple[float, float]) -> None:
        drawn = drawing.draw(mixed(timeline=(Span("deno", "a", "r", *span, "completed"),)))
        assert drawn is not None
        assert all(0 <= at <= 100 for at, _ in drawn.ticks)
        page_of([SUITE, mixed(timeline=(Span("deno", "a", "r", *span, "completed"),)), END])

    def test_a_few_tasks_have_no_curve(self) -> None:
        spans = tuple(Span("deno", "a", "r", at, at + 1, "completed") for at in range(5))
        drawn = drawing.draw(mixed(timeline=spans))
        assert drawn is not None
        assert drawn.curves == ()

    def test_a_long_time_in_which_nothing_happens_is_left_out(self) -> None:
        spans = tuple(Span("deno", "a", "r", 50.0 + at, 51.0 + at, "completed") for at in range(10))
        drawn = drawing.draw(mixed(timeline=spans, faults=(Fault(55.0, "deno", "kill"),)))
        assert drawn is not None
        assert drawn.seconds == pytest.approx(10.3)
        assert drawn.lanes[1].bars[0].path == "M291 7h9709"
        assert drawn.lanes[1].marks[0].at == pytest.approx(51.46, abs=0.01)
        assert [label for _, label in drawn.ticks] == ["50 s", "52 s", "54 s", "56 s", "58 s"]
        assert drawn.ticks[0][0] == pytest.approx(2.91, abs=0.01)

    def test_nothing_to_draw(self) -> None:
        assert drawing.draw(case()) is None

    def test_colours(self) -> None:
        workers = (PYTHON, DENO, Worker("mine", "cobol", "1"))
        chosen = drawing.colors(workers, ("python", "python-2", "deno", "mine", "ghost"))
        assert chosen["python"].hue == chosen["python-2"].hue
        assert len({(color.hue, color.nth) for color in chosen.values()}) == 5


class TestFaults:
    def test_marks_are_in_the_lane_of_whom_it_was_done_to(self) -> None:
        faults = (Fault(0.5, "deno", "kill"), Fault(1.0, "", "restart"), Fault(1.5, "late", "stop"))
        drawn = drawing.draw(mixed(faults=faults))
        assert drawn is not None
        marks = {lane.worker: [mark.number for mark in lane.marks] for lane in drawn.lanes}
        assert marks == {"python": [2], "deno": [1, 2], "late": [2, 3]}
        (first, _) = drawn.lanes[1].marks
        assert first.at == pytest.approx(100 * 0.5 / drawn.seconds, abs=0.01)
        assert [(done.when, done.worker, done.what) for done in drawn.faults] == [
            (0.5, "deno", "kill"),
            (1.0, "", "restart"),
            (1.5, "late", "stop"),
        ]

    def test_many_are_counted(self) -> None:
        faults = tuple(Fault(at * 0.01, ("python", "deno")[at % 2], "kill") for at in range(100))
        drawn = drawing.draw(mixed(faults=faults))
        assert drawn is not None
        assert {mark.number for lane in drawn.lanes for mark in lane.marks} == {0}
        times = [(done.times, done.worker) for done in drawn.faults]
        assert times == [(50, "python"), (50, "deno")]

    def test_odd_times_stay_in_the_picture(self) -> None:
        faults = (Fault(-3.0, "deno", "early"), Fault(1e9, "deno", "late"))
        drawn = drawing.draw(mixed(faults=faults))
        assert drawn is not None
        assert [mark.at for mark in drawn.lanes[1].marks] == [0, 100]


class TestMoments:
    def test_in_order_and_in_words(self) -> None:
        spans = (
            Span("deno", "b", "r2", 0.3, None, "started"),
            Span("deno", "a", "r1", 0.1, 0.2, "failed"),
            Span("python", "a", "r1", 0.25, 0.4, "completed"),
        )
        found, left_out = drawing.moments(
            mixed(timeline=spans, faults=(Fault(0.35, "", "restart"),)), 60
        )
        assert left_out == 0
        assert [(one.at, one.worker, one.said, one.kind) for one in found] == [
            (0.1, "deno", "takes a of run r1", "started"),
            (0.2, "deno", "fails a of run r1", "failed"),
            (0.25, "python", "takes a of run r1", "started"),
            (0.3, "deno", "takes b of run r2", "started"),
            (0.3, "deno", "never reports b of run r2", "lost"),
            (0.35, "all", "restart", "fault"),
            (0.4, "python", "completes a of run r1", "completed"),
        ]

    def test_those_around_the_trouble_are_kept(self) -> None:
        spans = [Span("deno", "a", f"r{at}", at, at + 0.5, "completed") for at in range(100)]
        spans[40] = Span("deno", "a", "bad", 40.0, 40.5, "failed")
        found, left_out = drawing.moments(mixed(timeline=tuple(spans)), 11)
        assert (len(found), left_out) == (11, 189)
        assert found[0].at > 36
        assert found[-1].at < 44
        assert any(one.kind == "failed" for one in found)

    def test_without_trouble_it_is_the_end(self) -> None:
        spans = tuple(Span("deno", "a", f"r{at}", at, at + 0.5, "completed") for at in range(50))
        found, _ = drawing.moments(mixed(timeline=spans), 5)
        assert found[-1].at == 49.5

    def test_nothing_happened(self) -> None:
        assert drawing.moments(case(), 5) == ((), 0)


class TestFlow:
    def test_layers_and_curves(self) -> None:
        drawn = graph.draw_flow(DIAMOND)
        assert drawn is not None
        left = {box.slug: box.x for box in drawn.boxes}
        assert left["validate"] == left["audit"] < left["charge"] == left["reserve"] < left["ship"]
        assert len(drawn.curves) == 4
        assert drawn.said == "5 steps in 3 layers, 4 dependencies"

    def test_a_curve_goes_around_what_is_between(self) -> None:
        steps = (Step("a"), Step("b", ("a",)), Step("c", ("b",)), Step("d", ("a", "c")))
        drawn = graph.draw_flow(steps)
        assert drawn is not None
        (b,) = [box for box in drawn.boxes if box.slug == "b"]
        # a to b, b to c, c to d, and a to d, which has a place of its own in two layers.
        passing = [curve for curve in drawn.curves if "H" in curve]
        assert (len(drawn.curves), len(passing)) == (6, 2)
        for curve in passing:
            y = float(re.findall(r"[\d.]+", curve.partition("H")[0])[-1])
            assert not b.y <= y <= b.y + b.height

    @given(st.data(), st.integers(2, 30))
    def test_boxes_are_apart_and_within(self, data: st.DataObject, size: int) -> None:
        steps = []
        for at in range(size):
            needs = data.draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else set()
            steps.append(Step(f"step{at}", tuple(f"step{one}" for one in needs)))
        drawn = graph.draw_flow(steps)
        assert drawn is not None
        assert {box.slug for box in drawn.boxes} == {step.slug for step in steps}
        for box in drawn.boxes:
            assert 0 < box.x < box.x + box.width < drawn.width
            assert 0 < box.y < box.y + box.height < drawn.height
        for one, other in itertools.combinations(drawn.boxes, 2):
            apart = one.x + one.width < other.x or other.x + other.width < one.x
            assert apart or one.y + one.height < other.y or other.y + other.height < one.y
        left = {box.slug: box.x for box in drawn.boxes}
        assert all(left[need] < left[step.slug] for step in steps for need in step.depends_on)

    @pytest.mark.parametrize(
        "steps",
        [
            (),
            (Step("alone"),),
            (Step("a", ("b",)), Step("b", ("a",))),
            (Step("a"), Step("b", ("b",))),
            tuple(Step(f"s{at}") for at in range(200)),
        ],
    )
    def test_what_is_not_drawn(self, steps: tuple[Step, ...]) -> None:
        assert graph.draw_flow(steps) is None
        page_of([SUITE, case(flow=steps), END])

    def test_what_is_not_there_is_no_dependency(self) -> None:
        drawn = graph.draw_flow((Step("a", ("ghost",)), Step("b", ("a", "a"))))
        assert drawn is not None
        assert len(drawn.curves) == 1

    def test_long_slugs_are_shortened(self) -> None:
        drawn = graph.draw_flow((Step("x" * 200), Step("y")))
        assert drawn is not None
        assert (drawn.boxes[0].slug, drawn.boxes[0].shown) == ("x" * 200, "x" * 21 + "…")


@pytest.mark.parametrize("module", [drawing, graph])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
