"""The workflows of .github are right as far as that shows here, and what they run works here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from conformance.harness.records import read_records
from conformance.harness.run import Run
from pgflow_ref.profiles import known
from tests.workflows import REUSABLE, ROOT, WORKFLOWS, check_call, inputs, read, steps, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES: Final = sorted(WORKFLOWS.glob("*.yml"))
PLAIN: Final = ROOT / "conformance" / "workers" / "plain" / "plain.py"
EXPRESSION: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def workflow(path: Path) -> dict[str, Any]:
    return read(path.read_text(encoding="utf-8"))


def test_there_are_both() -> None:
    assert [path.name for path in FILES] == ["ci.yml", "conformance.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestEach:
    def test_is_what_github_takes(self, path: Path) -> None:
        assert not wrong(path)

    def test_names_versions_of_actions(self, path: Path) -> None:
        used = [step["uses"] for step in steps(workflow(path)) if "uses" in step]
        assert used
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in used), used

    def test_ends_in_time(self, path: Path) -> None:
        for job in workflow(path)["jobs"].values():
            assert "uses" in job or job["timeout-minutes"]

    def test_lets_nothing_from_outside_into_a_script(self, path: Path) -> None:
        """An expression within a script is put in as text, whatever is in it; `env` is not."""
        scripts = [step["run"] for step in steps(workflow(path)) if "run" in step]
        assert scripts
        assert not any(EXPRESSION.search(script) for script in scripts)

    def test_has_scripts_that_bash_can_read_and_that_are_there(self, path: Path) -> None:
        for step in steps(workflow(path)):
            script = step.get("run", "")
            done = subprocess.run(
                ["bash", "-n"], input=script, check=False, capture_output=True, text=True
            )
            assert not done.stderr, done.stderr
            for name in re.findall(r"(?:^|\s)(\./[\w./-]+|(?<=\. )scripts/\w+)", script):
                assert (ROOT / name).is_file(), name

    def test_needs_jobs_and_names_that_there_are(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        jobs = workflow(path)["jobs"]
        for job in jobs.values():
            needs = job.get("needs", [])
            assert set([needs] if isinstance(needs, str) else needs) <= jobs.keys()
        used = {
            name
            for one in EXPRESSION.findall(text)
            for name in re.findall(r"inputs\.([\w-]+)", one)
        }
        assert used == (set(inputs()) if path == REUSABLE else set())

    def test_asks_for_no_more_than_it_needs(self, path: Path) -> None:
        """What is called has what its caller gives, who may give less: it asks for nothing."""
        found = workflow(path)
        assert found.get("permissions") == (None if path == REUSABLE else {"contents": "read"})
        assert not any("permissions" in job for job in found["jobs"].values())


def test_the_broken_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "broken.yml"
    path.write_text(FILES[0].read_text(encoding="utf-8").replace("runs-on", "runs_on"))
    assert "runs_on" in wrong(path)


def test_all_cores_that_are_known_are_tried() -> None:
    assert json.loads(inputs()["cores"]["default"]) == list(known())


def test_this_project_calls_it_as_others_do() -> None:
    job = workflow(WORKFLOWS / "ci.yml")["jobs"]["reusable"]
    assert job["uses"] == "./.github/workflows/conformance.yml"
    check_call(job)
    assert job["with"]["command"].split()[1] == str(PLAIN.relative_to(ROOT))


def test_what_ci_needs_and_only_root_may_install_is_there_before() -> None:
    """There is a Chromium on GitHub's machines, and an engine."""
    assert "CONFORMANCE_PGBOUNCER=required" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    job = workflow(WORKFLOWS / "ci.yml")["jobs"]["everything"]
    scripts = [step.get("run", "") for step in job["steps"]]
    before = "".join(scripts[: scripts.index("./.ci/run")])
    assert re.search(r"sudo apt-get install .*\bpgbouncer\b", before)


# What it runs.


class Machine:
    """A folder like that of a job: a worker's repository, and the suite of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = folder / "page.md"
        (folder / "temp").mkdir()
        (folder / "worker").mkdir()
        shutil.copy(PLAIN, folder / "worker" / "adapter.py")
        scripts = folder / "suite" / "scripts"
        scripts.mkdir(parents=True)
        # The environment is there: the script does what that of the repository does after it.
        (scripts / "conformance").write_text(
            f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m conformance "$@"\n'
        )
        (scripts / "conformance").chmod(0o755)
        (scripts / "environment").write_text("environment() { :; }\n")
        (folder / "suite" / ".venv").mkdir()
        (folder / "suite" / ".venv" / "bin").symlink_to(Path(sys.executable).parent)

    def run(self, step: str, values: Mapping[str, str], *, fails: bool = False) -> str:
        """Run a step as GitHub does, with these values for what stands in its `env`."""
        (found,) = [one for one in steps(workflow(REUSABLE)) if one.get("name") == step]
        assert set(found.get("env", {})) == set(values)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        environ |= {
            "GITHUB_WORKSPACE": str(self.folder),
            "GITHUB_STEP_SUMMARY": str(self.page),
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
            cwd=self.folder / found.get("working-directory", ""),
            env={**environ, **values},
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) is not fails, done.stdout
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "a work space"
    folder.mkdir()
    return Machine(folder)


def test_a_worker_is_tried_on_several_cores_and_gets_one_report(machine: Machine) -> None:
    (machine.folder / "worker" / "known.toml").write_text("")
    machine.run("Make the worker ready", {"PREPARE": "cp adapter.py mine.py\ntest -f mine.py"})
    cores = ("0.5.0", "0.8.1")
    for index, core in enumerate(cores):
        machine.run(
            "Run the suite",
            {
                "COMMAND": f"'{sys.executable}' mine.py",
                "NAME": "mine",
                "CORE": core,
                "DEVIATIONS": "known.toml",
                "OPTIONS": "--case worker.success -n0",
            },
        )
        results = machine.folder / "results"
        shutil.move(results, machine.folder / "cores" / f"mine-core-{index}")
    machine.run("One report of all cores", {})
    report = machine.folder / "report"
    run = Run.of(read_records(report / "results.jsonl"))
    assert run.cores == cores
    assert run.suite is not None
    assert tuple(core.version for core in run.suite.cores) == cores
    assert [case.outcome for case in run.cases] == ["passed", "passed"]
    assert machine.page.read_text(encoding="utf-8") == (report / "summary.md").read_text()
    badge = (report / "badge.svg").read_text(encoding="utf-8")
    assert "pgflow 0.5.0 0.8.1: 2 of 2, passed" in badge


def test_a_checkout_of_something_else_is_said(machine: Machine) -> None:
    machine.run("Is it the suite", {})
    (machine.folder / "suite" / "scripts" / "conformance").unlink()
    assert "give suite-repository and suite-ref" in machine.run("Is it the suite", {}, fails=True)


def test_the_badge_is_kept_on_a_branch_of_its_own(machine: Machine, tmp_path: Path) -> None:
    _, origin = repositories(machine, tmp_path)
    badge = machine.folder / "report" / "badge.svg"

    def keep(text: str, name: str = "mine") -> list[str]:
        badge.write_text(text)
        machine.run("Keep the badge", {"NAME": name, "BRANCH": "badges"})
        return git(origin, "log", "--format=%s", "badges").split("\n")

    assert keep("<svg/>") == ["Badge of mine"]
    assert keep("<svg/>") == ["Badge of mine"]  # nothing is new
    assert keep("<svg />") == ["Badge of mine", "Badge of mine"]
    assert keep("<svg/>", "other")[0] == "Badge of other"
    assert git(origin, "ls-tree", "--name-only", "badges").split() == ["mine.svg", "other.svg"]
    assert git(origin, "show", "badges:mine.svg") == "<svg />"


def test_a_badge_that_comes_between_is_kept_as_well(machine: Machine, tmp_path: Path) -> None:
    worker, origin = repositories(machine, tmp_path)
    (machine.folder / "report" / "badge.svg").write_text("<svg/>")
    # The first push finds a branch that another job has just made.
    git(worker, *WHO, "commit", "--quiet", "--allow-empty", "--message", "Badge of other")
    git(worker, "push", "--quiet", "origin", "HEAD:refs/heads/other")
    git(worker, "reset", "--quiet", "--hard", "HEAD~1")
    hook = origin / "hooks" / "pre-receive"
    hook.write_text(
        "#!/bin/sh\n"
        "git rev-parse --quiet --verify badges >/dev/null && exit 0\n"
        "unset GIT_QUARANTINE_PATH\n"
        "git update-ref refs/heads/badges other\n"
        "exit 1\n"
    )
    hook.chmod(0o755)
    machine.run("Keep the badge", {"NAME": "mine", "BRANCH": "badges"})
    said = git(origin, "log", "--format=%s", "badges").split("\n")
    assert said[:2] == ["Badge of mine", "Badge of other"]


def repositories(machine: Machine, folder: Path) -> tuple[Path, Path]:
    """The worker's, and where it comes from; there is a folder for a report."""
    worker, origin = machine.folder / "worker", folder / "origin.git"
    git(folder, "init", "--quiet", "--bare", str(origin))
    git(worker, "init", "--quiet", "--initial-branch=main")
    git(worker, "remote", "add", "origin", str(origin))
    git(worker, "add", ".")
    git(worker, *WHO, "commit", "--quiet", "--message", "a worker")
    (machine.folder / "report").mkdir()
    return worker, origin


WHO: Final = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
