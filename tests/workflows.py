"""Workflows of GitHub Actions, as far as they can be checked without GitHub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pages import Block

ROOT: Final = Path(__file__).parent.parent
WORKFLOWS: Final = ROOT / ".github" / "workflows"
REUSABLE: Final = WORKFLOWS / "conformance.yml"


def read(text: str) -> dict[str, Any]:
    """A workflow; `on` is a text here, as in YAML 1.2."""
    found = YAML(typ="safe", pure=True).load(text)
    assert isinstance(found, dict)
    return found


def inputs() -> dict[str, dict[str, Any]]:
    """What the reusable workflow takes, by name."""
    called = read(REUSABLE.read_text(encoding="utf-8"))["on"]["workflow_call"]
    return dict(called["inputs"])


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of all jobs."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


def wrong(path: Path) -> str:
    """What is wrong with a file by the schema of workflows; empty: nothing."""
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def check_call(job: dict[str, Any]) -> None:
    """A job that uses the reusable workflow gives what it takes."""
    taken, given = inputs(), job.get("with", {})
    assert given.keys() <= taken.keys()
    assert {name for name, about in taken.items() if about.get("required")} <= given.keys()
    assert set(job) <= {"name", "uses", "with", "needs", "if", "permissions", "strategy"}


def check_caller(block: Block, folder: Path) -> None:
    """A page's workflow that uses the reusable one."""
    path = folder / "checked.yml"
    path.write_text(block.code, encoding="utf-8")
    assert not wrong(path)
    jobs = read(block.code)["jobs"].values()
    for job in jobs:
        assert job["uses"].partition("@")[0].endswith("/.github/workflows/conformance.yml")
        check_call(job)
