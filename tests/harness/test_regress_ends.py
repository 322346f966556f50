"""The regression check leaves nothing behind, however it ends; a seed repeats what is random."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import conformance
from conformance.harness.databases import Cluster
from conformance.regress import behaviours
from conformance.regress.behaviours import Played
from conformance.regress.cases import Wish
from conformance.regress.check import PARTS, Choice, Subjects
from conformance.regress.sides import side

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT = Path(conformance.__file__).parent.parent
WITHIN = 120
SUITE = "import time; print('the suite runs', flush=True); time.sleep(600)"
CHECK = f"""
import sys, time
from conformance.regress import cases
with cases._child([sys.executable, "-c", {SUITE!r}]):
    time.sleep(600)
"""
PULSE = "sleep() { command sleep 0.05; }; . scripts/environment; pulse read -r line"


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A command whose output is one pipe; that ends when the last who may write to it is gone."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_suite_dies_with_the_check() -> None:
    with started(sys.executable, "-c", CHECK) as process:
        assert first_line(process) == "the suite runs\n"
        process.kill()
        process.communicate(timeout=WITHIN)
    assert process.returncode == -signal.SIGKILL


def test_a_check_that_is_told_to_end_is_no_verdict(tmp_path: Path) -> None:
    words = ["0.8.1", "0.8.1", "--only", "catalogs", "--results", str(tmp_path)]
    with started(sys.executable, "-m", "conformance.regress", *words) as process:
        assert first_line(process).startswith("regress: ")
        process.terminate()
        said, _ = process.communicate(timeout=WITHIN)
    assert process.returncode == 3, said
    assert said.splitlines()[-1] == "regress: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_nobody_says_that_it_still_runs_when_the_script_was_killed() -> None:
    with started("bash", "-c", PULSE) as process:
        assert first_line(process) == "  … still at it after 10 s\n"
        process.kill()
        process.wait(WITHIN)  # until then its id is taken
        process.communicate(timeout=WITHIN)
    assert process.returncode == -signal.SIGKILL


def test_random_histories_are_made_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, ...]] = []

    def play(*given: object) -> Played:
        chances = given[3]
        assert isinstance(chances, list)
        played.append(tuple(chances))
        return Played()

    monkeypatch.setattr(behaviours, "_played", play)
    for seed in (7, 7, 8):
        PARTS["model"](subjects(seed))
    first, second, third = played[0:2], played[2:4], played[4:6]
    assert first == second
    assert first[0] == first[1]
    assert len(set(first[0])) == 3
    assert not set(first[0]) & set(third[0])


def subjects(seed: int) -> Subjects:
    choice = Choice("0.8.1", "0.8.1", ("model",), Wish(seed=seed), histories=3)
    one = side("0.8.1")
    return Subjects(one, one, Cluster("postgresql://127.0.0.1/unused"), choice, print)
