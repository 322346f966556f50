"""How far a run is, for whoever watches it: a display that is drawn anew, or a line a result.

In a terminal: how much is done and how it went, what runs now, how long it may still take, and each
failure with its promise when it happens. Elsewhere (a file, CI) each result is a line.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from conformance.harness.records import BAD, Case, Outcome, printable
from conformance.harness.run import STYLES, SYMBOLS, WORDS
from pgflow_ref.drawings import took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest
    from rich.console import RenderableType

_SHOWN: Final = 6  # of those that run now
_BAR: Final = 30
_PER_SECOND: Final = 4
_ENOUGH: Final = 5  # results from which a guess can be made


class Progress(Protocol):
    """Somebody who is told how a run goes."""

    def say(self, text: str) -> None:
        """Something is done that is no case."""

    def expect(self, count: int) -> None:
        """So many tests there will be."""

    def begin(self, name: str) -> None:
        """A test begins."""

    def finish(self, name: str) -> None:
        """A test is over."""

    def add(self, case: Case) -> None:
        """A case has come to a result."""

    def close(self) -> None:
        """Nothing more will come; again and again does no harm."""


class Lines:
    """A line for each result.

    Args:
        write: writes a line.
        quiet: whether results are somebody else's to tell.
        cores: whether a line has to say on which core it was.
    """

    def __init__(
        self, write: Callable[[str], None], *, quiet: bool = False, cores: bool = False
    ) -> None:
        self._write = write
        self._quiet = quiet
        self._cores = cores
        self._expected = 0
        self._count = 0

    def say(self, text: str) -> None:
        """Write it."""
        self._write(f"conformance: {text} …")

    def expect(self, count: int) -> None:
        """Count to this."""
        self._expected = max(self._expected, count)

    def begin(self, name: str) -> None:
        """Nothing: it will have a line when it is over."""

    def finish(self, name: str) -> None:
        """Nothing either."""

    def add(self, case: Case) -> None:
        """Write its line."""
        self._count += 1
        if not self._quiet:
            count = f"{self._count:3}/{max(self._expected, self._count)}"
            self._write(f"{count} {result_line(case, cores=self._cores)}")

    def close(self) -> None:
        """Nothing is kept."""


def is_watched(config: pytest.Config) -> bool:
    """Whether a display makes sense: a terminal in which nobody else writes during the run."""
    asked = config.getoption
    return (
        os.isatty(sys.stdout.fileno())
        and os.environ.get("TERM") != "dumb"
        and config.get_verbosity() == 0
        and asked("capture") != "no"
        and not asked("usepdb")
        and not asked("--attach")
    )


class Display:
    """A few lines at the end of a terminal, drawn anew several times a second.

    Args:
        descriptor: the terminal, as a file descriptor of this display alone.
        clock: the time in seconds.
        cores: whether a line has to say on which core it was.
    """

    def __init__(
        self,
        descriptor: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        cores: bool = False,
    ) -> None:
        self._cores = cores
        self._file: TextIO = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._file, force_terminal=True, highlight=False)
        self._clock = clock
        self._began = clock()
        self._tests_began: float | None = None
        self._expected = 0
        self._over = 0
        self._running: dict[str, None] = {}
        self._counts: Counter[Outcome] = Counter()
        self._live = Live(
            console=self._console,
            get_renderable=self._drawing,
            refresh_per_second=_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def say(self, text: str) -> None:
        """Write a line: the display comes with the first test, pytest's own lines before it."""
        self._console.print(f"conformance: {text} …")

    def expect(self, count: int) -> None:
        """Measure against this."""
        self._expected = max(self._expected, count)

    def begin(self, name: str) -> None:
        """Show it among those that run now."""
        self._live.start()
        if self._tests_began is None:
            self._tests_began = self._clock()
        self._running[name] = None

    def finish(self, name: str) -> None:
        """Take it away again."""
        if name in self._running:
            del self._running[name]
            self._over += 1

    def add(self, case: Case) -> None:
        """Count it; a failure is told at once, and stays above the display."""
        self._counts[case.outcome] += 1
        if case.outcome in BAD:
            self._console.print(failure(case, cores=self._cores))

    def close(self) -> None:
        """Take the display away, and leave the terminal as it was."""
        if not self._file.closed:
            self._live.stop()
            self._file.close()

    def _drawing(self) -> RenderableType:
        # The drawing is made in a thread of its own, while tests begin and end.
        now = self._clock()
        since = now - self._tests_began if self._tests_began is not None else 0.0
        return drawing(
            self._counts.copy(),
            (self._over, self._expected),
            list(self._running),
            (now - self._began, left(self._over, self._expected, since)),
        )


def left(over: int, expected: int, seconds: float) -> float | None:
    """How many seconds the rest may take, or None where that cannot be guessed yet.

    Example:
        >>> left(10, 40, 5.0), left(1, 40, 5.0)
        (15.0, None)
    """
    if over < _ENOUGH or expected < over:
        return None
    return seconds / over * (expected - over)


def drawing(
    counts: Counter[Outcome],
    done: tuple[int, int],
    running: list[str],
    times: tuple[float, float | None],
) -> RenderableType:
    """The display.

    Args:
        counts: how often each outcome came.
        done: how many tests are over, of how many.
        running: what runs now.
        times: the seconds since the start, and what may be left, if that is known.
    """
    over, expected = done
    line = Table.grid(padding=(0, 2, 0, 0))
    numbers = Text(f"{over}/{expected}")
    for outcome, count in counts.items():
        numbers.append(f"  {SYMBOLS[outcome]} {count}", style=STYLES[outcome])
    elapsed, rest = times
    clock = Text(_whole(elapsed), style="dim")
    if rest is not None:
        clock.append(f", about {_whole(rest)} left")
    line.add_row(ProgressBar(total=max(expected, 1), completed=over, width=_BAR), numbers, clock)
    shown = [printable(name) for name in running[:_SHOWN]]
    more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
    now = Text("  now: " + ", ".join(shown) + more, style="dim", no_wrap=True, overflow="ellipsis")
    return Group(line, now) if running else Group(line)


def failure(case: Case, *, cores: bool = False) -> RenderableType:
    """A failure when it happens: which promise is broken, and how."""
    title = Text.assemble(
        (f"{SYMBOLS[case.outcome]} ", STYLES[case.outcome]), _who(case, cores=cores)
    )
    title.append(f"  {WORDS[case.outcome]}", style=STYLES[case.outcome])
    parts = [title, Text(f"    {printable(case.promise)}")]
    parts += [Text(f"    - {printable(one)}", style="red") for one in case.problems[:1]]
    return Group(*parts)


def result_line(case: Case, *, cores: bool = False) -> str:
    """A result in a line."""
    said = f"  {case.note}" if case.outcome == "passed" and case.note else ""
    said = said if case.outcome == "passed" else f"  {WORDS[case.outcome]}"
    who = " + ".join(case.workers) or f"core {case.core}"
    name = _name(case, cores=cores)
    return f"{SYMBOLS[case.outcome]} {name:<30} {who:<16} {case.seconds:5.1f} s{said}"


def _name(case: Case, *, cores: bool) -> str:
    return f"{case.id} on {case.core}" if cores and case.core and case.workers else case.id


def _who(case: Case, *, cores: bool) -> str:
    names: Iterable[str] = case.workers or (f"core {case.core}",)
    return printable(f"{_name(case, cores=cores)}  {' + '.join(names)}")


def _whole(seconds: float) -> str:
    return took(timedelta(seconds=round(seconds))).replace(".0 s", " s")
