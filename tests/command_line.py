"""The command `pgflow-ref` for tests: as a process, as one that goes on, and what it told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOWS = Path(__file__).with_name("flows_for_tests.py")
SECRET = "s3cr3t"
NOWHERE = f"postgresql://u:{SECRET}@127.0.0.1:1/shop"
UNWANTED = ("PGFLOW_DATABASE_URL", "DATABASE_URL", "PSYCOPG_IMPL")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in UNWANTED}
ENVIRONMENT["COLUMNS"] = "200"
_PATIENCE = 30.0  # as in conftest.py, which imports this module


Call = Callable[..., subprocess.CompletedProcess[str]]
"""What the fixture `call` gives."""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "pgflow_ref", *map(str, words)]


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a process."""
    return subprocess.run(
        command(*words),
        env={**ENVIRONMENT, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * _PATIENCE,
    )


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    """The command as a process that goes on; killed at the end, should it be there still."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(*words), env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends well has said on stderr."""
    _, stderr = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, "Traceback" in stderr) == (0, False), stderr
    return stderr


def told(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why the command could not be done."""
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr
    assert result.stderr.startswith("pgflow-ref: ")
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    return result.stderr
