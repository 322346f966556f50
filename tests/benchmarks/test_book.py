from __future__ import annotations

import pytest

from benchmarks import tables
from benchmarks.book import Book


def measured() -> Book:
    book = Book({"core": "0.5.0"})
    for number, (above, below) in enumerate([(6.0, 3.0), (8.0, 2.0), (5.0, 5.0)]):
        book.note("above", number, above, "tasks/s")
        book.note("below", number, below, "tasks/s")
    return book


def test_a_ratio_is_made_of_figures_of_one_round() -> None:
    book = measured()
    book.compare("above / below", "above", "below")
    assert list(book.figures["above / below"].values.values()) == [2.0, 4.0, 1.0]
    assert book.medians()["above / below"] == 2.0


def test_a_ratio_of_what_was_not_measured_is_refused() -> None:
    with pytest.raises(KeyError, match="missing"):
        measured().compare("above / missing", "above", "missing")


def test_results_are_read_as_they_were_written() -> None:
    book = measured()
    assert Book.from_json(book.to_json()) == book


def test_results_of_another_format_are_refused() -> None:
    with pytest.raises(ValueError, match="measure again"):
        Book.from_json('{"format": 0}')


def test_figures_whose_names_begin_alike() -> None:
    book = measured()
    book.note("workers: 1", 0, 7.0, "tasks/s")
    book.note("workers: 2", 0, 9.0, "tasks/s")
    assert [name for name, _ in book.named("workers: ")] == ["1", "2"]


@pytest.mark.parametrize(("overhead", "met"), [(39.0, True), (41.0, False)])
def test_a_run_is_good_when_no_measured_target_is_missed(overhead: float, met: bool) -> None:
    book = measured()
    book.note("overhead", 0, overhead, "µs a task")
    assert tables.all_met(book) is met
