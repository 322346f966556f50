"""The flows that a client was given: by slug, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_ref.errors import FlowNotFound, InvalidFlow
from pgflow_ref.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable


class Registry:
    """Flows by slug.

    Raises:
        InvalidFlow: two different flows have the same slug, or something is no flow.

    Example:
        >>> registry = Registry([Flow("order")])
        >>> registry.get("order")
        <Flow 'order': no steps>
    """

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self._flows: dict[str, Flow] = {}
        for flow in flows:
            self.add(flow)

    @property
    def flows(self) -> tuple[Flow, ...]:
        """All of them, in the order in which they came."""
        return tuple(self._flows.values())

    def add(self, flow: Flow) -> None:
        """Add a flow; the same one again changes nothing."""
        if not isinstance(flow, Flow):
            raise InvalidFlow("a flow to register is a Flow", flow=flow)
        if self._flows.setdefault(flow.slug, flow) is not flow:
            raise InvalidFlow("another flow of this slug is registered here", flow=flow.slug)

    def take(self, flow: object) -> Flow:
        """A flow, which is added, or the one of this slug.

        Raises:
            InvalidFlow, FlowNotFound: see `add` and `get`.
        """
        if isinstance(flow, Flow):
            self.add(flow)
        return self.get(flow)

    def get(self, flow: object) -> Flow:
        """One of them, by itself or by its slug.

        Raises:
            FlowNotFound: there is none of this slug.
        """
        slug = slug_of(flow)
        found = self._flows.get(slug)
        if found is None:
            raise FlowNotFound(
                slug,
                f"flow {slug!r:.160} is not registered here; give it to the client as flows=[…]",
            )
        return found


def slug_of(flow: object) -> str:
    """The slug of a flow, or the text of what was given for one."""
    return flow.slug if isinstance(flow, Flow) else str(flow)
