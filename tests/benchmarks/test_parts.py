"""Each part measures what it says, with very little of it; no figure is asserted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks import page, plots, soak
from benchmarks.__main__ import main
from benchmarks.bed import make_bed
from benchmarks.book import Book
from benchmarks.plan import PARTS, Size
from benchmarks.subjects import (
    DENO,
    DENO_TUNED,
    PYTHON,
    PYTHON_SYNC,
    PYTHON_TUNED,
    SubjectFailed,
    prepare_deno,
)
from benchmarks.workloads import ONE_STEP, SIX_STEPS
from pgflow_ref.install import wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bed import Bed

TINY = Size(
    rounds=1,
    share=0.004,
    workloads=(ONE_STEP, SIX_STEPS),
    subjects=(PYTHON, PYTHON_TUNED, PYTHON_SYNC, DENO, DENO_TUNED),
    latency_runs=2,
    strategies=("notify", "long_poll"),
    starts=5,
    idle=0.1,
    tasks=100,
    histories=(0, 50),
    workers=(1, 2),
)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    prepare_deno()
    with make_bed(wanted("0.5.0")) as bed:
        yield bed


def test_the_parts_and_what_is_made_of_them(bed: Bed, tmp_path: Path) -> None:
    measured = Book({"date": "2026-01-01", "core": "0.5.0"})
    for name, part in PARTS.items():
        before = len(measured.figures)
        said = list(part(bed, measured, TINY))
        assert said, name
        assert len(measured.figures) > before, name
    assert all(math.isfinite(value) for value in measured.medians().values())
    drawn = plots.draw(measured, tmp_path / "pictures")
    assert {path.stem for path in drawn} == {"throughput", "latency", "history", "workers"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    text = page.write(measured)
    for part_of_page in ("| the ceiling, one connection |", "| notify |", "| start_flows |"):
        assert part_of_page in text
    results = tmp_path / "results.json"
    results.write_text(measured.to_json(), encoding="utf-8")
    assert main(["--read", str(results), "--out", str(tmp_path / "again")]) in {0, 1}
    assert (tmp_path / "again/results.json").read_text(encoding="utf-8") == measured.to_json()


def test_a_filled_database_knows_that_tasks_are_completed(bed: Bed) -> None:
    with bed.database(replace(SIX_STEPS, runs=20)) as url, psycopg.connect(url) as connection:
        known = (
            "SELECT most_common_vals::text::text[] FROM pg_stats"
            " WHERE (schemaname, tablename, attname) = ('pgflow', 'step_tasks', 'status')"
        )
        row = connection.execute(known).fetchone()
        assert row is not None
        assert set(row[0]) == {"queued", "completed"}
        left = "SELECT count(*) FROM pgflow.runs WHERE status = 'started'"
        assert connection.execute(left).fetchone() == (20,)
        assert connection.execute("SELECT count(*) FROM pgflow.workers").fetchone() == (0,)


def test_a_worker_that_ends_is_told(bed: Bed) -> None:
    subject = PYTHON.told(max_concurrency=0)
    with (
        bed.database(ONE_STEP) as url,
        pytest.raises(SubjectFailed, match="max_concurrency is between 1"),
        subject.at_work(url, ONE_STEP) as worker,
    ):
        worker.until(lambda: False, within=20.0)


def test_a_soak_looks_again_and_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_SAMPLE", 0.5)
    samples = list(soak.of_worker(bed, minutes=2.5 / 60))
    assert len(samples) >= 2
    assert samples[-1].done > 0
    assert samples[-1].connections >= 3
