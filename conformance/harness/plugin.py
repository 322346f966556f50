"""The part of the suite that talks to pytest: one server, one report, however many processes."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import time
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

from conformance.harness import deviations, outputs, records
from conformance.harness.adapters import AdapterError
from conformance.harness.cases import FIXTURES
from conformance.harness.deviations import DeviationsError
from conformance.harness.deviations_update import rewritten, update, write
from conformance.harness.progress import Display, Lines, Progress, is_watched
from conformance.harness.run import Run
from conformance.harness.selection import MARK as REFUSED
from conformance.harness.selection import refuse
from conformance.harness.session import Choice, PatchError, Session, open_session
from conformance.harness.summary import print_summary
from pgflow_ref.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from conformance.harness.hosts import Host
    from conformance.harness.trial import Trial

_INPUT: Final = "conformance-session"
_SAID: Final = "conformance_said"
_SAYING: Final = pytest.StashKey[dict[str, Any]]()


class Conclude(Protocol):
    """Ends a test with what became of its trial; the fixture `conclude`."""

    def __call__(self, trial: Trial, more: Sequence[records.Record] = ()) -> None:
        """Put it into the report, with what else was found, and pass, skip or fail."""


class Carrier:
    """Lives in every process of a run: carries what a case has to say to the conductor."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put it on the test's report, which pytest-xdist brings to the process that conducts."""
        report = yield
        setattr(report, _SAID, item.stash.get(_SAYING, None))
        return report


def carry(
    item: pytest.Item,
    case: records.Case,
    hellos: Sequence[records.Worker],
    more: Sequence[records.Record] = (),
) -> None:
    """Say what became of a case, how the workers introduced themselves, and what else was found."""
    item.stash[_SAYING] = {
        "case": records.to_line(case),
        "workers": [{**asdict(one), "capabilities": [*one.capabilities]} for one in hellos],
        "more": [records.to_line(one) for one in more],
    }


def _said(report: pytest.TestReport) -> dict[str, Any] | None:
    """What the case has said, once it has been called."""
    return getattr(report, _SAID, None) if report.when == "call" else None


class Conductor:
    """Lives in the process that people started, and in no other.

    Opens the session when the first case is about to run, gathers the records of all cases, and
    writes the report.
    """

    def __init__(self, config: pytest.Config, names: list[str], folder: Path) -> None:
        self.config = config
        self.names = names
        self.folder = folder
        chosen = config.getoption("--seed")
        self.seed: int = int(time.time()) if chosen is None else chosen
        self.began = time.monotonic()
        self.session: Session | None = None
        self.suite: records.Suite | None = None
        self.cases: list[records.Case] = []
        self.found: list[records.Record] = []
        self.hellos: dict[str, records.Worker] = {}
        self.refused: str | None = None
        self.said_of_deviations: list[str] = []
        self._server: Host | None = None
        several = len(config.getoption("--core") or ()) > 1
        self.progress: Progress = (
            Display(os.dup(sys.stdout.fileno()), cores=several)
            if is_watched(config)
            else Lines(self._print, quiet=config.get_verbosity() != 0, cores=several)
        )

    def open(self) -> Session:
        """The session; it is opened at the first call."""
        if self.session is None:
            try:
                choice = Choice(
                    tuple(self.names),
                    self.config.getoption("--patience"),
                    tuple(self.config.getoption("--core") or ()),
                    self.config.getoption("--core-patch"),
                    self.seed,
                    self.config.getoption("--quick"),
                    tuple(self.config.getoption("--attach") or ()),
                    self.config.getoption("--database"),
                    self.config.getoption("--in-place"),
                    self.config.getoption("--pgmq"),
                    self.config.getoption("--role"),
                )
                self.session, self._server = open_session(choice, self.progress.say)
                self.suite = self.session.suite()
                self.folder.mkdir(parents=True, exist_ok=True)
                self._stream().write_text(records.to_line(self.suite) + "\n", encoding="utf-8")
            except (AdapterError, PgflowError, PatchError, OSError) as error:
                refuse(self.config, error)
        return self.session

    def pytest_report_header(self) -> str:
        """Say what repeats whatever was random."""
        return f"conformance: seed {self.seed}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process of a parallel run (pytest-xdist) about the session."""
        node.workerinput[_INPUT] = self.open().dump()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Say why a process of a parallel run refuses to go on."""
        why = getattr(node, "workeroutput", {}).get(REFUSED)
        if why is not None and self.refused is None:
            self.refused = why
            refuse(self.config, why)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn how many cases there are."""
        self.progress.expect(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The same in a parallel run, where every process collects them all."""
        self.progress.expect(len(ids))

    def pytest_sessionstart(self) -> None:
        """Keep pytest's own dots out of a display."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and isinstance(self.progress, Display):
            reporter.showfspath = False

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins, in whatever process."""
        self.progress.begin(_short(nodeid))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """It is over."""
        self.progress.finish(_short(nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, str] | None:
        """Take pytest's dots away where a line of ours says more."""
        if _said(report) is None or config.get_verbosity() != 0:
            return None
        expected_failure = hasattr(report, "wasxfail") and report.outcome == "skipped"
        return ("xfailed" if expected_failure else report.outcome), "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a case has to say, wherever it ran, as soon as it is over."""
        said = _said(report)
        if said is not None:
            case = records.from_line(said["case"])
            assert isinstance(case, records.Case)
            workers = [records.worker(one) for one in said["workers"]]
            self._add(case, workers, list(map(records.from_line, said["more"])))
        elif report.outcome == "failed" and self.session is not None:
            self._add(_broken(report), [])

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report; nothing shown, or a wrong worker not caught, is no run that passed."""
        self.progress.close()
        exitstatus = session.exitstatus = exit_code(exitstatus)
        if self.suite is None or self.refused is not None:
            return
        shown = any(case.outcome in ("passed", "deviation") for case in self.cases)
        if exitstatus == pytest.ExitCode.OK and (not shown or Run.of(self.found).escaped):
            session.exitstatus = exitstatus = pytest.ExitCode.TESTS_FAILED
        workers = tuple(self.hellos.get(one.name, one) for one in self.suite.workers)
        end = records.End(round(time.monotonic() - self.began, 3), int(exitstatus))
        suite = replace(self.suite, workers=workers)
        lines: list[records.Record] = [suite, *self.found, end]
        text = "".join(records.to_line(line) + "\n" for line in lines)
        outputs.replace(self._stream(), text)
        outputs.write(Run.of(lines), self.folder)
        if self.config.getoption("--update-deviations"):
            self._update_deviations(exitstatus)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary below pytest's own."""
        if self.suite is None or self.refused is not None:
            return
        terminalreporter.section("conformance")
        text = io.StringIO()
        print_summary(
            records.read_records(self._stream()),
            text,
            shutil.get_terminal_size().columns,
            color=terminalreporter.hasmarkup,
            reports=[self.folder / "report.html", self._stream()],
        )
        terminalreporter.write(text.getvalue())
        for line in self.said_of_deviations:
            terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Be rid of the server, whatever happened; where that is not to be had, say so and fail."""
        self.progress.close()
        if self._server is None:
            return
        try:
            self._server.stop()
        except PgflowError as error:
            raise pytest.UsageError(str(error)) from None

    def _update_deviations(self, code: int) -> None:
        """Bring the file up to what was found, unless the run itself went wrong."""
        assert self.session is not None
        path = deviations_path(self.config)
        if code not in (0, 1) or any(case.outcome == "error" for case in self.cases):
            self.said_of_deviations = [f"{path} is as it was: the run did not go as a run should"]
            return
        versions = {one.name: one.hello.version for one in self.session.adapters}
        today = datetime.now(timezone.utc).date().isoformat()
        try:
            text = path.read_text(encoding="utf-8")
            change = update(deviations.parse(text, str(path)), self.cases, versions, today)
            if change.added or change.removed:
                write(path, rewritten(text, str(path), change))
            self.said_of_deviations = [change.sentence(path), *change.by_hand]
        except (DeviationsError, OSError) as error:
            self.said_of_deviations = [f"the deviations are as they were: {error}"]

    def _stream(self) -> Path:
        return self.folder / outputs.STREAM

    def _add(
        self,
        case: records.Case,
        workers: Sequence[records.Worker],
        more: Sequence[records.Record] = (),
    ) -> None:
        self.cases.append(case)
        self.found += [case, *more]
        with self._stream().open("a", encoding="utf-8") as stream:
            stream.writelines(records.to_line(one) + "\n" for one in (case, *more))
        for worker in workers:
            self.hellos.setdefault(worker.name, worker)
        self.progress.add(case)

    def _print(self, line: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        # Without pytest-xdist this is called within a test's own setup, which pytest captures.
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()


def _short(nodeid: str) -> str:
    """A test's name for a line with several: what stands in its brackets, if there are any.

    Example:
        >>> _short("conformance/worker/test_worker.py::test_alone[python-retry.once-0.5.0]")
        'python-retry.once-0.5.0'
    """
    name = nodeid.rpartition("::")[2]
    return name.partition("[")[2].removesuffix("]") or name


def exit_code(of_pytest: int) -> int:
    """0 as expected, 1 unexpected results, 2 it could not run, whatever pytest makes of that.

    Example:
        >>> [exit_code(code) for code in (0, 1, 2, 3, 4, 5)]
        [0, 1, 2, 2, 2, 2]
    """
    return min(int(of_pytest), 2)


def deviations_path(config: pytest.Config) -> Path:
    """The file of known deviations."""
    chosen = config.getoption("--deviations")
    return Path(config.rootpath, chosen) if chosen else FIXTURES / "deviations.toml"


def session_of(config: pytest.Config) -> Session:
    """The session, in any process of a run."""
    handed = getattr(config, "workerinput", None)
    if handed is not None:
        return Session.load(handed[_INPUT])
    conductor = config.pluginmanager.get_plugin("conformance-conductor")
    assert isinstance(conductor, Conductor)
    return conductor.open()


def _broken(report: pytest.TestReport) -> records.Case:
    """A case that never came to a verdict: a mistake of the suite, most likely."""
    name = report.nodeid.rpartition("::")[2]
    return records.Case(
        id=name,
        group="suite",
        promise="The suite itself can run this case.",
        reference=report.nodeid,
        core="",
        workers=(),
        outcome="error",
        seconds=round(report.duration, 3),
        problems=(str(report.longrepr)[-2000:],),
        repeat=f"./scripts/conformance '{report.nodeid}'",
    )
