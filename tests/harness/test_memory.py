"""Servers keep their files in memory, where there is enough of it and nobody says otherwise."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from conformance.harness import memory
from conformance.harness.memory import in_memory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def place(monkeypatch: pytest.MonkeyPatch, folder: Path, needed: int) -> str:
    monkeypatch.setattr(memory, "MEMORY", folder)
    monkeypatch.setattr(memory, "NEEDED", needed)
    before = tempfile.gettempdir()
    with in_memory():
        inside = tempfile.gettempdir()
    assert tempfile.gettempdir() == before
    return inside


def test_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert place(monkeypatch, tmp_path, 0) == str(tmp_path)


def test_not_where_there_is_too_little_or_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert place(monkeypatch, tmp_path, 2**62) == tempfile.gettempdir()
    assert place(monkeypatch, tmp_path / "none", 0) == tempfile.gettempdir()


def test_not_where_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())
    assert place(monkeypatch, tmp_path, 0) == tempfile.gettempdir()
