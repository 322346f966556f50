"""The flows that a client knows."""

from __future__ import annotations

from typing import Any

import pytest

from pgflow_ref import Flow, FlowNotFound, InvalidFlow, Job
from pgflow_ref.registry import Registry, slug_of

ONE, TWO = Flow("one"), Job("two")


def test_flows_are_kept_in_order() -> None:
    registry = Registry(flow for flow in (TWO, ONE, TWO))
    assert registry.flows == (TWO, ONE)
    assert registry.get("one") is ONE
    assert registry.get(Flow("one")) is ONE
    assert Registry().flows == ()


@pytest.mark.parametrize("flow", ["three", Flow("three"), None, 7, "x" * 10_000])
def test_flows_that_are_not_registered(flow: Any) -> None:
    with pytest.raises(FlowNotFound, match="is not registered here") as caught:
        Registry([ONE]).get(flow)
    assert len(str(caught.value)) < 300
    assert caught.value.flow == slug_of(flow)


@pytest.mark.parametrize("flow", ["one", None, Flow])
def test_what_cannot_be_registered(flow: Any) -> None:
    with pytest.raises(InvalidFlow, match="a flow to register is a Flow"):
        Registry([flow])


def test_one_slug_is_one_flow() -> None:
    with pytest.raises(InvalidFlow, match="flow 'one': another flow of this slug"):
        Registry([ONE, Flow("one")])


def test_a_flow_is_taken_by_itself_or_by_its_slug() -> None:
    registry = Registry([ONE])
    assert registry.take("one") is ONE
    assert registry.take(ONE) is ONE
    assert registry.take(TWO) is TWO
    assert registry.flows == (ONE, TWO)
    with pytest.raises(FlowNotFound):
        registry.take("three")
    with pytest.raises(InvalidFlow):
        registry.take(Flow("two"))
