"""The code in README.md works as it stands there."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from pgflow_ref import EmbeddedPostgres, Flow, Worker
from pgflow_ref.commands import cli
from pgflow_ref.compile import compile_flow
from pgflow_ref.connection import connect
from pgflow_ref.install import install

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with EmbeddedPostgres() as server:
        install(server.url())
        monkeypatch.setenv("DATABASE_URL", server.url())
        yield server.url()


def test_python_of_the_readme(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    declare, start, _ = blocks("python")
    names: dict[str, Any] = {}
    exec(declare, names)
    flow = next(value for value in names.values() if isinstance(value, Flow))
    with connect(database) as connection:
        for statement in compile_flow(flow.shape):
            connection.execute(statement.encode())
    worker = Worker(flow, database, min_poll_interval=0.05, max_poll_interval=0.1)
    thread = threading.Thread(target=lambda: worker.run(signals=False))
    thread.start()
    try:
        exec(start, names)
    finally:
        worker.stop()
        thread.join()
    promised = re.search(r"print\(run\.output\)  # (.*)", start)
    assert promised is not None
    assert capsys.readouterr().out.strip() == promised[1]


def test_the_readme_tests_its_flow_in_memory() -> None:
    declare, _, memory = blocks("python")
    names: dict[str, Any] = {}
    exec(declare, names)
    exec(memory, names)  # it asserts
    assert names["pgflow"].get_run(names["run_id"]).status == "completed"


def test_commands_of_the_readme_exist() -> None:
    commands = re.findall(r"^pgflow-ref (\w+)", "".join(blocks("sh")), re.MULTILINE)
    assert set(commands) == set(cli.commands)
    for command in commands:
        assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0


def test_files_of_the_readme_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    scripts = re.findall(r"^\./(scripts/\w+)", "".join(blocks("sh")), re.MULTILINE)
    assert links
    assert scripts
    missing = [name for name in (*links, *scripts) if not (ROOT / name).exists()]
    assert missing == []
