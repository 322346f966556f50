"""Runs the code of a page: its blocks in order, as a reader would, in one folder and one database.

What a block is stands in its fence, and what GitHub shows of a page stays plain Markdown:

- ```` ```python ```` runs in the namespace of the page. With `title="flows.py"` it is written to
  that file instead, and whatever comes later may import it; as any other block with a title.
- ```` ```text ```` after Python is what that printed.
- ```` ```sh ```` runs in bash, and has to succeed. After `<!-- in the background -->` it goes on to
  the end of the page, where it is asked to end, and has to end well.
- ```` ```console ```` has commands after `$`, and what they print.
- ```` ```json ```` has to be JSON, and ```` ```mermaid ```` is not run.

In what is printed, `…` stands for anything. Everything else is checked by the page's own test, or
has a comment `<!-- not run: why -->` before it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.conftest import PATIENCE, wait_until

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
BIN: Final = Path(sys.executable).parent
SECRETS: Final = ("DATABASE_URL", "PGFLOW_DATABASE_URL", "PSYCOPG_IMPL")

_FENCE: Final = re.compile(
    r"^(?:<!-- (?P<comment>[^\n]*?) -->\n+)?"
    r"^```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_TITLE: Final = re.compile(r'title="([^"]+)"')

Check = Callable[["Block"], None]
"""What a page's own test does with a block that is not run as it is."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    comment: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"],
            title[1] if (title := _TITLE.search(match["info"])) else None,
            match["comment"] or "",
            match["code"],
        )
        for match in _FENCE.finditer(text)
    ]
    fences = len(re.findall(r"^\s*```", text, re.MULTILINE))
    assert fences == 2 * len(found), f"{page} has a block without a language, or an indented one"
    return found


class Reader:
    """Does what a page says."""

    def __init__(self, page: Path, folder: Path, url: str, checks: dict[str, Check]) -> None:
        self.page = page
        self.folder = folder
        self.url = url
        self.checks = checks
        self.names: dict[str, Any] = {"__name__": "page"}
        self.printed: str | None = None
        self.did: list[str] = []
        self._background: list[tuple[Block, subprocess.Popen[str]]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in SECRETS},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DATABASE_URL": url,
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "DENO_NO_UPDATE_CHECK": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def read(self) -> None:
        """Run all blocks, and end what was started."""
        modules = set(sys.modules)
        sys.path.insert(0, str(self.folder))
        sys.dont_write_bytecode, wrote = True, sys.dont_write_bytecode
        try:
            with _in(self.folder):
                for block in blocks(self.page):
                    self._do(block)
                self._end()
        finally:
            sys.dont_write_bytecode = wrote
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - modules:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(self.folder)):
                    del sys.modules[name]
            for _, process in self._background:
                process.kill()
                process.communicate()

    def _do(self, block: Block) -> None:
        if block.comment.startswith("not run: "):
            self.did.append(f"{block}: {block.comment}")
            return
        check = self.checks.get(block.title or block.language)
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
            assert check or path.suffix in {".py", ".ts", ".json"}, f"{block}: nothing checks it"
            if path.suffix == ".py":
                compile(block.code, str(block), "exec")
        if check is not None:
            check(block)
        elif block.title is None:
            getattr(self, f"_{block.language}", self._nothing)(block)

    def _nothing(self, block: Block) -> None:
        raise AssertionError(f"{block}: nothing checks a block of {block.language}")

    def _mermaid(self, block: Block) -> None:
        pass

    def _json(self, block: Block) -> None:
        json.loads(block.code)

    def _python(self, block: Block) -> None:
        printed = io.StringIO()
        # So many lines before it that a traceback shows the page's own.
        code = compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        self.printed = printed.getvalue()

    def _text(self, block: Block) -> None:
        assert self.printed is not None, f"{block}: nothing before it prints"
        compare(block, block.code, self.printed)
        self.printed = None

    def _sh(self, block: Block) -> None:
        if block.comment == "in the background":
            self._start(block)
        else:
            self._run(block, block.code)

    def _console(self, block: Block) -> None:
        parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", block.code, flags=re.MULTILINE)
        assert parts[0] == "", f"{block}: the first line is a command"
        for command, output in zip(parts[1::2], parts[2::2], strict=True):
            compare(block, output, self._run(block, command))

    def _run(self, block: Block, script: str) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self._environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=4 * PATIENCE,
        )
        expected = int(code[1]) if (code := re.match(r"exits with (\d+)", block.comment)) else 0
        assert result.returncode == expected, f"{block}: {script}\n{result.stdout}"
        return result.stdout

    def _start(self, block: Block) -> None:
        """Start a process, and wait until it has a worker for each flow that it was given."""
        # All of them: one that came later would be taken for the next process's, which would then
        # be ended before it heeds signals.
        wanted = self._workers() + max(1, len(re.findall(r"\S+\.py:\w+", block.code)))
        log = self.folder / f"background-{len(self._background)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {block.code}"],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._background.append((block, process))
        wait_until(lambda: self._workers() >= wanted or process.poll() is not None)
        assert process.poll() is None, f"{block}: it is over: {log.read_text()}"

    def _workers(self) -> int:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT count(*) FROM pgflow.workers").fetchall()
        count: int = rows[0][0]
        return count

    def _end(self) -> None:
        for _, process in self._background:
            process.send_signal(signal.SIGTERM)
        for number, (block, process) in enumerate(self._background):
            process.communicate(timeout=2 * PATIENCE)
            log = (self.folder / f"background-{number}.log").read_text()
            assert process.returncode == 0, f"{block}: it ended with {process.returncode}: {log}"


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """contextlib.chdir, which Python 3.10 has not."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def compare(block: Block, promised: str, printed: str) -> None:
    """Hold what was printed against what the page shows."""
    pattern = ".*?".join(re.escape(part) for part in _plain(promised).split("…"))
    assert re.fullmatch(pattern, _plain(printed), re.DOTALL), (
        f"{block}: it says\n{promised}\nand this was printed:\n{printed}"
    )


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def commands(text: str) -> list[list[str]]:
    """The calls of `pgflow-ref` in shell code, in words."""
    lines = text.replace("\\\n", " ").splitlines()
    found = (re.search(r"(?:^|\$ |exec |&& |\| )(pgflow-ref .*)", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in found if match]
