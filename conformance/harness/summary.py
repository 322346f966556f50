"""What a stream of records comes to, as a terminal says it.

It says what ran, the counts, who did how much of the work, the known
deviations quietly, the failures loudly, and last the verdict. It is readable at 80 columns, without
colour, and where the terminal knows only ASCII.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.harness.records import BAD, Case, Outcome, Record, Suite, printable
from conformance.harness.run import SYMBOLS, WORDS, Run, fleet, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from rich.console import RenderableType


_BAR: Final = 24  # cells of a share bar
_LOG_LINES: Final = 3
_FILLS: Final = (("█", "blue"), ("▒", "yellow"), ("▓", "magenta"), ("░", "cyan"))
# For terminals that cannot show more; every symbol stands next to a word that says the same.
_ASCII: Final = str.maketrans("✓✗≈↑○·█▒▓░", "+x~^o.#=%:")


def render(records: Iterable[Record], reports: Sequence[object] = ()) -> Group:
    """Make the summary; `reports` are the paths of files with more, which the end names."""
    run = Run.of(records)
    parts: list[RenderableType] = [Text()]
    for title, body in (
        ("What ran", _environment(run.suite)),
        ("Results", _table(run)),
        ("Who did how much of the work", _shares(run)),
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


def _grid(*widths: int | None) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(overflow="fold", max_width=width)
    return grid


def _environment(suite: Suite | None) -> RenderableType:
    if suite is None:
        return Text("The stream does not say: it has no suite record.")
    grid = _grid(None, None)
    workers = [f"{w.name} {w.version} ({w.language})" for w in suite.workers]
    cores = " and ".join(core.version for core in suite.cores)
    for label, values in (
        ("suite", [f"pgflow-ref {suite.version}, {suite.started_at}"]),
        (
            "database",
            [f"core {cores}, pgmq {suite.usual.pgmq}, PostgreSQL {suite.postgresql}"],
        ),
        ("host", [f"Python {suite.python}, {suite.platform}"]),
        ("workers", workers),
        ("replaced", suite.usual.replaced),
        ("stand-ins", suite.usual.stand_ins),
    ):
        if values:
            grid.add_row(Text(label, style="dim"), _text("\n".join(values)))
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
    cells: dict[str, dict[str, Counter[Outcome]]] = {}
    for case in run.cases:
        row = cells.setdefault(case.group, {}).setdefault(fleet(case.workers), Counter())
        row[case.outcome] += 1
    for group, rows in cells.items():
        for at, (workers, counts) in enumerate(rows.items()):
            numbers = [_number(sum(counts[o] for o in which), style) for _, style, which in columns]
            table.add_row(_text("" if at else group), _text(workers), *numbers)
    totals = [_number(sum(run.counts[o] for o in which), style) for _, style, which in columns]
    table.add_row(Text("all", style="bold"), Text(f"{len(run.cases):,} results"), *totals)
    return table


def _number(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style) if number else Text("·", style="dim")


def _shares(run: Run) -> Group | None:
    if not run.mixed:
        return None
    fills = {name: _FILLS[at % len(_FILLS)] for at, name in enumerate(run.workers)}
    legend = Text()
    for name in dict.fromkeys(name for case in run.mixed for name in run.work(case)):
        fill, style = fills[name]
        legend.append(f"{fill * 2} ", style=style).append(f"{printable(name)}   ")
    grid = _grid(24, None, None)
    for case in run.mixed:
        work = run.work(case)
        bar = Text(no_wrap=True)
        for name, cells in split(work, _BAR).items():
            bar.append(fills[name][0] * cells, style=fills[name][1])
        total = sum(work.values())
        said = " | ".join(f"{n:,} ({percent(n / total)})" for n in work.values())
        grid.add_row(_text(case.id), bar, Text(said))
    return Group(legend, grid)


def split(tasks: Mapping[str, int], cells: int) -> dict[str, int]:
    """Divide a bar of cells by the tasks done; whoever did anything at all gets a cell.

    Example:
        >>> split({"python": 60, "deno": 39, "late": 1, "dead": 0}, 10)
        {'python': 5, 'deno': 4, 'late': 1, 'dead': 0}
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
    grid = _grid(1, 30, 16, None)
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
    if case.script:
        parts.append(Text("    script for psql:"))
        parts.append(Text(printable(case.script), style="dim", no_wrap=True, overflow="ignore"))
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
