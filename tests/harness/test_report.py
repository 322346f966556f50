"""The page, as a browser gets it; what a browser makes of it is in `test_browser.py`."""

from __future__ import annotations

import base64
import doctest
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from conformance.harness import outputs, report
from conformance.harness.records import (
    OUTCOMES,
    Control,
    Core,
    Deviation,
    Fault,
    Loss,
    Span,
    Step,
    Worker,
)
from conformance.harness.run import SYMBOLS, WORDS, Run
from tests.harness.streams import DIAMOND, END, HOSTILE, SUITE, case, everything, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.harness.records import Outcome, Record


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
                script=HOSTILE,
                flow=(Step(HOSTILE), Step(f"{HOSTILE}2", (HOSTILE,))),
                faults=(Fault(0.0, HOSTILE, HOSTILE),),
            )
            for outcome in OUTCOMES
            for workers in ((), (HOSTILE,), (HOSTILE, "deno"))
        ]
        more: list[Record] = [
            Loss(HOSTILE, (HOSTILE, "deno"), HOSTILE, HOSTILE),
            Loss(HOSTILE, ("deno", HOSTILE), HOSTILE),
            Control(HOSTILE, HOSTILE, (HOSTILE,), (), (HOSTILE,)),
            Control(HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,), ()),
        ]
        (html,) = outputs.write(Run.of([suite, *cases, *more]), tmp_path / "out", ["html"])
        written = html.read_bytes().decode()
        page = Page(written)
        tags = [tag for tag, _ in page.tags]
        assert tags.count("script") == 1
        assert "img" not in tags
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert not any(href.startswith("javascript:") for href in page.values("href"))
        assert "{{ 7 * 7 }}" in page.text()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", written)

    def test_a_failure_in_which_nobody_did_anything_says_so(self) -> None:
        html = page_of([SUITE, case(outcome="failed", runs=1, flow=DIAMOND), END])
        assert "<summary>Flow</summary>" in html
        assert "No worker took a task." in html

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


@pytest.mark.parametrize("module", [report])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
