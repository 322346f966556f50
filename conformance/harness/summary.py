"""What a stream of records comes to, and how a terminal says so.

`Run` puts the records of one stream in their places and gives the verdict; the report in HTML uses
it too. The rest writes the summary: what ran, the counts, who did how much of the work, the known
deviations quietly, the failures loudly, and last the verdict. It is readable at 80 columns, without
colour, and where the terminal knows only ASCII.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.harness.records import BAD, Case, Outcome, Record, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from rich.console import RenderableType

    from conformance.harness.records import End

WORDS: Final[dict[Outcome, str]] = {
    "passed": "passed",
    "failed": "failed",
    "deviation": "known deviation",
    "unexpected_pass": "unexpected pass",
    "unsupported": "unsupported",
    "error": "could not run",
}
SYMBOLS: Final[dict[Outcome, str]] = {
    "passed": "✓",
    "failed": "✗",
    "deviation": "≈",
    "unexpected_pass": "↑",
    "unsupported": "○",
    "error": "!",
}

_BAR: Final = 24  # cells of a share bar
_LOG_LINES: Final = 3
_FILLS: Final = (("█", "blue"), ("▒", "yellow"), ("▓", "magenta"), ("░", "cyan"))
# For terminals that cannot show more; every symbol stands next to a word that says the same.
_ASCII: Final = str.maketrans("✓✗≈↑○·█▒▓░", "+x~^o.#=%:")

# Worker logs are other people's bytes: colour codes and bells must not reach a terminal, and a lone
# surrogate or a NUL must not reach an HTML file.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to: one word for the eye and one sentence for the mind."""

    level: Literal["passed", "failed", "unproven"]
    title: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Run:
    """The records of one stream, put in their places."""

    suite: Suite | None
    cases: tuple[Case, ...]
    end: End | None

    @classmethod
    def of(cls, records: Iterable[Record]) -> Run:
        """Sort records; where two streams were joined, the run has ended when the last one has."""
        suite: Suite | None = None
        end: End | None = None
        cases: list[Case] = []
        for record in records:
            if isinstance(record, Suite):
                suite, end = suite or record, None
            elif isinstance(record, Case):
                cases.append(record)
            else:
                end = record
        return cls(suite, tuple(cases), end)

    @property
    def counts(self) -> Counter[Outcome]:
        """How often each outcome came."""
        return Counter(case.outcome for case in self.cases)

    @property
    def failures(self) -> tuple[Case, ...]:
        """The results that somebody must look at, in the order in which they came."""
        return tuple(case for case in self.cases if case.outcome in BAD)

    @property
    def verdict(self) -> Verdict:
        """The verdict, which is never "passed" for a run that broke off or proved nothing."""
        counts = self.counts
        if self.failures:
            return Verdict("failed", "Failed", _failure_sentence(counts))
        if self.end is None:
            return Verdict("unproven", "Incomplete", "The run broke off before its end.")
        if self.end.exit:
            sentence = f"No case failed, but the suite itself ended with exit code {self.end.exit}."
            return Verdict("failed", "Failed", sentence)
        if not counts["passed"]:
            return Verdict("unproven", "Nothing proved", "Not one case passed.")
        return Verdict("passed", "Passed", _success_sentence(counts))


def _failure_sentence(counts: Counter[Outcome]) -> str:
    parts = (
        (counts["failed"], "result breaks a promise", "results break a promise"),
        (counts["error"], "could not run", "could not run"),
        (counts["unexpected_pass"], "known deviation passed", "known deviations passed"),
    )
    said = [f"{n:,} {one if n == 1 else many}" for n, one, many in parts if n]
    return f"{', '.join(said)}; {counts['passed']:,} of {counts.total():,} passed."


def _success_sentence(counts: Counter[Outcome]) -> str:
    known, unsupported = counts["deviation"], counts["unsupported"]
    if not known and not unsupported:
        return f"All {counts.total():,} results keep their promise."
    rest = [f"{known:,} known deviation{'s' * (known != 1)}"] if known else []
    rest += [f"{unsupported:,} unsupported"] if unsupported else []
    kept = f"{counts['passed']:,} of {counts.total():,} results keep their promise"
    return f"{kept}; {' and '.join(rest)}."


def printable(text: str) -> str:
    """Take out of a text what a terminal would obey or a file could not hold."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return _SURROGATES.sub("\ufffd", _UNPRINTABLE.sub("\ufffd", text))


def render(records: Iterable[Record], reports: Sequence[object] = ()) -> Group:
    """Make the summary.

    Args:
        records: the stream.
        reports: paths of the files with more, named in the last line.
    """
    run = Run.of(records)
    glyphs = _glyphs(run)
    parts: list[RenderableType] = [Text()]
    for title, body in (
        ("What ran", _environment(run.suite)),
        ("Results", _table(run)),
        ("Who did how much of the work", _shares(run, glyphs)),
        ("Known deviations", _deviations(run)),
    ):
        if body is not None:
            parts += [Text(title, style="bold"), Padding(body, (0, 0, 1, 2))]
    for number, case in enumerate(run.failures, start=1):
        parts += _failure(case, number, len(run.failures))
    return Group(*parts, _last_line(run, reports))


def print_summary(
    records: Iterable[Record],
    file: TextIO,
    width: int | None = None,
    color: bool = False,
    reports: Sequence[object] = (),
) -> None:
    """Write the summary to a file or terminal; None takes the terminal's own width."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        legacy_windows=False,
    )
    console.print(render(records, reports), crop=False)
    text = buffer.getvalue()
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    # rich fills lines up with spaces, which would only disturb a diff or a copy.
    file.write(re.sub(r"[ ]+$", "", text, flags=re.MULTILINE))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _environment(suite: Suite | None) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if suite is None:
        grid.add_row("", "the stream does not say: it has no suite record")
        return grid
    workers = [f"{w.name} {w.version} ({w.language})" for w in suite.workers]
    for label, values in (
        ("suite", [f"pgflow-ref {suite.version}, {suite.started_at}"]),
        ("database", [f"core {suite.core}, pgmq {suite.pgmq}, PostgreSQL {suite.postgresql}"]),
        ("host", [f"Python {suite.python}, {suite.platform}"]),
        ("workers", workers),
        ("replaced", suite.replaced),
        ("stand-ins", suite.stand_ins),
    ):
        if values:
            grid.add_row(label, _text("\n".join(values)))
    return grid


def _table(run: Run) -> Table:
    columns: tuple[tuple[str, str, frozenset[Outcome]], ...] = (
        ("passed", "green", frozenset({"passed"})),
        ("deviation", "yellow", frozenset({"deviation"})),
        ("unsupported", "dim", frozenset({"unsupported"})),
        ("failed", "bold red", BAD),
    )
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("group", overflow="fold")
    table.add_column("workers", overflow="fold")
    for title, _, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    cells: dict[tuple[str, str], Counter[Outcome]] = {}
    groups = {case.group: None for case in run.cases}
    for case in run.cases:
        cells.setdefault((case.group, fleet(case.workers)), Counter())[case.outcome] += 1
    for group in groups:
        shown = group
        for (_, workers), counts in ((k, v) for k, v in cells.items() if k[0] == group):
            numbers = [_number(sum(counts[o] for o in which), style) for _, style, which in columns]
            table.add_row(_text(shown), _text(workers), *numbers)
            shown = ""
    totals = [_number(sum(run.counts[o] for o in which), style) for _, style, which in columns]
    table.add_row(Text("all", style="bold"), Text(f"{len(run.cases):,} results"), *totals)
    return table


def _number(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style) if number else Text("·", style="dim")


def fleet(workers: Sequence[str]) -> str:
    """Name the workers of a case in one phrase."""
    return " + ".join(workers) or "(database alone)"


def _glyphs(run: Run) -> dict[str, tuple[str, str]]:
    """A fill and a colour for each worker, the same in every bar."""
    known = [worker.name for worker in run.suite.workers] if run.suite else []
    met = [name for case in run.cases for name in (*case.workers, *case.tasks)]
    names = dict.fromkeys((*known, *met))
    return {name: _FILLS[at % len(_FILLS)] for at, name in enumerate(names)}


def _shares(run: Run, glyphs: Mapping[str, tuple[str, str]]) -> Group | None:
    mixed = [case for case in run.cases if case.mixed and any(case.tasks.values())]
    if not mixed:
        return None
    legend = Text()
    for name in dict.fromkeys(name for case in mixed for name in case.workers):
        fill, style = glyphs[name]
        legend.append(f"{fill * 2} ", style=style).append(f"{printable(name)}   ")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold", max_width=24)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for case in mixed:
        bar = Text()
        for name, cells in split(case.tasks, _BAR).items():
            bar.append(glyphs[name][0] * cells, style=glyphs[name][1])
        total = sum(case.tasks.values())
        said = " | ".join(f"{n:,} ({n / total:.0%})" for n in case.tasks.values())
        grid.add_row(_text(case.id), bar, Text(said))
    return Group(legend, grid)


def split(tasks: Mapping[str, int], cells: int) -> dict[str, int]:
    """Divide a bar of cells by the tasks done; whoever did anything at all gets a cell.

    Example:
        >>> split({"python": 60, "deno": 39, "late": 1, "dead": 0}, 10)
        {'python': 6, 'deno': 3, 'late': 1, 'dead': 0}
    """
    total = sum(tasks.values())
    if not total:
        return dict.fromkeys(tasks, 0)
    shares = {name: max(round(cells * n / total), int(n > 0)) for name, n in tasks.items()}
    # Rounding is settled with whoever did most, where one cell is noticed least.
    largest = max(tasks, key=lambda name: tasks[name])
    shares[largest] += cells - sum(shares.values())
    return shares


def _deviations(run: Run) -> Table | None:
    known = [case for case in run.cases if case.outcome == "deviation"]
    if not known:
        return None
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", max_width=30)
    grid.add_column(overflow="fold", max_width=16)
    grid.add_column(overflow="fold")
    for case in known:
        reason = case.deviation.reason if case.deviation else "no reason is recorded"
        cells = (SYMBOLS["deviation"], case.id, fleet(case.workers), reason)
        grid.add_row(*(_text(cell, "dim") for cell in cells))
    return grid


def _failure(case: Case, number: int, of: int) -> list[RenderableType]:
    title = Text.assemble(
        (f" {SYMBOLS[case.outcome]} {WORDS[case.outcome].upper()} ", "bold white on red"),
        (f" {printable(case.id)}", "bold red"),
        f"  {printable(fleet(case.workers))}",
        (f"  {number} of {of}", "dim"),
    )
    body: list[RenderableType] = [_text(case.promise)]
    body += [Padding(_text(f"- {problem}", "red"), (0, 0, 0, 2)) for problem in case.problems]
    if case.outcome == "unexpected_pass":
        body.append(Text("It is listed as a known deviation but passed: take it off the list."))
    for name, log in case.log.items():
        lines = printable(log).rstrip().splitlines()
        if lines:
            shown = lines[-_LOG_LINES:]
            body.append(Text(f"stderr of {printable(name)}, last {len(shown)} of {len(lines)}:"))
            body += [Padding(Text(line, style="dim"), (0, 0, 0, 2)) for line in shown]
    parts: list[RenderableType] = [title, *(Padding(part, (0, 0, 0, 4)) for part in body)]
    if case.repeat:
        # Not wrapped and not in a Padding, which crops: this line is there to be copied.
        command = printable(case.repeat)
        parts.append(Text(f"    repeat: {command}", style="cyan", no_wrap=True, overflow="ignore"))
    return [*parts, Text()]


def _last_line(run: Run, reports: Sequence[object]) -> Group:
    verdict = run.verdict
    style = {"passed": "bold green", "failed": "bold red", "unproven": "bold yellow"}[verdict.level]
    line = Text().append(verdict.title.upper(), style=style)
    line.append(f" in {run.end.seconds:,.1f} s: " if run.end else ": ").append(verdict.sentence)
    # A path that is wrapped is a path that cannot be clicked.
    paths = [Text(printable(str(path)), no_wrap=True, overflow="ignore") for path in reports]
    return Group(line, *paths)
