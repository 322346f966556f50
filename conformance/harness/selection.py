"""Which of the tests that pytest found are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.harness.cases import Case

if TYPE_CHECKING:
    from collections.abc import Iterable


def case_of(item: pytest.Item) -> Case | None:
    """The case that a test tries, if it was made from one."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    case = item.callspec.params.get("case")
    return case if isinstance(case, Case) else None


def quick(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests of a quick run: what is no case stays, and does less by itself."""
    return [item for item in items if (case := case_of(item)) is None or case.quick]
