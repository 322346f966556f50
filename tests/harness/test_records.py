"""Records, and the lines that they are written as."""

from __future__ import annotations

import doctest
import json
import re
from typing import TYPE_CHECKING

import pytest

from conformance.harness import records
from conformance.harness.fields import MalformedLine
from conformance.harness.records import (
    Case,
    Span,
    from_line,
    printable,
    read_records,
    to_line,
)
from tests.harness.streams import END, HOSTILE, SUITE, case, everything, mixed

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.records import Record


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


def test_printable_keeps_what_is_fine() -> None:
    assert printable("ein Öl\tund\nzwei 你好 🐍") == "ein Öl\tund\nzwei 你好 🐍"
    assert printable("\x1b]0;title\x07a\r\nb") == "a\nb"


@pytest.mark.parametrize("module", [records])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
