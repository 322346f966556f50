"""What images and compose file are made of, as far as it shows without an engine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from ruamel.yaml import YAML

from pgflow_ref.compile import compile_flow
from pgflow_ref.install import pins

if TYPE_CHECKING:
    from types import ModuleType

ROOT: Final = Path(__file__).parent.parent.parent
DOCKER: Final = ROOT / "docker"


def loaded(path: Path) -> ModuleType:
    """A script as a module; it does nothing by itself."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script that makes the extension, with a folder of packages of its own."""
    module = loaded(DOCKER / "extension.py")
    monkeypatch.setattr(module, "PACKAGES", tmp_path / "packages")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mine.sql").write_text("SELECT 1;", encoding="utf-8")
    return module


CHECKSUM: Final = hashlib.sha256(b"SELECT 1;").hexdigest()


@pytest.mark.parametrize("version", pins.known_pgmqs())
def test_a_known_pgmq_becomes_an_extension(
    extension: ModuleType, tmp_path: Path, version: str
) -> None:
    extension.main(version, "", "", tmp_path / "made")
    script = (tmp_path / "made" / f"pgmq--{version}.sql").read_bytes()
    assert (
        hashlib.sha256(script).hexdigest() == pins.load().queues[version].package.files["pgmq.sql"]
    )
    control = (tmp_path / "made" / "pgmq.control").read_text(encoding="utf-8")
    assert f"default_version = '{version}'" in control


def test_another_pgmq_comes_from_a_file_with_its_checksum(
    extension: ModuleType, tmp_path: Path
) -> None:
    extension.main("1.4.4", "mine.sql", CHECKSUM, tmp_path / "made")
    assert (tmp_path / "made" / "pgmq--1.4.4.sql").read_text(encoding="utf-8") == "SELECT 1;"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("1.4.4", "", ""), "pgmq 1.4.4 is not known"),
        (("1.4.4", "mine.sql", ""), "must be the SHA-256"),
        (("1.4.4", "mine.sql", "0" * 64), "is not what it should be"),
        (("1.4.4", "none.sql", CHECKSUM), "cannot be read"),
        (("../x", "mine.sql", CHECKSUM), "no version of pgmq"),
    ],
)
def test_no_extension_is_made_of_what_is_not_certain(
    extension: ModuleType, tmp_path: Path, given: tuple[str, str, str], says: str
) -> None:
    with pytest.raises(SystemExit, match=says):
        extension.main(*given, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def compose() -> dict[str, Any]:
    services: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]
    return services


def test_compose_has_a_database_two_workers_and_a_client_with_images_that_exist() -> None:
    services = compose()
    assert {"database", "python-worker", "deno-worker", "client"} <= services.keys()
    for service in services.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        for after in service.get("depends_on", {}):
            assert after in services


def test_services_one_by_one_are_those_of_the_compose_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = loaded(ROOT / ".ci" / "services.py")
    monkeypatch.setenv("PGFLOW_PASSWORD", "secret")
    for name in "PGFLOW_PORT", "PGFLOW_DATABASE_IMAGE":
        monkeypatch.delenv(name, raising=False)
    words = services.command("x", "database", compose()["database"])
    assert words[-1] == "pgflow-database"
    assert words[words.index("--publish") + 1] == "127.0.0.1:5432:5432"
    assert words[words.index("POSTGRES_PASSWORD") - 1] == "--env"
    assert services.environment(compose()["database"])["POSTGRES_PASSWORD"] == "secret"
    monkeypatch.setenv("PGFLOW_DATABASE_IMAGE", "mine")
    assert services.command("x", "database", compose()["database"])[-1] == "mine"
    words = services.command("x", "deno-worker", compose()["deno-worker"])
    assert words[words.index("--entrypoint") + 1] == "sh"
    assert words[-2:] == ["deno", "work"]
    with pytest.raises(SystemExit, match="privileged"):
        services.command("x", "database", {**compose()["database"], "privileged": True})
    monkeypatch.delenv("PGFLOW_PASSWORD")
    with pytest.raises(SystemExit, match="PGFLOW_PASSWORD is not set"):
        services.environment(compose()["database"])


def test_no_command_line_shows_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = loaded(ROOT / ".ci" / "services.py")
    monkeypatch.setenv("PGFLOW_PASSWORD", "secret")
    for name, service in compose().items():
        assert "secret" not in " ".join(services.command("x", name, service))
    # What is not on the command line, docker takes from its environment.
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$* $POSTGRES_PASSWORD"\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    given = services.environment(compose()["database"])
    assert services.docker("run", "--env", "POSTGRES_PASSWORD", given=given) == (
        "run --env POSTGRES_PASSWORD secret"
    )


def test_both_workers_of_the_compose_file_have_the_same_flow(tmp_path: Path) -> None:
    given = json.loads((DOCKER / "demo" / "flow.json").read_text(encoding="utf-8"))
    in_python = runpy.run_path(str(DOCKER / "demo" / "flow.py"))["side_by_side"]
    fixture = tmp_path / "flow.json"
    fixture.write_text(json.dumps({"flow": given["flow"]}), encoding="utf-8")
    adapter = ROOT / "conformance" / "workers" / "python" / "adapter.py"
    compiled = subprocess.run(
        [sys.executable, str(adapter), "compile"],
        env={"PGFLOW_FIXTURE": str(fixture), "PGFLOW_CONTRACT": "1", "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(compiled.stdout) == compile_flow(in_python.shape)
