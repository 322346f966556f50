"""Each part measures what it says, with very little of it; no figure is asserted."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks import ceiling, dags, growth, latency, page, plots, profile, soak, throughput
from benchmarks.__main__ import main
from benchmarks.bed import make_bed
from benchmarks.book import Book
from benchmarks.plan import PARTS
from benchmarks.sizes import Size
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
from conformance.harness.pooler import PoolerError, program
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
    waiting=(10, 30),
    first=10,
    dags=(4, 10),
    workers=(1, 2),
    tried=((PYTHON, ONE_STEP),),
    soak=2.5 / 60,
)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    prepare_deno()
    with make_bed(wanted("0.5.0")) as bed:
        yield bed


def test_the_parts_and_what_is_made_of_them(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "_SAMPLE", 0.5)
    measured = Book({"date": "2026-01-01", "core": "0.5.0", "cores": "2"})
    for name, part in PARTS.items():
        before = len(measured.figures)
        said = list(part(bed, measured, TINY))
        assert said, name
        assert len(measured.figures) > before, name
    assert all(math.isfinite(value) for value in measured.medians().values())
    drawn = plots.draw(measured, tmp_path / "pictures")
    pictures = {"throughput", "latency", "history", "steps", "workers", "soak"}
    assert {path.stem for path in drawn} == pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    text = page.write(measured)
    for part_of_page in (
        "| the ceiling, one connection |",
        "| notify |",
        "| start_flows |",
        "the process, with 30 waiting runs |",
        "| run: 10 |",
        "| connections gained |",
        "cores at work |",
        "| python, defaults, one step: uvloop / as it is |",
    ):
        assert part_of_page in text
    results = tmp_path / "results.json"
    results.write_text(measured.to_json(), encoding="utf-8")
    assert main(["--read", str(results), "--out", str(tmp_path / "again")]) in {0, 1}
    assert (tmp_path / "again/results.json").read_text(encoding="utf-8") == measured.to_json()


def test_what_a_quick_run_leaves_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--only", "cores", "--out", str(tmp_path)]) == 0
    assert "cores: only a full run measures this" in capsys.readouterr().out


def test_a_flame_graph_shows_the_worker_and_no_path(bed: Bed, tmp_path: Path) -> None:
    profile.flame_graph(bed, tmp_path / "flame.svg")
    drawn = (tmp_path / "flame.svg").read_text(encoding="utf-8")
    assert "Worker._work (pgflow_ref/worker/worker.py" in drawn
    assert str(tmp_path) not in drawn


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
    assert len(samples) >= 4
    for sample in samples:
        assert sample.done > 0
        assert sample.connections >= 3
        assert sample.tasks >= 2  # the worker's own, and the handler that counts


def test_what_is_gained_is_counted_from_when_the_worker_is_warm() -> None:
    samples = [
        soak.Sample(number / 4, 40.0 + (number == 5), 3, 4 + (number > 1), 6, 2.0, 750)
        for number in range(6)
    ]
    assert soak.verdicts(samples) == {
        "memory growth": 0.0,
        "latency growth": 0.0,
        "connections gained": 0,  # the fifth is there when it is warm
        "threads gained": 0,
        "tasks gained": 0,
    }
    leaking = [replace(sample, tasks=sample.tasks + at) for at, sample in enumerate(samples)]
    assert soak.verdicts(leaking)["tasks gained"] == 3
    with pytest.raises(ValueError, match="too few samples"):
        soak.verdicts(samples[:2])


@pytest.mark.parametrize("words", [["--soak", "0.1"], ["--only", "soak"], ["--soak", "nan"]])
def test_a_soak_that_would_say_nothing_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)


def test_without_a_pooler_workers_are_measured_at_the_server_and_it_is_said(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    measured = Book()
    said = list(PARTS["workers"](bed, measured, replace(TINY, workers=(1,))))
    assert "there is no PgBouncer" in said
    assert set(measured.figures) == {"workers: 1"}
    assert "PgBouncer" in measured.about["not measured"]


def test_workers_behind_a_pooler_do_all_of_a_queue(bed: Bed) -> None:
    try:
        program()
    except PoolerError as error:
        pytest.skip(str(error))
    # Enough for statements that were prepared to meet a connection on which they were not.
    measured = Book()
    size = replace(TINY, workers=(2,), share=0.2)
    assert "workers behind PgBouncer: 2" in list(PARTS["workers"](bed, measured, size))


def test_a_loop_of_the_ceiling_that_fails_is_told(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = replace(ONE_STEP, runs=20)
    with bed.database(workload):
        pass  # what it is copied from is made with a loop that works
    monkeypatch.setattr(ceiling, "_LOOP", "SELECT 1 / 0")
    with pytest.raises(SubjectFailed, match="the ceiling on 2: division by zero"):
        throughput.of_ceiling(bed, workload, 2)


def test_the_first_runs_are_measured_and_the_others_are_left(bed: Bed) -> None:
    workload = replace(ONE_STEP, runs=2_000)
    with bed.copy(growth.with_history(bed, workload, 0)) as url:
        measured = throughput.drain_first(url, workload, PYTHON, 10)
        with psycopg.connect(url) as connection:
            left = connection.execute("SELECT count(*) FROM pgmq.q_one_step").fetchone()
    assert measured.rate > 0
    assert left is not None
    assert 0 < left[0] <= 1_990


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 100, 1_000])
def test_layers_have_so_many_steps_which_need_two_of_the_layer_before(steps: int) -> None:
    made = dags.layers(steps)
    assert len(made) == steps
    width = sum(not needs for needs in made.values())
    assert width**2 == pytest.approx(steps, rel=0.5)
    places = {step: at // width for at, step in enumerate(made)}
    for step, needs in made.items():
        assert len(needs) == (min(2, width) if places[step] else 0)
        assert {places[need] for need in needs} <= {places[step] - 1}


def test_who_polls_is_measured_in_several_databases(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "_POLLING", ((0.0, 0.1), 2))
    monkeypatch.setattr(latency, "_WARM", 0)
    polling = PYTHON.told(signal_strategy="polling", max_poll_interval=1.0)
    told = replace(PYTHON.told(signal_strategy="notify"), name="told")
    measured = latency.side_by_side(bed, [polling, told], 3)
    assert {name: len(one.to_start) for name, one in measured.items()} == {
        polling.name: 3,
        "told": 3,
    }
