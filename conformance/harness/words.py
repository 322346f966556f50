"""The words of a worker that come to an end: `hello`, `compile` and `start`."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

from conformance.harness.adapters import Adapter, Hello
from conformance.harness.contract import mistake
from conformance.harness.processes import (
    UNSUPPORTED,
    NotSupported,
    WorkerProblem,
    environment,
    flood,
    left_behind,
    spawn,
    tail,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

ONE_SHOT_WITHIN: Final = 60.0  # seconds for `compile` and `start`
HELLO_WITHIN: Final = 20.0  # seconds for `hello`


class Word:
    """A worker's command at `hello`, `compile` or `start`, from its start to its end.

    Input and output are files and no pipes: a child that the command leaves behind would keep a
    pipe open. Leaving the `with` block kills what is left.

    Raises:
        WorkerProblem: the command cannot be started.
    """

    def __init__(
        self, adapter: Adapter, word: str, environ: Mapping[str, str], stdin: str = ""
    ) -> None:
        self._name = f"{adapter.name}: `{word}`"
        with ExitStack() as stack:
            given, self._stdout, self._stderr = (
                stack.enter_context(TemporaryFile()) for _ in range(3)
            )
            given.write(stdin.encode())
            given.seek(0)
            self._kin = spawn(
                adapter, word, environ, stdin=given, stdout=self._stdout, stderr=self._stderr
            )
            stack.callback(self._kin.end)
            self._stack = stack.pop_all()

    def finish(self, within: float | None = None) -> str:
        """Wait for its end; what it printed.

        Raises:
            NotSupported: it exited with 3.
            WorkerProblem: it failed, or took too long.
        """
        try:
            within = ONE_SHOT_WITHIN if within is None else within
            code = self._kin.process.wait(within)
        except subprocess.TimeoutExpired:
            raise WorkerProblem(f"{self._name} was not over after {within:g} s") from None
        for file, stream in (self._stdout, "stdout"), (self._stderr, "stderr"):
            if too_much := flood(stream, file.seek(0, os.SEEK_END)):
                raise WorkerProblem(f"{self._name}: {too_much}")
        if code == UNSUPPORTED:
            raise NotSupported(_text(self._stderr).strip())
        if code != 0:
            raise WorkerProblem(f"{self._name} exited with {code}: {tail(_text(self._stderr))}")
        if left := left_behind(self._kin):
            raise WorkerProblem(f"{self._name}: {left}")
        return _text(self._stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def run_word(adapter: Adapter, word: str, environ: Mapping[str, str], stdin: str = "") -> str:
    """Run `compile` or `start` to its end; what it printed.

    Raises:
        NotSupported: it exited with 3.
        WorkerProblem: it cannot be started, failed, or took too long.
    """
    with Word(adapter, word, environ, stdin) as started:
        return started.finish()


def introduced(adapter: Adapter) -> Adapter:
    """The adapter with what its word `hello` says; as it is, if that says nothing sensible.

    What is wrong with it then, `pgflow-conformance check-adapter` tells, and so does every case.
    """
    try:
        with Word(adapter, "hello", environment(None, Path(os.devnull))) as started:
            line = json.loads(started.finish(HELLO_WITHIN))
    except (NotSupported, WorkerProblem, ValueError, RecursionError):
        return adapter
    if mistake("hello", line) is not None:
        return adapter
    known = tuple(line.get("capabilities", ()))
    hello = Hello(line["name"], line["version"], line["handler_input"], known)
    return replace(adapter, language=line["language"], hello=hello)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
