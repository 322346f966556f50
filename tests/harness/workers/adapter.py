"""The suite's own Python adapter with one thing wrong: `adapter.py <way> <word>`."""

# ruff: noqa: T201  # lines are its work

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[3] / "conformance" / "workers" / "python"
RIGHT = [sys.executable, str(FOLDER / "adapter.py")]


def main() -> None:
    way, word = sys.argv[1:]
    change = CHANGES.get((way, word))
    if change is not None:
        change()
    os.execv(sys.executable, [*RIGHT, word])


def fixture_without(kind: str) -> None:
    """Take out of the fixture what the adapter does not know, as if it was not there."""
    path = Path(os.environ["PGFLOW_FIXTURE"])
    fixture = json.loads(path.read_text(encoding="utf-8"))
    fixture[kind].pop("mood", None)
    path.write_text(json.dumps(fixture), encoding="utf-8")


def changed(old: str, new: str) -> None:
    """Change the adapter's own text."""
    text = (FOLDER / "adapter.py").read_text(encoding="utf-8")
    assert old in text
    sys.path.insert(0, str(FOLDER))
    code = compile(text.replace(old, new), "adapter.py", "exec")
    exec(code, {"__name__": "__main__"})
    sys.exit(0)


def keep_back() -> None:
    """Flush nothing, as if nobody had asked for it."""
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False), 2**20))
    changed("sys.stdout.flush()", "pass")


def lose_a_child() -> None:
    subprocess.Popen(["sleep", "1000"])


def finish(code: int, text: str = "") -> None:
    print(text)
    print("I give up", file=sys.stderr)
    sys.exit(code)


CHANGES: dict[tuple[str, str], Callable[[], object]] = {
    ("hello fails", "hello"): lambda: finish(1),
    ("hello twice", "hello"): lambda: print("{}", flush=True),
    ("hello without a version", "hello"): lambda: changed('"version": __version__', '"v": 1'),
    ("another contract", "hello"): lambda: changed('"contract": 1', '"contract": 2'),
    ("text for SQL", "compile"): lambda: finish(0, "SELECT 1"),
    ("no SQL", "compile"): lambda: finish(0, "[]"),
    ("a word it knows not", "dance"): lambda: finish(0),
    ("an option it knows not", "work"): lambda: fixture_without("worker"),
    ("silence", "dance"): lambda: sys.exit(3),
    ("bare ids", "start"): lambda: changed("say(run_id=str(", "print(str("),
    ("one run only", "start"): lambda: changed("in sys.stdin:", "in [sys.stdin.readline()]:"),
    ("a banner", "work"): lambda: print("Welcome!", flush=True),
    ("no flush", "work"): keep_back,
    ("no call", "work"): lambda: changed('type="call"', 'type="called"'),
    ("another id", "work"): lambda: changed("str(worker_id)", "str(worker_id).upper()"),
    ("another form", "work"): lambda: changed(
        '"handler_input": "split"', '"handler_input": "whole"'
    ),
    ("no stopped", "work"): lambda: changed('say(type="stopped")', "pass"),
    ("a code", "work"): lambda: changed('say(type="stopped")', 'sys.exit("sore")'),
    ("a child", "work"): lose_a_child,
    ("not supported", "work"): lambda: finish(3),
    ("it dies", "work"): lambda: finish(7),
}

if __name__ == "__main__":
    main()
