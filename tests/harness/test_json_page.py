"""The published table of what is lost where."""

from __future__ import annotations

from conformance.json.page import BEGIN, END, PAGE, table, write
from conformance.json.values import load


def test_the_page_has_the_table_of_the_files() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert write(page) == page, "python -m conformance.json.page"


def test_every_value_that_is_lost_is_in_the_table_and_no_other() -> None:
    rows = table().splitlines()
    for value in load():
        lost = value.lost or value.stored is not None
        assert any(row.startswith(f"| {value.name} |") for row in rows) == bool(lost)


def test_what_stands_around_the_table_stays() -> None:
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert write(page).startswith(f"before\n{BEGIN}")
    assert write(page).endswith(f"{END}after\n")
    assert "old" not in write(page)
