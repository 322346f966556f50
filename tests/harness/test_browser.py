"""The report in a real browser: what is shown, what can be done, and that it can be read.

It needs a Chromium, which `scripts/test` installs where it may. Without one these tests are
skipped, unless `CONFORMANCE_BROWSER=required` says that here they have to run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from playwright.sync_api import expect, sync_playwright

from conformance.harness.records import Loss
from conformance.harness.report import render_page
from conformance.harness.run import Run
from tests.harness.streams import END, SUITE, case, full, large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from playwright.sync_api import Browser, Locator, Page

    from conformance.harness.records import Record

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PROBE: Final = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
WIDE, NARROW = 1280, 390
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
CONTRAST: Final = 4.5  # what WCAG asks of text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CONFORMANCE_BROWSER") == "required":
            pytest.fail("there is no Chromium, and here there must be one")
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def ways() -> list[Record]:
    """JSON on more ways than a narrow page has room for."""
    return [
        Loss(f"value {value}", ("python", "deno", f"worker{way}"), "null" if way == value else "")
        for way in range(40)
        for value in range(3)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The pages, each made once."""
    folder = tmp_path_factory.mktemp("pages")
    streams: Mapping[str, Callable[[], list[Record]]] = {
        "trouble": full,
        "fine": lambda: full(trouble=False),
        "large": large,
        "empty": list,
        "small": lambda: [SUITE, case(), END],
        "ways": lambda: [SUITE, case(), *ways(), END],
    }

    def file(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            html = render_page(Run.of(streams[name]()))
            path.write_text(html, encoding="utf-8", errors="replace")
        return path

    return file


@pytest.fixture
def visit(browser: Browser, files: Callable[[str], Path]) -> Iterator[Callable[..., Page]]:
    """Opens pages, and holds against them whatever they complain of or ask the network for."""
    complaints: list[str] = []
    contexts = []

    def visit(name: str, address: str = "", width: int = WIDE, **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            permissions=["clipboard-read", "clipboard-write"],
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(files(name).as_uri() + address)
        return page

    asked: list[str] = []
    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def probe(page: Page, call: str) -> Any:
    return page.evaluate(f"{PROBE}.{call}")


def open_all(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def shown(page: Page) -> list[str]:
    """The ids of the cases that are to be seen."""
    ids = page.locator("details.case:visible").evaluate_all("all => all.map((one) => one.id)")
    return [str(one).removeprefix("case=") for one in ids]


def hash_of(page: Page) -> str:
    return page.url.partition("#")[2]


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("search").get_by_role("button", name=name)


@pytest.mark.parametrize("name", ["trouble", "fine", "empty", "small", "ways"])
def test_it_fits_and_can_be_read(visit: Callable[..., Page], name: str) -> None:
    """Nothing reaches beyond the page, and all text stands out, wide and narrow, light and dark."""
    page = visit(name)
    assert probe(page, "wide()") == []
    for width in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": 900})
        assert probe(page, "wide()") == []
        open_all(page)
        assert probe(page, "wide()") == []
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found = probe(page, f"faint({CONTRAST})")
            assert (width, scheme, found["bad"]) == (width, scheme, [])
            assert found["looked"] > (500 if name in {"trouble", "fine"} else 3)


def test_light_and_dark_are_two(visit: Callable[..., Page]) -> None:
    page = visit("small")
    colors = set()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colors.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colors) == 2


def test_what_cannot_be_read_or_does_not_fit_is_found(visit: Callable[..., Page]) -> None:
    page = visit("small")
    page.evaluate("document.querySelector('h1').style.color = '#ddd'")
    assert any("Passed" in one for one in probe(page, f"faint({CONTRAST})")["bad"])
    page.evaluate("document.querySelector('h1').style.width = '3000px'")
    found = probe(page, "wide()")
    assert any(one.startswith("<h1") for one in found)
    assert found[-1] == "the page scrolls sideways"


class TestFilters:
    def test_outcome(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        everything = shown(page)
        failed = button(page, "failed")
        expect(failed).to_have_attribute("aria-pressed", "false")
        failed.click()
        expect(failed).to_have_attribute("aria-pressed", "true")
        assert shown(page) == ["retries.backoff"]
        assert hash_of(page) == "outcome=failed"
        expect(page.get_by_role("search").get_by_role("status")).to_have_text("1 of 12 cases")
        button(page, "known deviation").click()
        assert shown(page) == ["retries.backoff", "identity.digits"]
        button(page, "Show all").click()
        assert shown(page) == everything
        assert hash_of(page) == ""
        expect(page.get_by_role("search").get_by_role("status")).to_have_text("12 cases")

    def test_text(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        page.get_by_role("searchbox").fill("VISIBLE failure")
        assert shown(page) == ["retries.backoff"]
        page.get_by_role("searchbox").fill("no such words")
        assert shown(page) == []
        expect(page.get_by_role("search").get_by_role("status")).to_have_text("0 of 12 cases")

    def test_group(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        page.get_by_label("Group").select_option("faults")
        assert shown(page) == ["faults.kill_after_claim@0.8.1", "faults.storm"]
        assert hash_of(page) == "group=faults"

    def test_core(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        button(page, "core 0.8.1").click()
        assert all(one.endswith("@0.8.1") for one in shown(page))
        assert len(shown(page)) == 6

    def test_worker(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        button(page, "plain").click()
        assert "retries.backoff" not in shown(page)
        assert "faults.storm" in shown(page)
        dim = page.locator(".case:visible .cell.dim").count()
        assert dim > 0

    def test_together_and_restored(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        button(page, "passed").click()
        button(page, "deno").click()
        button(page, "core 0.5.0").click()
        page.get_by_label("Group").select_option("identity")
        page.get_by_role("searchbox").fill("archived")
        assert shown(page) == ["identity.large"]
        address = hash_of(page)
        page.reload()
        assert shown(page) == ["identity.large"]
        again = visit("trouble", f"#{address}")
        assert shown(again) == ["identity.large"]
        assert again.get_by_role("searchbox").input_value() == "archived"
        assert again.get_by_label("Group").input_value() == "identity"
        for name in ("passed", "deno", "core 0.5.0"):
            expect(button(again, name)).to_have_attribute("aria-pressed", "true")

    def test_what_an_address_says_wrongly_is_no_filter(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble", "#outcome=fish&group=none&worker=&core=9&case=none&x=%")
        assert len(shown(page)) == 16

    def test_by_keyboard(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the cases")).to_be_focused()
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.type("backoff")
        assert shown(page) == ["retries.backoff"]
        button(page, "failed").focus()
        page.keyboard.press("Space")
        expect(button(page, "failed")).to_have_attribute("aria-pressed", "true")
        assert hash_of(page) == "outcome=failed&q=backoff"
        page.locator("details.case:visible summary").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("details.case:visible")).to_have_attribute("open", "")
        assert "case=retries.backoff" in hash_of(page)


class TestCases:
    def test_an_address_opens_its_case(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble", "#outcome=failed&case=shapes.diamond%400.8.1")
        row = page.locator("details.case[open]")
        expect(row).to_have_attribute("data-id", "shapes.diamond")
        expect(row.locator("summary").first).to_be_focused()
        expect(row).to_be_in_viewport()

    def test_a_failure_and_its_case_lead_to_each_other(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        page.locator(".failure h3 a").first.click()
        row = page.locator("details.case[open]")
        expect(row).to_have_attribute("data-id", "retries.backoff")
        row.get_by_role("link", name="are above").click()
        expect(page.locator("#failure-1")).to_be_in_viewport()

    def test_a_failure_has_it_all(self, visit: Callable[..., Page]) -> None:
        failure = visit("trouble").locator("#failure-1")
        expect(failure).to_contain_text("A task that failed comes back after base_delay")
        expect(failure).to_contain_text("the message was visible 0 s after its first failure")
        expect(failure.get_by_role("img", name="Timeline of deno")).to_be_visible()
        expect(failure.get_by_role("img", name="The flow: 5 steps")).to_be_visible()
        expect(failure.locator(".evidence > summary")).to_have_text("Timeline, flow, SQL, log")
        expect(failure.get_by_text("SELECT pgflow.start_flow")).to_be_visible()
        expect(failure.get_by_text("line 39: polling")).to_be_visible()
        failure.get_by_text("What happened, in words").click()
        expect(failure.get_by_text("takes validate of run 0000")).to_be_visible()

    def test_a_log_shows_its_last_words(self, visit: Callable[..., Page]) -> None:
        log = visit("trouble").locator("#failure-1 pre.ends")
        assert log.evaluate("(one) => one.scrollTop + one.clientHeight >= one.scrollHeight - 1")
        assert log.evaluate("(one) => one.scrollTop") > 0

    def test_copy(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        copy = page.locator("#failure-1 .command").get_by_role("button", name="Copy")
        copy.click()
        expect(page.locator("#said")).to_have_text("Copied")
        page.get_by_role("searchbox").focus()
        page.keyboard.press("Control+V")
        assert page.get_by_role("searchbox").input_value() == (
            "./scripts/conformance --case retries.backoff --worker deno --seed 4711"
        )

    def test_fleets_and_faults_are_drawn(self, visit: Callable[..., Page]) -> None:
        page = visit("fine", "#case=faults.kill_after_claim%400.8.1")
        row = page.locator("details.case[open]")
        for worker in ("python", "deno", "deno-2"):
            expect(row.get_by_role("img", name=f"Timeline of {worker}", exact=True)).to_be_visible()
        expect(row.get_by_role("img", name="The flow: 5 steps")).to_be_visible()
        hues = row.locator(".lane path.completed").evaluate_all(
            "all => all.map((one) => getComputedStyle(one).stroke)"
        )
        assert len(set(hues)) == 3
        expect(row.locator(".faults li")).to_have_text(
            [
                "0.25\xa0s deno kill after claim",
                "0.41\xa0s python stop in the handler",
                "0.50\xa0s all the server restarts at once",
            ]
        )
        assert row.locator(".hit").count() == 1 + 1 + 3
        # The first mark is the second lane's, where the stream says that it happened.
        lane, mark = row.locator(".lane:not(.curve)").nth(1), row.locator(".hit").nth(2)
        box, hit = lane.locator(".track").bounding_box(), mark.bounding_box()
        assert box
        assert hit
        left = float(str(mark.evaluate("(one) => one.style.left")).rstrip("%"))
        assert 0 < left < 50
        assert hit["x"] - box["x"] == pytest.approx(box["width"] * left / 100, abs=2)

    def test_json_and_wrong_workers(self, visit: Callable[..., Page]) -> None:
        page = visit("trouble")
        table = page.get_by_role("region", name="What became of each value").first
        expect(table.get_by_role("columnheader")).to_have_count(10)
        row = table.get_by_role("row", name="2^53+1")
        expect(row.locator("td.deviation")).to_have_count(5)
        expect(table.get_by_role("row", name="-0.0").locator("td.failed")).to_have_count(1)
        known = page.locator(".harm > .deviation")
        expect(known).to_contain_text("2 values: JavaScript reads numbers as doubles")
        known.locator("summary").click()
        expect(known.get_by_text("9007199254740992")).to_be_visible()
        wrong = page.locator(".controls li")
        expect(wrong.first).to_contain_text("outputs.falsy should have failed")
        expect(page.locator(".controls .chip.passed")).to_have_count(2)


def test_a_large_run(visit: Callable[..., Page], files: Callable[[str], Path]) -> None:
    """500 cases with 4 workers and 8 fleets of 3,000 tasks: filters answer, and it is not heavy."""
    assert files("large").stat().st_size < 4_000_000
    page = visit("large")
    assert len(shown(page)) == 508
    page.get_by_role("searchbox").fill("case499")
    assert shown(page) == ["group19.case499"]
    page.get_by_role("searchbox").fill("")
    button(page, "failed").click()
    assert shown(page) == ["group7.case7"]
    assert probe(page, "wide()") == []


def test_without_its_script_it_is_all_there(visit: Callable[..., Page]) -> None:
    page = visit("trouble", java_script_enabled=False)
    expect(page.locator("details.case")).to_have_count(16)
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.get_by_text("the message was visible 0 s").first).to_be_visible()


def test_hostile_text_does_nothing(visit: Callable[..., Page]) -> None:
    page = visit("trouble")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    open_all(page)
    assert page.locator("body script").count() == 1
    assert page.locator("img").count() == 0
    assert "<script>alert(1)</script>" in page.locator("#failure-3").inner_text()
