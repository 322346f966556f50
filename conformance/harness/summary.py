"""What a stream of records comes to, as a terminal says it.

It says what ran, the counts, who did how much of the work, what became of JSON values and of the
workers that are wrong on purpose, the known deviations quietly, the failures loudly, and last the
verdict. It is readable at 80 columns, without colour, and where the terminal knows only ASCII.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.harness.records import OUTCOMES, Case, Core, Outcome, Record, Suite, printable
from conformance.harness.run import STYLES, SYMBOLS, WORDS, Run, astray, fleet, percent, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TextIO

    from rich.console import RenderableType

    from conformance.harness.changes import Changes


_BAR: Final = 24  # cells of a share bar
_LOG_LINES: Final = 3
_SLOWEST: Final = 5
_NAMES: Final = 8  # of values, in one line
_FILLS: Final = (("█", "blue"), ("▒", "yellow"), ("▓", "magenta"), ("░", "cyan"))
# For terminals that cannot show more; every symbol stands next to a word that says the same.
_ASCII: Final = str.maketrans({**dict(zip("✓✗≈↑○·█▒▓░", "+x~^o.#=%:", strict=True)), "…": "..."})


def render(run: Run, reports: Sequence[object] = ()) -> Group:
    """Make the summary; `reports` are the paths of files with more, which the end names."""
    parts: list[RenderableType] = [Text()]
    for title, body in (
        ("What ran", _environment(run.suite)),
        ("Results", _table(run)),
        ("By core", _matrix(run)),
        ("Who did how much of the work", _shares(run)),
        ("JSON that came to harm on its way", _losses(run)),
        ("Wrong workers, and whether they were caught", _controls(run)),
        ("Known deviations, which are not failures", _deviations(run)),
        ("Not supported, which is neither a failure nor a pass", _unsupported(run)),
        ("Slowest", _slowest(run)),
    ):
        if body is not None:
            parts += [Text(title, style="bold"), Padding(body, (0, 0, 1, 2))]
    for number, case in enumerate(run.failures, start=1):
        parts += _failure(case, run.name(case), number, len(run.failures))
    return Group(*parts, _last_line(run, reports))


def print_summary(
    records: Iterable[Record],
    file: TextIO,
    width: int | None = None,
    color: bool = False,
    reports: Sequence[object] = (),
) -> None:
    """Write the summary of a stream to a file or terminal; see `print_run`."""
    print_run(Run.of(records), file, width, color, reports)


def print_run(
    run: Run,
    file: TextIO,
    width: int | None = None,
    color: bool = False,
    reports: Sequence[object] = (),
) -> None:
    """Write the summary to a file or terminal; None takes the terminal's own width.

    `reports` are the paths of files with more, which the end names.
    """
    show(render(run, reports), file, width, color)


def print_changes(
    changes: Changes, file: TextIO, width: int | None = None, color: bool = False
) -> None:
    """Write what changed between two runs; what is for the worse stands first and says so."""
    parts: list[RenderableType] = []
    for title, found in changes.sections.items():
        grid = grid_of(6, None)
        for change in sorted(found, key=lambda one: one.direction != "worse"):
            style = {"worse": "bold red", "better": "green", "other": "dim"}[change.direction]
            mark = "" if change.direction == "other" else change.direction
            said = Text.assemble((printable(change.what), "bold"), ": ")
            said.append(printable(change.before or "new")).append(" -> ", style="dim")
            said.append(printable(change.after or "gone"), style=style)
            if change.note:
                said.append(f" ({printable(change.note)})", style="dim")
            grid.add_row(Text(mark, style=style), said)
        parts += [Text(title, style="bold"), Padding(grid, (0, 0, 1, 2))]
    parts.append(Text(changes.sentence, style="bold red" if changes.worse else "bold green"))
    show(Group(*parts), file, width, color)


def show(what: RenderableType, file: TextIO, width: int | None, color: bool) -> None:
    """Write whatever rich can draw to a file or terminal, in what its encoding can hold."""
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
    console.print(what, crop=False)
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


def grid_of(*widths: int | None) -> Table:
    """Columns without lines, each as wide as it needs, or at most so wide."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(overflow="fold", max_width=width)
    return grid


def _environment(suite: Suite | None) -> RenderableType:
    if suite is None:
        return Text("The stream does not say: it has no suite record.")
    grid = grid_of(None, None)
    for label, values in (
        ("suite", [f"pgflow-ref {suite.version}, {suite.started_at}"]),
        ("database", [*_cores(suite), f"PostgreSQL {suite.postgresql}"]),
        ("host", [f"Python {suite.python}, {suite.platform}"]),
        ("workers", [f"{w.name} {w.version} ({w.language})" for w in suite.workers]),
        ("replaced", _of_cores(suite, lambda core: core.replaced)),
        ("stand-ins", _of_cores(suite, lambda core: core.stand_ins)),
        ("seed", [str(suite.seed)] if suite.seed else []),
    ):
        if values:
            grid.add_row(Text(label, style="dim"), _text("\n".join(values)))
    return grid


def _cores(suite: Suite) -> list[str]:
    """Each version of pgmq with the cores on it: mostly one line."""
    by_pgmq: dict[str, list[str]] = {}
    for core in suite.cores:
        by_pgmq.setdefault(core.pgmq, []).append(core.version)
    return [f"core {' and '.join(cores)}, pgmq {pgmq}" for pgmq, cores in by_pgmq.items()]


def _of_cores(suite: Suite, names: Callable[[Core], tuple[str, ...]]) -> list[str]:
    """What was put in or stood in for, and on which core, where that is not the same for all."""
    by_name: dict[str, list[str]] = {}
    for core in suite.cores:
        for name in names(core):
            by_name.setdefault(name, []).append(core.version)
    every = len(suite.cores)
    return [
        name if len(cores) == every else f"{name} (core {' and '.join(cores)})"
        for name, cores in by_name.items()
    ]


def _table(run: Run) -> Group:
    """The results by group and worker: those that passed, and whatever else came beside them."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("group", overflow="fold")
    columns = run.columns
    for title in columns:
        table.add_column(printable(title), justify="right", overflow="fold")
    cells = run.cells()
    for group in dict.fromkeys(group for group, _ in cells):
        row = [_cell(cells.get((group, title), Counter())) for title in columns]
        table.add_row(_text(group), *row)
    said = [
        Text(f"{SYMBOLS[outcome]} {number:,} {WORDS[outcome]}", STYLES[outcome])
        for outcome, number in run.tally()
    ]
    # Columns, because a line of them could be broken between a number and its word.
    return Group(table, Text(), Columns(said, padding=(0, 3)))


def _matrix(run: Run) -> Table | None:
    """The same by core and worker, where there are several cores."""
    if len(run.cores) < 2:  # noqa: PLR2004 (one core is what the other table is about)
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("core", overflow="fold")
    for title in run.columns:
        table.add_column(printable(title), justify="right", overflow="fold")
    cells = run.matrix()
    for core in run.cores:
        row = [_cell(cells.get((core, title), Counter())) for title in run.columns]
        table.add_row(_text(core), *row)
    return table


def _unsupported(run: Run) -> Table | None:
    """Why what is not supported is not: each reason once, with how often and on which cores."""
    reasons = run.unsupported()
    if not reasons:
        return None
    grid = grid_of(1, None)
    for reason, cases in reasons.items():
        every = list(dict.fromkeys(case.core for case in cases))
        on = f" on {' and '.join(every)}" if len(run.cores) > len(every) else ""
        many = f"{len(cases):,} result{'s' * (len(cases) != 1)}{on}"
        grid.add_row(
            *(_text(cell, "dim") for cell in (SYMBOLS["unsupported"], f"{reason} ({many})"))
        )
    return grid


def _cell(counts: Counter[Outcome]) -> Text:
    if not counts:
        return Text("·", style="dim")
    cell = Text()
    for outcome in OUTCOMES:
        if outcome == "passed":
            cell.append(f"{counts['passed']:,}", "green" if counts["passed"] else "dim")
        elif counts[outcome]:
            cell.append(f" {SYMBOLS[outcome]}{counts[outcome]:,}", STYLES[outcome])
    return cell


def _number(number: int, style: str) -> Text:
    return Text(f"{number:,}", style=style) if number else Text("·", style="dim")


def _shares(run: Run) -> Group | None:
    if not run.mixed:
        return None
    fills = {name: _FILLS[at % len(_FILLS)] for at, name in enumerate(run.workers)}
    legend = Text()
    for name in dict.fromkeys(name for case in run.mixed for name in run.shares(case)):
        fill, style = fills[name]
        legend.append(f"{fill * 2} ", style=style).append(f"{printable(name)}   ")
    grid = grid_of(24, None, None)
    for case in run.mixed:
        work = run.shares(case)
        bar = Text(no_wrap=True)
        for name, cells in split(work, _BAR).items():
            bar.append(fills[name][0] * cells, style=fills[name][1])
        total = sum(work.values())
        said = " | ".join(f"{n:,} ({percent(n / total)})" for n in work.values())
        grid.add_row(_text(run.name(case)), bar, Text(said))
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
    known = run.known()
    if not known:
        return None
    grid = grid_of(1, None)
    for case, cores in known:
        reason = case.deviation.reason if case.deviation else "no reason is recorded"
        on = f" on {cores}" if cores else ""
        said = f"{case.id}{on}, {fleet(case.workers)}: {reason}"
        grid.add_row(*(_text(cell, "dim") for cell in (SYMBOLS["deviation"], said)))
    return grid


def _losses(run: Run) -> Group | None:
    """The losses, those that nobody knew of first; what came through is only counted."""
    if not run.losses:
        return None
    grid = grid_of(1, None)
    for loss, routes in run.harmed():
        if not loss.excuse:
            said = f"{loss.value} came as {short(loss.came, 60)} on {_routes(routes)}"
            grid.add_row(Text(SYMBOLS["failed"], style="red"), _text(said, "red"))
    for excuse, known in run.excused().items():
        names = list(dict.fromkeys(loss.value for loss, _ in known))
        said = f"{', '.join(names[:_NAMES])}"
        said += f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        grid.add_row(Text(SYMBOLS["deviation"], style="dim"), _text(f"{said}: {excuse}", "dim"))
    values = len({loss.value for loss in run.losses})
    ways = len({loss.route for loss in run.losses})
    unharmed = sum(not loss.came for loss in run.losses)
    said = f"{values:,} values on {ways:,} ways: {unharmed:,} of {len(run.losses):,} came unharmed."
    return Group(Text(said), grid)


def _routes(routes: Sequence[tuple[str, ...]]) -> str:
    first = " > ".join(routes[0])
    return first if len(routes) == 1 else f"{first} and {len(routes) - 1:,} other ways"


def _controls(run: Run) -> Table | None:
    if not run.controls:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("", max_width=1)
    table.add_column("wrong worker", max_width=24, overflow="fold")
    table.add_column("caught by", overflow="fold")
    table.add_column("passed", justify="right", no_wrap=True)
    for control in run.controls:
        mark = SYMBOLS["passed" if control.caught else "failed"]
        by = ", ".join(control.failed) or "nothing"
        table.add_row(
            Text(mark, style="green" if control.caught else "bold red"),
            _text(control.worker, "" if control.caught else "bold red"),
            _text(by if control.caught else f"{by}: {astray(control)}"),
            _number(len(control.passed), "dim"),
        )
    return table


def _slowest(run: Run) -> Table | None:
    cases = run.slowest(_SLOWEST)
    if not cases:
        return None
    grid = grid_of(8, 40, None)
    for case in cases:
        cells = (f"{case.seconds:6.1f} s", run.name(case), fleet(case.workers))
        grid.add_row(*(_text(cell, "dim") for cell in cells))
    return grid


def _failure(case: Case, name: str, number: int, of: int) -> list[RenderableType]:
    title = Text.assemble(
        (f" {SYMBOLS[case.outcome]} {WORDS[case.outcome].upper()} ", "bold white on red"),
        (f" {printable(name)}", "bold red"),
        f"  {printable(fleet(case.workers))}",
        (f"  {number} of {of}", "dim"),
    )
    body: list[RenderableType] = [_text(case.promise)]
    body += [Padding(_text(f"- {problem}", "red"), (0, 0, 0, 2)) for problem in case.problems]
    if case.outcome == "unexpected_pass":
        body.append(Text("It is listed as a known deviation but passed: take it off the list."))
    for worker, log in case.log.items():
        lines = printable(log).rstrip().splitlines()
        if lines:
            shown = lines[-_LOG_LINES:]
            body.append(Text(f"stderr of {printable(worker)}, last {len(shown)} of {len(lines)}:"))
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
