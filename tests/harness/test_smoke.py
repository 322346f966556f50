"""`smoke`: whether the harness works, told before a worker is blamed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.harness import smoke
from conformance.harness.smoke import CHECKS, Broken, Check, Ground
from tests.harness.test_suite import REPOSITORY, Place, place

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["place"]  # a fixture

MAIN = "import sys; from conformance.cli import main; sys.exit(main())"


def test_all_holds_here_and_nothing_is_left(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "smoke"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(place.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    marks = [line[0] for line in done.stdout.splitlines()[: len(CHECKS)]]
    assert marks == ["✓"] * len(CHECKS)
    assert "a worker that is right passes" in done.stdout
    assert "a worker that does nothing fails: all 1 runs are over, not within" in done.stdout
    assert list(place.path.iterdir()) == []
    place.assert_clean()


def broken(words: str) -> Callable[[Ground], str]:
    def check(_: Ground) -> str:
        raise Broken(words)

    return check


def test_what_does_not_hold_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    without_server = [
        Check(
            one.name,
            one.remedy,
            broken("it does not start") if one.name == "PostgreSQL" else one.do,
        )
        for one in CHECKS
    ]
    monkeypatch.setattr(smoke, "CHECKS", without_server)
    done = CliRunner().invoke(main, ["smoke"])
    assert done.exit_code == 2
    lines = done.output.splitlines()
    at = lines.index("✗ PostgreSQL   it does not start")
    assert lines[at + 1].strip().startswith("what to do: ")
    # What stands on it is not blamed on anything else.
    assert "✗ gates        there is no server to try it on" in lines
    assert "7 of these do not hold" in done.output


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_SPACE", 2**62)
    monkeypatch.setattr(smoke, "CHECKS", [one for one in CHECKS if one.name == "disk"])
    done = CliRunner().invoke(main, ["smoke"])
    assert done.exit_code == 2
    assert "MiB are free in" in done.output
    assert "set TMPDIR" in done.output


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_workers_that_are_not_as_they_should_be_are_told(
    outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trial:
        problems = ("so it is",)
        seconds = 0.0

    Trial.outcome = outcome  # type: ignore[attr-defined]
    monkeypatch.setattr(smoke, "_tried", lambda *_: Trial)
    name = "bad worker" if outcome == "passed" else "good worker"
    monkeypatch.setattr(smoke, "CHECKS", [one for one in CHECKS if one.name == name])
    done = CliRunner().invoke(main, ["smoke"])
    assert done.exit_code == 2
    assert f"{outcome}: so it is" in done.output
