"""The page that is published is made of the results that are published with it."""

from __future__ import annotations

from benchmarks import page
from benchmarks.book import Book


def test_the_page_is_made_of_its_results() -> None:
    book = Book.from_json((page.FOLDER / "results.json").read_text(encoding="utf-8"))
    assert book.about["size"] == "full"
    assert page.PAGE.read_text(encoding="utf-8") == page.write(book)


def test_every_picture_of_the_page_is_there() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    linked = {part.split(")")[0] for part in text.split("](performance/")[1:]}
    there = {path.name for path in page.FOLDER.iterdir()}
    assert linked == there
    assert "flame.svg" in linked
