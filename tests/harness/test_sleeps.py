"""Nothing in the suite waits for a fixed time: whoever sleeps does so in a loop, and looks.

What handlers do is another matter: how long they take is what some cases are about.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[2] / "conformance"
SOURCES = [
    path for path in sorted(SUITE.rglob("*.py")) if "workers" not in path.relative_to(SUITE).parts
]
CASES = sorted((SUITE.parent / "fixtures/cases").rglob("*.yaml"))
# A worker that was asked to stop says nothing of it before it ends.
WAITS_FOR_WHAT_NOBODY_TELLS = {"stop.yaml": 1, "worker.yaml": 1}


def fixed_sleeps(source: str) -> list[int]:
    """The lines of all calls of a sleep that are in no loop, or for a literal time."""
    found = []

    def visit(node: ast.AST, *, in_loop: bool) -> None:
        if isinstance(node, ast.Call) and _name(node.func) == "sleep":
            literal = any(isinstance(argument, ast.Constant) for argument in node.args)
            if literal or not in_loop:
                found.append(node.lineno)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            in_loop = False
        loops = isinstance(node, (ast.While, ast.For, ast.AsyncFor))
        for child in ast.iter_child_nodes(node):
            visit(child, in_loop=in_loop or loops)

    visit(ast.parse(source), in_loop=False)
    return found


def _name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    return called.id if isinstance(called, ast.Name) else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SUITE)))
def test_nobody_waits_for_a_fixed_time(path: Path) -> None:
    assert fixed_sleeps(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_case_waits_for_a_fixed_time(path: Path) -> None:
    waits = path.read_text(encoding="utf-8").count("pg_sleep")
    assert waits == WAITS_FOR_WHAT_NOBODY_TELLS.get(path.name, 0)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("while not done():\n    time.sleep(_LOOK_EVERY)", []),
        ("time.sleep(_LOOK_EVERY)", [1]),
        ("while not done():\n    time.sleep(0.1)", [2]),
        ("for _ in range(3):\n    def wait():\n        sleep(LONG)", [3]),
        ("async def wait():\n    await asyncio.sleep(1)", [2]),
    ],
)
def test_what_a_fixed_time_is(source: str, lines: list[int]) -> None:
    assert fixed_sleeps(source) == lines
