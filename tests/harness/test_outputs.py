"""What is made of a stream for other programs: JUnit XML, Markdown, a badge."""

from __future__ import annotations

import doctest
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Final

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt

from conformance.harness import badge, changes, junit, markdown, outputs
from conformance.harness.records import OUTCOMES, Control, Core, End, Suite
from conformance.harness.run import Run
from tests.harness.streams import END, HOSTILE, KNOWN, SUITE, case, everything, full, mixed

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.records import Outcome, Record

SVG: Final = "{http://www.w3.org/2000/svg}"


def junit_of(stream: list[Record]) -> ET.Element:
    return ET.fromstring(junit.to_junit(Run.of(stream)))


class TestJunit:
    def test_another_reader_counts_the_same(self, tmp_path: Path) -> None:
        run = Run.of(full())
        (path,) = outputs.write(run, tmp_path, ["junit"])
        read = JUnitXml.fromfile(str(path))
        suites = {suite.name: list(suite) for suite in read}
        kinds = [type(one.result[0]) for suite in suites.values() for one in suite if one.result]
        escaped = len(run.escaped)
        assert sum(map(len, suites.values())) == len(run.cases) + escaped == read.tests
        assert kinds.count(Failure) == 2 + escaped == read.failures
        assert kinds.count(Error) == 1 == read.errors
        assert kinds.count(Skipped) == 2 == read.skipped
        assert set(suites) - {"wrong workers that were not caught"} == {c.group for c in run.cases}

    @pytest.mark.parametrize(
        "stream", [[], [SUITE, case(), END], [case()], everything(), full(), full(trouble=False)]
    )
    def test_the_form(self, stream: list[Record]) -> None:
        """As the tools agree on it, for there is no standard: names, order and numbers."""
        root = junit_of(stream)
        assert root.tag == "testsuites"
        for counted in (root, *root):
            cases = list(counted.iter("testcase"))
            assert int(counted.attrib["tests"]) == len(cases)
            for attribute, tag in (("failures", "failure"), ("errors", "error")):
                assert int(counted.attrib[attribute]) == len(list(counted.iter(tag)))
            assert int(counted.attrib["skipped"]) == len(list(counted.iter("skipped")))
            assert float(counted.attrib["time"]) >= 0
        for suite in root:
            assert suite.tag == "testsuite"
            assert [child.tag for child in suite] == sorted(
                (child.tag for child in suite), key=["properties", "testcase"].index
            )
        order = ["properties", "skipped", "error", "failure", "system-err"]
        names = set()
        for one in root.iter("testcase"):
            assert set(one.attrib) == {"classname", "name", "time"}
            tags = [child.tag for child in one]
            assert tags == sorted(set(tags), key=order.index)
            names.add((one.attrib["classname"], one.attrib["name"]))
        assert len(names) == len(list(root.iter("testcase")))

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_every_outcome(self, outcome: Outcome) -> None:
        one = case(
            outcome=outcome,
            problems=("It broke.",),
            log={"deno": "last words"},
            script="SELECT 1;",
            deviation=KNOWN if outcome in {"deviation", "unexpected_pass"} else None,
        )
        (found,) = junit_of([SUITE, one, END]).iter("testcase")
        properties = {one.get("name"): one.get("value") for one in found.iter("property")}
        assert properties["worker"] == "deno"
        assert properties["core"] == "0.5.0"
        assert properties["promise"] == one.promise
        assert properties["repeat"] == one.repeat
        kind, message = {
            "passed": (None, ""),
            "failed": ("failure", "It broke."),
            "error": ("error", "It broke."),
            "deviation": ("skipped", "known deviation: Digits are lost."),
            "unexpected_pass": ("failure", "listed as a known deviation, but it passed: Digits"),
            "unsupported": ("skipped", "not supported: It broke."),
        }[outcome]
        results = [child for child in found if child.tag in {"failure", "error", "skipped"}]
        assert [child.tag for child in results] == ([kind] if kind else [])
        for result in results:
            assert result.attrib["message"].startswith(message)
            assert f"To repeat: {one.repeat}" in (result.text or "")
            assert "SELECT 1;" in (result.text or "")
        bad = outcome in {"failed", "error", "unexpected_pass"}
        assert (found.find("system-err") is not None) == bad

    def test_hostile_text_is_only_text(self) -> None:
        one = case(HOSTILE, outcome="failed", problems=(HOSTILE,), log={HOSTILE: HOSTILE})
        (found,) = junit_of([SUITE, one, END]).iter("testcase")
        assert found.attrib["name"].startswith("</script><script>alert(1)</script>")
        assert not re.search("[\x00-\x08\x0b-\x1f\ud800\ufffe]", "".join(found.itertext()))


def markdown_of(stream: list[Record]) -> str:
    return markdown.to_markdown(Run.of(stream))


def page(text: str) -> str:
    """What a CI server would make of it."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


class TestMarkdown:
    def test_groups_and_workers(self) -> None:
        html = page(markdown_of(full()))
        assert '<th style="text-align:right">deno</th>' in html
        row = re.search(r"<td>identity</td>(.*?)</tr>", html, re.DOTALL)
        assert row
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])
        assert cells == ["2 ✅", "2 ✅ 1 🟡 1 🟣", "2 ✅", ""]

    def test_failures(self) -> None:
        html = page(markdown_of(full()))
        assert "<h3>3 results need attention</h3>" in html
        assert "A task that failed comes back after base_delay" in html
        assert "<li>the run is failed; it should be completed</li>" in html
        assert "./scripts/conformance --case retries.backoff --worker deno --seed 4711" in html
        assert '<code class="language-sql">SELECT pgflow.start_flow' in html

    def test_no_failures(self) -> None:
        html = page(markdown_of(full(trouble=False)))
        assert "attention" not in html
        assert "<h3>2 of 2 wrong workers were caught</h3>" in html

    def test_controls_losses_and_deviations(self) -> None:
        html = page(markdown_of(full()))
        assert "<h3>2 of 3 wrong workers were caught</h3>" in html
        assert "<strong>outputs.falsy should have failed</strong>" in html
        assert "JSON on 9 ways: 79 of 90 values came unharmed" in html
        assert "<td>came as <code>0</code> on plain → plain</td>" in html
        assert "<td><code>2^53+1</code> <code>400 digits</code></td>" in html
        assert "JavaScript has no integers above 2^53." in html

    def test_hostile_text_is_only_text(self) -> None:
        one = case(
            HOSTILE,
            group=HOSTILE,
            promise=HOSTILE,
            workers=(HOSTILE,),
            outcome="failed",
            problems=(HOSTILE, "1. a", "- b", "---", "# c", "    d"),
            repeat=HOSTILE,
            script=f"```\n{HOSTILE}",
        )
        two = case(HOSTILE, outcome="deviation", deviation=KNOWN, workers=(HOSTILE,))
        control = Control(HOSTILE, HOSTILE, (HOSTILE,), (), ())
        html = page(markdown_of([SUITE, one, two, control, END]))
        tags = set(re.findall(r"<([a-z0-9]+)", html))
        assert tags <= {
            *("h2", "h3", "h4", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"),
            *("code", "pre", "strong", "details", "summary"),
        }
        assert html.count("<li>") == 6
        assert html.count("alert(1)") == html.count("&lt;/script&gt;&lt;script&gt;alert(1)")
        problem = re.search(r"<li>(&lt;.*?)</li>", html)
        assert problem
        assert "| `tick` ![i](http://example.com/i.png)" in problem[1]

    def test_a_problem_of_several_lines_keeps_them(self) -> None:
        problem = "its history is another:\n@@ call 1 @@\n- <a>\n+ b"
        html = page(markdown_of([SUITE, case("a.b", outcome="failed", problems=(problem,)), END]))
        assert "<li>its history is another:</li>" in html
        assert '<code class="language-diff">@@ call 1 @@\n- &lt;a&gt;\n+ b\n</code>' in html

    def test_many_failures_are_counted(self) -> None:
        failures = [case(f"c{at}", outcome="failed", problems=("x" * 5000,)) for at in range(500)]
        text = markdown_of([SUITE, *failures, END])
        assert "And 450 more." in text
        assert len(text.encode()) < 200_000, "there is a limit to such a page, of a megabyte"

    def test_empty(self) -> None:
        assert "Incomplete" in markdown_of([])


class TestBadge:
    @pytest.mark.parametrize(
        ("stream", "said", "color"),
        [
            ([SUITE, case(), END], "pgflow 0.5.0: 1 of 1, passed", "#18794e"),
            (
                [SUITE, case(), mixed(outcome="failed"), END],
                "pgflow 0.5.0: 1 of 2, failed",
                "#b91c3c",
            ),
            ([SUITE, case(), case("b", outcome="deviation"), END], "1 of 2, passed", "#18794e"),
            ([SUITE, case(), case(core="0.8.1"), END], "pgflow 0.5.0 0.8.1: 2 of 2", "#18794e"),
            ([SUITE, case()], "1 of 1, incomplete", "#7a5a00"),
            ([], "pgflow: no results, incomplete", "#7a5a00"),
        ],
    )
    def test_what_it_says(self, stream: list[Record], said: str, color: str) -> None:
        root = ET.fromstring(badge.to_badge(Run.of(stream)))
        assert said in root.attrib["aria-label"]
        title = root.find(f"{SVG}title")
        assert title is not None
        assert title.text == root.attrib["aria-label"]
        assert color in [one.get("fill") for one in root.iter(f"{SVG}rect")]

    def test_the_texts_are_within_their_halves(self) -> None:
        root = ET.fromstring(badge.to_badge(Run.of(full())))
        boxes = [int(one.attrib["width"]) for one in root.iter(f"{SVG}rect")][-2:]
        texts = [int(one.attrib["textLength"]) for one in root.iter(f"{SVG}text")]
        assert all(box - text == 12 for box, text in zip(boxes, texts, strict=True))
        assert int(root.attrib["width"]) == sum(boxes)

    def test_hostile_text_is_only_text(self) -> None:
        suite = Suite(HOSTILE, HOSTILE, "", "", "", (Core(HOSTILE, HOSTILE),))
        root = ET.fromstring(badge.to_badge(Run.of([suite, case(core=HOSTILE), END])))
        assert {one.tag for one in root.iter()} <= {
            f"{SVG}{tag}" for tag in ("svg", "title", "clipPath", "rect", "g", "text")
        }


def test_a_file_is_there_as_a_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("old")
    with pytest.raises(TypeError):
        outputs.replace(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    outputs.replace(path, "new")
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["results.jsonl"]


def test_every_form_of_every_run(tmp_path: Path) -> None:
    streams: list[list[Record]] = [[], [SUITE], [END], [case()], [End(1.0, 2)], full()]
    for stream in streams:
        written = outputs.write(Run.of(stream), tmp_path)
        assert [path.name for path in written] == [name for name, _ in outputs.MAKERS.values()]
        assert all(path.stat().st_size for path in written)


@pytest.mark.parametrize("module", [badge, changes, junit, markdown, outputs])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
