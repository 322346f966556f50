"""What is public has types that no checker has to guess; `tests/typing/` is checked by two."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pgflow_ref
from tests.pages import BIN, ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ("logs", "opentelemetry", "pytest_plugin", "telemetry", "testing")


def test_every_type_is_known_to_pyright(tmp_path: Path) -> None:
    words = [str(BIN / "pyright"), "--pythonpath", str(BIN / "python"), "--verifytypes"]
    result = subprocess.run(
        [*words, "pgflow_ref", "--ignoreexternal", "--outputjson"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(result.stdout)["typeCompleteness"]
    known = {
        symbol["name"]: symbol["isTypeKnown"] and not symbol.get("isTypeAmbiguous")
        for symbol in found["symbols"]
    }
    public = {
        name
        for name in known
        if name.removeprefix("pgflow_ref.") in pgflow_ref.__all__
        or name.removeprefix("pgflow_ref.").partition(".")[0] in MODULES
    }
    assert len(public) > len(pgflow_ref.__all__)
    assert sorted(name for name in public if not known[name]) == []
