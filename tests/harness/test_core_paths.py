"""Cores from a path in the suite: how they are named and refused, and who cannot serve them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from conformance.harness import cores
from conformance.harness.cores import CoreError
from conformance.harness.databases import template_of
from conformance.harness.leavings import OURS
from conformance.harness.records import Case, Suite
from pgflow_ref.errors import InstallRefused, SourceError
from pgflow_ref.install import core_files
from tests.harness.made import FILES, NEXT, Folder, folder
from tests.harness.test_suite import place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.test_suite import Place


__all__ = ["folder", "place"]  # fixtures


def test_a_word_means_the_same_for_the_whole_run(folder: Folder) -> None:
    path = folder("next", **{NEXT: "SELECT 1;"})
    found = cores.of(path)
    assert template_of(path) == f"conformance_{found.label}"
    assert (found.version, found.like) == ("0.8.1", "0.8.1")
    assert cores.of(path) is found


def test_a_long_name_is_short_enough_for_a_database(folder: Folder) -> None:
    sql = {NEXT: "SELECT 1;"}
    names = [
        template_of(folder(name, **sql)) for name in ("candidate-of-today", "candidate-of-two")
    ]
    assert len(set(names)) == 2
    for name in names:
        assert name.startswith("conformance_candidate-o-")
        assert len(f"{OURS}12345678_{name}") <= 63


def test_what_cannot_be_in_one_run(folder: Folder) -> None:
    cores.check(["0.5.0", "0.8.1"], "1.13.0", force=False)
    with pytest.raises(CoreError, match=r"0\.8\.1 and .* are both core 0\.8\.1"):
        cores.check(["0.8.1", folder("same")], None, force=False)
    changed = folder("changed", **{FILES[3]: "SELECT 1;"})
    with pytest.raises(CoreError, match=f"{FILES[3]} in .* expected SHA-256 .*; --force"):
        cores.check([changed], None, force=False)
    cores.check([changed], None, force=True)
    with pytest.raises(InstallRefused, match=r"'9\.9\.9' is not known"):
        cores.check(["9.9.9"], None, force=False)
    with pytest.raises(SourceError, match="does not exist"):
        cores.check(["./nowhere"], None, force=False)
    with pytest.raises(InstallRefused, match="'new' is neither a version"):
        cores.check([], "new", force=False)


GROWN = """
ALTER TYPE pgflow.step_task_record ADD ATTRIBUTE extra jsonb;
"""


def test_workers_that_cannot_serve_a_core_are_not_failures(folder: Folder, place: Place) -> None:
    """What a task comes with has grown: neither the library nor the client knows what it means."""
    path = folder("grown", **{NEXT: GROWN})
    outcome = place.run_script(
        "-n0", "--worker=python", "--worker=deno", f"--core={path}", "--core=0.8.1",
        "--case=retry.backoff", "--pgmq=1.13.0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.output
    label = cores.of(path).label
    (suite,) = (one for one in outcome.records if isinstance(one, Suite))
    assert [(core.version, core.pgmq) for core in suite.cores] == [
        (label, "1.13.0"),
        ("0.8.1", "1.13.0"),
    ]
    found = {(case.workers, case.core): case for case in outcome.records if isinstance(case, Case)}
    for worker in ("python", "deno"):
        assert found[(worker,), "0.8.1"].outcome == "passed"
        refused = found[(worker,), label]
        assert refused.outcome == "unsupported"
        assert "extra" in refused.problems[0]
        assert f"--core={path} --core=0.8.1 --pgmq=1.13.0" in refused.repeat
    said = " ".join(outcome.output.split())  # a narrow terminal breaks lines between words
    assert "By core" in said
    assert "does not know extra, with which tasks come here" in said
    assert "newer than all profiles: it is judged as 0.8.1" in said


@pytest.mark.parametrize("where", ["changed", "unknown"])
def test_the_suite_refuses_before_it_begins(where: str, folder: Folder, place: Place) -> None:
    core = folder("changed", **{FILES[0]: "SELECT 1;"}) if where == "changed" else "0.9.9"
    outcome = place.run_script("-n0", f"--core={core}", "--case=retry.backoff")
    assert outcome.code == 2
    said = "is not the file of @pgflow/core" if where == "changed" else "'0.9.9' is not known"
    assert f"the suite cannot run: {'' if where == 'changed' else 'pgflow core '}" in outcome.output
    assert said in outcome.output


def test_five_cores_however_they_are_given_in_one_run_and_one_report(
    place: Place, tmp_path: Path
) -> None:
    directory = tmp_path / "early"
    directory.mkdir()
    for file in core_files("0.5.3"):
        (directory / file.name).write_text(file.text)
    single = tmp_path / "one.sql"
    single.write_text("\n".join(file.text for file in core_files("0.7.3")))
    archive = tmp_path / "pgflow-core-0.8.1.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        for file in core_files("0.8.1"):
            member = tarfile.TarInfo(f"package/dist/supabase/migrations/{file.name}")
            member.size = len(file.text.encode())
            opened.addfile(member, io.BytesIO(file.text.encode()))
    words = ["0.5.0", str(directory), "0.6.1", str(single), str(archive)]
    labels = ["0.5.0", "0.5.3", "0.6.1", cores.of(str(single)).label, "0.8.1"]
    assert labels[3].startswith("one-")

    outcome = place.run_script(
        "-n0", "--worker=plain", *(f"--core={word}" for word in words),
        "--case=worker.success", "--case=deprecation.idle",
    )  # fmt: skip
    assert outcome.code == 0, outcome.output
    (suite,) = (one for one in outcome.records if isinstance(one, Suite))
    assert [core.version for core in suite.cores] == labels
    found = [(one.id, one.core) for one in outcome.records if isinstance(one, Case)]
    late = [("deprecation.idle", one) for one in labels[2:]]  # judged as what they are like
    assert sorted(found) == sorted([*late, *(("worker.success", one) for one in labels)])
    _, _, matrix = outcome.output.partition("By core")
    rows = [row for line in matrix.splitlines() if (row := line.split()) and row[0] in labels]
    assert rows == [[one, "1" if one in labels[:2] else "2"] for one in labels]


def test_the_control_group_is_left_out_where_its_cores_are_not_there(place: Place) -> None:
    outcome = place.run_script(
        "-n0", "-rs", "--core=0.6.1", "--worker=plain",
        "conformance/control/test_control.py::test_control[drops-falsy-output]",
        "conformance/worker/test_worker.py::test_alone[plain-worker.success-0.6.1]",
    )  # fmt: skip
    assert outcome.code == 0, outcome.output
    assert "1 passed, 1 skipped" in outcome.output
    assert "on its usual cores; there is no 0.5.0 here" in " ".join(outcome.output.split())


@pytest.mark.parametrize(
    ("version", "core", "reason"),
    [
        ("0.5.0", "0.8.1", "calls pgflow.read_with_poll, which this core does not have"),
        ("0.8.1", "0.6.1", "wants task_index, without which tasks come here"),
    ],
)
def test_the_original_worker_is_not_tried_where_it_cannot_work(
    version: str, core: str, reason: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is known before its module is fetched, which no test does."""
    monkeypatch.setenv("PGFLOW_EDGE_WORKER", f"jsr:@pgflow/edge-worker@{version}")
    outcome = place.run_script("-n0", "--worker=deno", f"--core={core}", "--case=retry.backoff")
    (case,) = (one for one in outcome.records if isinstance(one, Case))
    assert (case.outcome, outcome.code) == ("unsupported", 1)  # nothing at all was shown
    assert f"@pgflow/edge-worker {version} {reason}" in case.problems[0]
