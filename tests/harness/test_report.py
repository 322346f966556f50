"""Records, the summary in a terminal and the page in a browser."""

from __future__ import annotations

import base64
import doctest
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from conformance.harness import outputs, records, report, run, summary
from conformance.harness.fields import MalformedLine
from conformance.harness.records import (
    OUTCOMES,
    Case,
    Core,
    Deviation,
    End,
    Span,
    Worker,
    from_line,
    printable,
    read_records,
    to_line,
)
from conformance.harness.run import SYMBOLS, WORDS, Run
from conformance.harness.summary import print_summary, split
from conformance.harness.templates import drawing
from tests.harness.streams import DENO, END, HOSTILE, PYTHON, SUITE, case, everything, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.harness.records import Outcome, Record


def text_of(stream: Sequence[Record], width: int = 80, **options: object) -> str:
    file = io.StringIO()
    print_summary(stream, file, width, **options)  # type: ignore[arg-type]
    return file.getvalue()


def page_of(stream: Sequence[Record]) -> str:
    return report.render_page(Run.of(stream))


class Page(HTMLParser):
    """What a browser would make of the page, as far as these tests ask."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]

    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in {"script", "style"})


class TestRecords:
    @pytest.mark.parametrize("record", [*everything(), END, case(), mixed(timeline=())])
    def test_round_trip(self, record: Record) -> None:
        line = to_line(record)
        assert "\n" not in line
        assert from_line(line) == record

    def test_round_trip_of_hostile_text(self) -> None:
        record = case(HOSTILE, problems=(HOSTILE,), log={HOSTILE: HOSTILE}, tasks={HOSTILE: 1})
        assert from_line(to_line(record)) == record

    def test_open_span(self) -> None:
        record = mixed(timeline=(Span("deno", "s", "r", 0.5, None, "started"),))
        assert from_line(to_line(record)) == record

    def test_unknown_keys_are_skipped(self) -> None:
        values = json.loads(to_line(mixed()))
        values["new"] = {"at": 1}
        values["timeline"][0]["new"] = 1
        assert from_line(json.dumps(values)) == mixed()

    def test_optional_keys(self) -> None:
        line = (
            '{"type": "case", "id": "a", "group": "g", "promise": "p", "reference": "r",'
            ' "core": "0.5.0", "workers": [], "outcome": "passed", "seconds": 1, "timeline": null}'
        )
        assert from_line(line) == Case("a", "g", "p", "r", "0.5.0", (), "passed", 1.0)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("[1]", "the record is not an object"),
            ("{}", "type is missing"),
            ('{"type": "fish"}', "type is 'fish'"),
            ('{"type": "end", "seconds": 1}', "exit is missing"),
            ('{"type": "end", "seconds": "1", "exit": 0}', "seconds is not a number"),
            ('{"type": "end", "seconds": NaN, "exit": 0}', "seconds is not a sensible number"),
            ('{"type": "end", "seconds": 1e999, "exit": 0}', "seconds is not a sensible number"),
            ('{"type": "end", "seconds": 1, "exit": true}', "exit is not a count"),
            ('{"type": "end", "seconds": 1, "exit": -1}', "exit is not a count"),
        ],
    )
    def test_malformed(self, line: str, reason: str) -> None:
        with pytest.raises(MalformedLine, match=re.escape(f"line 7: {reason}")) as caught:
            from_line(line, 7)
        assert caught.value.number == 7

    @pytest.mark.parametrize(
        ("key", "value", "reason"),
        [
            ("outcome", "maybe", "outcome is not one of passed, failed"),
            ("workers", None, "workers is not a list"),
            ("workers", [1], "workers is not a list of texts"),
            ("tasks", {"deno": "many"}, "tasks.deno is not a count"),
            ("tasks", [], "tasks is not an object"),
            ("log", {"deno": 1}, "log.deno is not text"),
            ("deviation", {"reason": "r", "reference": "r"}, "deviation.date is missing"),
            ("timeline", [1], "timeline[0] is not an object"),
            ("timeline", [{"worker": "w"}], "timeline[0].step is missing"),
        ],
    )
    def test_malformed_case(self, key: str, value: object, reason: str) -> None:
        values = json.loads(to_line(case()))
        values[key] = value
        with pytest.raises(MalformedLine, match=re.escape(reason)):
            from_line(json.dumps(values))

    def test_a_stream(self, tmp_path: Path) -> None:
        path = tmp_path / "results.jsonl"
        path.write_text("\n\n".join(map(to_line, everything())) + "\n")
        assert read_records(path) == everything()

    @pytest.mark.parametrize("bad", [b'{"type":', b'{"type": "\xff"}'])
    def test_a_malformed_line_is_named(self, tmp_path: Path, bad: bytes) -> None:
        path = tmp_path / "results.jsonl"
        path.write_bytes(to_line(SUITE).encode() + b"\n\n" + bad + b"\n" + to_line(END).encode())
        with pytest.raises(MalformedLine) as caught:
            read_records(path)
        assert caught.value.number == 3


class TestVerdict:
    @pytest.mark.parametrize(
        ("stream", "level", "title"),
        [
            ([], "unproven", "Incomplete"),
            ([SUITE, case()], "unproven", "Incomplete"),
            ([SUITE, END], "unproven", "Nothing proved"),
            ([SUITE, case(outcome="unsupported"), END], "unproven", "Nothing proved"),
            ([SUITE, case(outcome="deviation"), END], "unproven", "Nothing proved"),
            ([SUITE, case(), END], "passed", "Passed"),
            ([SUITE, case(), case(outcome="deviation"), END], "passed", "Passed"),
            ([SUITE, case(), case(outcome="failed"), END], "failed", "Failed"),
            ([SUITE, case(), case(outcome="error"), END], "failed", "Failed"),
            ([SUITE, case(), case(outcome="unexpected_pass"), END], "failed", "Failed"),
            ([SUITE, case(outcome="failed")], "failed", "Failed"),
            ([SUITE, case(), End(1.0, 2)], "failed", "Failed"),
            # A second run that was appended and broke off does not profit from the first.
            ([SUITE, case(), END, SUITE, case()], "unproven", "Incomplete"),
        ],
    )
    def test_level(self, stream: list[Record], level: str, title: str) -> None:
        verdict = Run.of(stream).verdict
        assert (verdict.level, verdict.title) == (level, title)
        assert title.upper() in text_of(stream)
        assert f"<h1>{title}</h1>" in page_of(stream)

    def test_sentences(self) -> None:
        assert Run.of(everything()).verdict.sentence == (
            "1 result breaks a promise, 1 could not run, 1 known deviation passed; 2 of 7 passed."
        )
        passed: list[Record] = [
            SUITE,
            case(),
            case(outcome="deviation"),
            case(outcome="unsupported"),
            END,
        ]
        assert Run.of(passed).verdict.sentence == (
            "1 of 3 results keep their promise; 1 known deviation and 1 unsupported."
        )

    def test_idle_workers_are_seen(self) -> None:
        run = Run.of([SUITE, mixed(tasks={"deno": 3})])
        assert run.work(run.cases[0]) == {"python": 0, "deno": 3}


class TestSummary:
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_every_outcome(self, outcome: Outcome) -> None:
        text = text_of(everything())
        row = next(line for line in text.splitlines() if re.match(r" *worker  +1", line))
        assert row.split() == ["worker", "1", "✗1", "≈1", "↑1", "○1", "!1", "·"]
        assert f"{SYMBOLS[outcome]} {2 if outcome == 'passed' else 1} {WORDS[outcome]}" in text
        if outcome in records.BAD:
            assert f"{SYMBOLS[outcome]} {WORDS[outcome].upper()}  case.{outcome}" in text
        if outcome == "deviation":
            assert re.search(r"≈ +case.deviation +deno +Digits are lost\.", text)

    def test_order(self) -> None:
        text = text_of(everything(), reports=["build/report.html"])
        parts = ("What ran", "Results", "Who did", "Known deviations", "CASE.FAILED".lower())
        places = [text.index(part) for part in (*parts, "FAILED in 3.0 s:", "build/report.html")]
        assert places == sorted(places)
        assert text.rstrip().splitlines()[-1] == "build/report.html"

    def test_what_ran(self) -> None:
        text = text_of(everything())
        for part in (
            "core 0.5.0, pgmq 1.11.1",
            "PostgreSQL 17.10",
            "deno @pgflow/edge-worker 0.8.1 (typescript)",
            "pgflow.read_with_poll(…)",
            "realtime.send",
        ):
            assert part in text

    def test_failure(self) -> None:
        long = "pytest conformance --worker 'mine=./worker --flag' -k case.failed " + "x" * 60
        text = text_of([SUITE, case(outcome="failed", problems=("It broke.",), repeat=long)])
        assert "- It broke." in text
        assert f"    repeat: {long}\n" in text

    def test_log_is_its_tail(self) -> None:
        log = "\n".join(f"line {at}" for at in range(9))
        text = text_of([SUITE, case(outcome="failed", log={"deno": log})])
        assert "stderr of deno, last 3 of 9:" in text
        assert "line 8" in text
        assert "line 5" not in text

    def test_shares(self) -> None:
        line = next(line for line in text_of(everything()).splitlines() if "60 (60%)" in line)
        assert line.split() == [
            "mixed.order",
            "█" * 14 + "▒" * 10,
            "60",
            "(60%)",
            "|",
            "40",
            "(40%)",
        ]

    @pytest.mark.parametrize("tasks", [{"a": 0}, {"a": 1, "b": 10**9}, {"a": 1, "b": 1, "c": 1}])
    def test_split_fills_the_bar(self, tasks: dict[str, int]) -> None:
        cells = split(tasks, 24)
        assert sum(cells.values()) == (24 if any(tasks.values()) else 0)
        assert all((cells[name] > 0) == (tasks[name] > 0) for name in tasks)

    def test_80_columns_without_colour(self) -> None:
        text = text_of(everything(), reports=["results.jsonl"])
        assert "\x1b" not in text
        assert all(len(line) <= 80 for line in text.splitlines())
        assert all(line == line.rstrip() for line in text.splitlines())

    def test_colour(self) -> None:
        assert "\x1b[1;31m" in text_of(everything(), color=True)

    def test_ascii(self) -> None:
        buffer = io.BytesIO()
        file = io.TextIOWrapper(buffer, encoding="ascii")
        print_summary(everything(), file, 80)
        file.flush()
        assert b"x FAILED  case.failed" in buffer.getvalue()

    def test_hostile_text_is_only_text(self) -> None:
        stream: list[Record] = [
            SUITE,
            case(HOSTILE, outcome="failed", problems=(HOSTILE,), log={"deno": HOSTILE}),
        ]
        text = text_of(stream, width=400)
        assert "[bold]x[/bold]" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", text)

    def test_empty(self) -> None:
        assert "INCOMPLETE: The run broke off" in text_of([])


class TestPage:
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_every_outcome(self, outcome: Outcome) -> None:
        html = page_of(everything())
        chip = f'<span class="chip {outcome}"><span aria-hidden="true">{SYMBOLS[outcome]}</span>'
        assert f"{chip} {WORDS[outcome]}</span>" in html
        assert f'id="case=case.{outcome}"' in html
        assert f"problem of {outcome}" in html
        assert f'data-value="{outcome}"' in html

    def test_failures_come_first_and_alone(self) -> None:
        html = page_of(everything())
        assert html.count('<article class="failure') == 3
        assert html.index('class="failures"') < html.index('id="cases"')
        assert 'class="failures"' not in page_of([SUITE, case(), END])

    def test_well_formed(self) -> None:
        page = Page(page_of(everything()))
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        targets = {value[1:] for value in page.values("href") if value.startswith("#")}
        assert targets <= set(ids)
        assert set(page.values("aria-labelledby")) <= set(ids)

    def test_no_network(self) -> None:
        page = Page(page_of(everything()))
        assert page.values("src") == []
        loaded = [attrs["href"] or "" for tag, attrs in page.tags if tag == "link"]
        assert all(href.startswith("data:") for href in loaded)
        style = "".join(text for tag, text in page.texts if tag == "style")
        assert "url(" not in style
        assert "@import" not in style

    def test_hostile_text_is_only_text(self, tmp_path: Path) -> None:
        worker = Worker(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
        suite = replace(SUITE, started_at=HOSTILE, platform=HOSTILE, workers=(worker,))
        suite = replace(suite, cores=(Core(HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,)),))
        texts = dict.fromkeys(("group", "promise", "reference", "core", "repeat"), HOSTILE)
        span = Span(HOSTILE, HOSTILE, HOSTILE, 0.0, None, "started")
        cases = [
            case(
                HOSTILE + outcome,
                **texts,
                outcome=outcome,
                workers=workers,
                problems=(HOSTILE,),
                tasks={HOSTILE: 5, "deno": 1},
                log={HOSTILE: HOSTILE},
                deviation=Deviation(HOSTILE, HOSTILE, HOSTILE),
                timeline=(span,),
            )
            for outcome in OUTCOMES
            for workers in ((), (HOSTILE,), (HOSTILE, "deno"))
        ]
        (html,) = outputs.write(Run.of([suite, *cases]), tmp_path / "out", ["html"])
        written = html.read_bytes().decode()
        page = Page(written)
        tags = [tag for tag, _ in page.tags]
        assert tags.count("script") == 1
        assert "img" not in tags
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert not any(href.startswith("javascript:") for href in page.values("href"))
        assert "{{ 7 * 7 }}" in page.text()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", written)

    def test_only_web_addresses_become_links(self) -> None:
        for reference in ("javascript:alert(1)", "data:text/html,x", "see https://example.com"):
            page = Page(page_of([SUITE, case(reference=reference), END]))
            assert not [href for href in page.values("href") if reference in href]
            assert reference in page.text()

    def test_only_its_own_script_may_run(self) -> None:
        html = page_of(everything())
        (policy,) = re.findall(r"script-src '(sha256-[^']+)'", html)
        (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        digest = hashlib.sha256(script.encode()).digest()
        assert policy == "sha256-" + base64.b64encode(digest).decode()

    def test_same_case_with_several_workers_is_one_row(self) -> None:
        stream: list[Record] = [
            SUITE,
            case(workers=("python",)),
            case(outcome="failed"),
            mixed("retry.attempts"),
        ]
        html = page_of(stream)
        assert html.count('<details class="case"') == 1
        assert html.count("data-outcome=") == 3
        assert "<b>1</b> <span" in html

    def test_other_core_is_another_row(self) -> None:
        html = page_of([SUITE, case(), case(core="0.8.1"), END])
        assert 'id="case=retry.attempts"' in html
        assert 'id="case=retry.attempts@0.8.1"' in html

    def test_a_link_finds_a_case_with_an_odd_name(self) -> None:
        html = page_of([SUITE, case("a b/c?d=e&f+g%", outcome="failed"), END])
        assert 'href="#case=a%20b%2Fc%3Fd%3De%26f%2Bg%25"' in html

    def test_long_logs_are_cut_at_their_start(self) -> None:
        log = "\n".join(f"line {at} {'x' * 90}" for at in range(1000))
        html = page_of([SUITE, case(outcome="failed", log={"deno": log}), END])
        assert "line 999 " in html
        assert "line 1 x" not in html
        assert "earlier lines are left out" in html

    def test_empty_run(self) -> None:
        assert "The stream holds no results." in Page(page_of([])).text()

    def test_size(self) -> None:
        spans = tuple(
            Span(
                ("python", "deno")[at % 2],
                f"step{at % 4}",
                "ab12",
                at / 300,
                at / 300 + 0.05,
                "completed",
            )
            for at in range(3000)
        )
        alone = [case(f"c{at}", log={"deno": "x" * 99_000}) for at in range(100)]
        many = [mixed(f"m{at}", timeline=spans) for at in range(40)]
        assert len(page_of([SUITE, *alone, *many, END]).encode()) < 2_000_000


class TestDrawing:
    def test_tasks_at_the_same_time_are_in_different_rows(self) -> None:
        spans = [
            Span("deno", "a", "r", start, end, "completed")
            for start, end in ((0.0, 4.0), (1.0, 2.0), (1.5, 3.0), (2.0, 3.0), (4.0, 10.0))
        ]
        drawn = drawing.draw(mixed(timeline=tuple(spans)))
        assert drawn is not None
        (lane,) = [lane for lane in drawn.lanes if lane.worker == "deno"]
        assert lane.bars[0].path == "M0 7h10000M1000 21h2000M1500 35h1500"
        assert lane.height == 42

    def test_idle_worker_has_an_empty_lane(self) -> None:
        drawn = drawing.draw(mixed(timeline=(Span("deno", "a", "r", 0.0, 1.0, "completed"),)))
        assert drawn is not None
        assert [(lane.worker, lane.tasks) for lane in drawn.lanes] == [("python", 0), ("deno", 1)]

    def test_thinning_keeps_failures_and_shares(self) -> None:
        spans = tuple(
            Span(
                "python" if at % 4 else "deno",
                "a",
                "r",
                at * 1.0,
                at + 0.5,
                "failed" if at % 100 == 1 else "completed",
            )
            for at in range(4000)
        )
        drawn = drawing.draw(mixed(timeline=spans), 1000)
        assert drawn is not None
        assert (drawn.drawn, drawn.tasks) == (1000, 4000)
        bars = {(lane.worker, bar.status): bar.count for lane in drawn.lanes for bar in lane.bars}
        assert bars["python", "failed"] == 40
        assert bars["deno", "completed"] == pytest.approx(240, abs=5)
        html = page_of([SUITE, mixed(timeline=spans), END])
        assert "3,000 of 4,000 tasks are drawn" in html

    def test_lost_tasks_are_drawn_but_in_nobodys_hands(self) -> None:
        lost = Span("deno", "a", "r", 1.0, None, "started")
        done = Span("python", "a", "r", 0.0, 10.0, "completed")
        drawn = drawing.draw(mixed(timeline=(lost, done)))
        assert drawn is not None
        assert drawn.peak == pytest.approx(1.0)
        assert drawn.lanes[1].open == 1
        assert drawn.lanes[1].bars[0].path == "M1000 7h9000"

    @pytest.mark.parametrize(
        "span", [(0.0, 0.0), (-5.0, -1.0), (3.0, 1.0), (0.0, 1e-9), (0.0, 9e9)]
    )
    def test_odd_times(self, span: tuple[float, float]) -> None:
        drawn = drawing.draw(mixed(timeline=(Span("deno", "a", "r", *span, "completed"),)))
        assert drawn is not None
        assert all(0 <= at <= 100 for at, _ in drawn.ticks)
        page_of([SUITE, mixed(timeline=(Span("deno", "a", "r", *span, "completed"),)), END])

    def test_nothing_to_draw(self) -> None:
        assert drawing.draw(case()) is None

    def test_colours(self) -> None:
        workers = (PYTHON, DENO, Worker("mine", "cobol", "1"))
        chosen = drawing.colors(workers, ("python", "python-2", "deno", "mine", "ghost"))
        assert chosen["python"].hue == chosen["python-2"].hue
        assert len({(color.hue, color.nth) for color in chosen.values()}) == 5


def test_printable_keeps_what_is_fine() -> None:
    assert printable("ein Öl\tund\nzwei 你好 🐍") == "ein Öl\tund\nzwei 你好 🐍"
    assert printable("\x1b]0;title\x07a\r\nb") == "a\nb"


@pytest.mark.parametrize("module", [records, report, run, summary, drawing])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
