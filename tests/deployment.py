"""Checks of the files that a page about deployment shows; none of them can be run by a test."""

from __future__ import annotations

import configparser
import itertools
import json
import re
import shlex
import shutil
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from pgflow_ref import WorkerConfig
from pgflow_ref.commands import cli
from tests.pages import BIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pages import Block


def parse(words: list[str]) -> dict[str, Any]:
    """Let the command read its words, and run nothing: its options, by name.

    Raises:
        click.UsageError: it does not take them.
    """
    assert words[0] == "pgflow-ref"
    command = cli.commands[words[1]]
    known = {
        name: parameter.name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    given = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
    assert set(given) <= set(known), f"{words[1]} does not take {set(given) - set(known)}"
    following = dict(itertools.pairwise(words))
    return {str(known[name]): following.get(name) for name in given}


def stop_timeout(words: list[str]) -> float:
    """How long a worker started like this lets its tasks go on."""
    return float(parse(words).get("stop_timeout") or WorkerConfig().stop_timeout)


def check_unit(block: Block, folder: Path) -> None:
    """A systemd unit: its command, its times, and what systemd itself says."""
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.code)
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/pgflow-ref")
    assert float(service["TimeoutStopSec"]) > stop_timeout(["pgflow-ref", *words])
    assert service["KillSignal"] == "SIGTERM"
    if shutil.which("systemd-analyze"):
        path = folder / "verified" / (block.title or "")
        path.parent.mkdir()
        path.write_text(block.code.replace(program, str(BIN / "pgflow-ref")), encoding="utf-8")
        result = subprocess.run(
            ["systemd-analyze", "verify", str(path)], check=False, capture_output=True, text=True
        )
        assert (result.returncode, result.stderr) == (0, ""), result.stderr


def check_image(block: Block) -> None:
    """A Dockerfile: instructions that exist, extras that exist, a command that gets signals."""
    lines = [line.split(maxsplit=1) for line in block.code.splitlines() if line.strip()]
    instructions = dict(lines)
    assert set(instructions) <= {"FROM", "WORKDIR", "RUN", "COPY", "USER", "STOPSIGNAL", "CMD"}
    assert lines[0][0] == "FROM"
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    extras = re.findall(r"pgflow-ref\[(\w+)\]", block.code)
    assert extras
    assert set(extras) <= set(metadata.metadata("pgflow-ref").get_all("Provides-Extra") or ())
    parse(json.loads(instructions["CMD"]))


def check_compose(block: Block) -> None:
    """A compose file: services with the keys that they may have, and time to stop."""
    (service,) = YAML(typ="safe").load(block.code)["services"].values()
    known = {"build", "environment", "stop_grace_period", "restart", "deploy"}
    assert set(service) <= known
    assert "DATABASE_URL" in service["environment"]
    assert float(service["stop_grace_period"].removesuffix("s")) > WorkerConfig().stop_timeout
