"""`--list` and `--explain`: what pytest found is shown, and nothing is started."""

from __future__ import annotations

import io
import shutil
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import pytest
from rich.console import Console

from conformance.harness.listing import entries, explanation, list_drawing
from conformance.harness.selection import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from conformance.harness.deviations import Deviation

_WIDE: Final = 10_000  # columns, where no terminal limits them: a line of a list is one line
_PROMISE: Final = 60  # columns of a promise in a terminal


def one_process(config: pytest.Config) -> None:
    """Let pytest-xdist start nothing, whatever the command line says."""
    for name, value in (("numprocesses", None), ("dist", "no"), ("tx", [])):
        if hasattr(config.option, name):
            setattr(config.option, name, value)


class Lister:
    """In place of the conductor, where nothing is to be run."""

    def __init__(self, config: pytest.Config, known: Sequence[Deviation]) -> None:
        self.config = config
        self.known = known
        self.broken: list[str] = []
        self.code = 0
        # pytest's own lines would stand between those of the list.
        if config.pluginmanager.has_plugin("terminalreporter"):
            config.pluginmanager.unregister(name="terminalreporter")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be read."""
        if report.failed:
            self.broken.append(str(report.longrepr))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Show what was found, in place of running it."""
        listed = entries(session.items)
        wanted = self.config.getoption("--explain")
        chosen = [entry for entry in listed if fnmatchcase(entry.id, wanted or "*")]
        if self.broken:
            self._complain("\n".join(self.broken))
        elif not chosen:
            self._complain(
                missing(wanted, [one.id for one in listed]) if wanted else "nothing matches"
            )
        elif wanted:
            for entry in chosen:
                _print(explanation(entry, [one for one in self.known if one.case == entry.id]))
        elif sys.stdout.isatty():
            _print(list_drawing(chosen, _PROMISE))
        else:
            _print(list_drawing(chosen), _WIDE)
        return True

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Say why the suite refuses, or that somebody has had enough."""
        self._complain(str(excinfo.value) or "interrupted")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Say what is wrong with the suite itself."""
        self._complain(str(excrepr))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Nothing was run, and nothing had to be."""
        session.exitstatus = self.code

    def _complain(self, words: str) -> None:
        self.code = 2
        sys.stderr.write(words + "\n")


def _print(drawing: RenderableType, width: int | None = None) -> None:
    terminal = sys.stdout.isatty()
    text = io.StringIO()
    columns = width or shutil.get_terminal_size().columns
    Console(file=text, highlight=False, width=columns, force_terminal=terminal).print(drawing)
    # rich fills lines up with spaces, which would disturb whoever copies or compares.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
