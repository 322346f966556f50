"""How flows, steps and runs are named in a call."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from pgflow_ref.errors import InvalidFlow, RunNotFound
from pgflow_ref.flow import Flow, Step
from pgflow_ref.json_contract import printable
from pgflow_ref.shape import MAX_FLOW_SLUG, MAX_STEP_SLUG, RESERVED_SLUG, check_slug

_STORED: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def flow_slug(flow: Flow | str) -> str:
    """The slug by which a flow is asked for.

    What another language declared may have a slug that Python would not: the database knows. But
    what is no text to PostgreSQL, or too long for any core, cannot even be asked for.

    Raises:
        InvalidFlow: it is neither a flow nor such a text.
    """
    if isinstance(flow, Flow):
        return flow.slug
    if not isinstance(flow, str):
        raise InvalidFlow("a flow is given as a Flow or its slug", flow=flow)
    if printable(flow) != flow or len(flow) > MAX_STEP_SLUG:
        check_slug(flow, flow=flow)
    return flow


def stored_slug(flow: Flow | str) -> str:
    """The slug of a flow that a database may have: a valid one, and no longer than a queue's name.

    Raises:
        InvalidFlow: no core has a flow of this slug (`pgflow.is_valid_slug`).
    """
    slug = flow_slug(flow)
    if not _STORED.fullmatch(slug) or len(slug) > MAX_FLOW_SLUG or slug == RESERVED_SLUG:
        check_slug(slug, flow=slug)
    return slug


def step_slug(step: object) -> str | None:
    """The slug by which a step is asked for; None for what no step can be called."""
    if isinstance(step, Step):
        return step.slug
    return step if isinstance(step, str) and printable(step) == step else None


def run_uuid(run_id: UUID | str) -> UUID:
    """The id of a run, also given as text.

    Raises:
        RunNotFound: it is no UUID.
    """
    if isinstance(run_id, UUID):
        return run_id
    try:
        return UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise RunNotFound(run_id) from None
