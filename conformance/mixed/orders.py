"""What the mixed flows must come to, computed in plain Python, without pgflow."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.cases import FIXTURES, RunOf

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS: Final = 150
QUICK_RUNS: Final = 60
_FIELDS: Final = (
    "quantity",
    "unit_price",
    "line_total",
    "tax",
    "weight_kg",
    "volume_l",
    "points",
    "co2_g",
)


def orders() -> list[dict[str, Any]]:
    """The orders of `fixtures/inputs/orders.jsonl`."""
    text = (FIXTURES / "inputs" / "orders.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def runs_of(case_id: str, count: int = RUNS) -> tuple[RunOf, ...]:
    """So many runs of a mixed case, each with the output that it must have."""
    expected = EXPECTED[case_id]
    return tuple(
        RunOf(order, {"status": "completed", "output": expected(order)})
        for order in islice(cycle(orders()), count)
    )


def order_output(order: dict[str, Any]) -> dict[str, Any]:
    """The output of the order flow."""
    items = order["items"]
    subtotal = _sum(item["line_total"] for item in items)
    shipping = _sum([order["shipping"]["cost"], order["shipping"]["insurance"]])
    discounts = [discount["amount"] for discount in order["discounts"]]
    return {
        "confirm": {
            "order": order["id"],
            "customer": order["customer"]["name"],
            "address": order["customer"]["address"]["lines"],
            "total": _sum([subtotal, shipping, *discounts]),
            "skus": [item["sku"] for item in items],
            "tags": order["tags"],
        }
    }


def fan_output(order: dict[str, Any]) -> dict[str, Any]:
    """The output of the fan-out and fan-in flow."""
    parts = [_sum(item[field] for item in order["items"]) for field in _FIELDS]
    return {"join": _sum(parts)}


EXPECTED: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "mixed.order": order_output,
    "mixed.fan": fan_output,
}


def _sum(numbers: Any) -> Any:
    """Add from left to right, as the contract says; `sum` of Python 3.12 adds more exactly."""
    total: Any = 0
    for number in numbers:
        total = total + number
    return total
