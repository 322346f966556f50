"""What is in the package, and what it takes to use it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import psycopg
import pytest

import pgflow_ref
from pgflow_ref import errors
from pgflow_ref.install import pins


def python(program: str, *options: str) -> str:
    """What a program prints."""
    result = subprocess.run(
        [sys.executable, *options, "-c", program], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_it_loads_neither_psycopg_nor_asyncio() -> None:
    heavy = "{'psycopg', 'asyncio', 'click', 'rich', 'ssl', 'socket', 'subprocess'}"
    program = f"import sys, pgflow_ref; print(*sorted({heavy} & sys.modules.keys()))"
    assert python(program, "-S") == ""  # without what an environment loads at every start


def test_all_names_are_there() -> None:
    assert sorted(pgflow_ref.__all__) == pgflow_ref.__all__
    for name in pgflow_ref.__all__:
        assert getattr(pgflow_ref, name).__name__ == name
    program = "from pgflow_ref import *; print(PgFlow.__name__, Worker.__name__, Run.__name__)"
    assert python(program) == "PgFlow Worker Run"


def test_all_errors_are_exported() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert defined <= set(pgflow_ref.__all__)
    assert all(issubclass(getattr(errors, name), pgflow_ref.PgflowError) for name in defined)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'pgflow_ref' has no attribute 'nonsense'"):
        pgflow_ref.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("pgflow_ref.nonsense")


def test_psycopg_is_all_that_it_needs(tmp_path: Path) -> None:
    """In a Python that has nothing else: no extra, no dependency of an extra."""
    needed = ["psycopg", "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py"]
    site = Path(psycopg.__file__).parents[1]
    for name in [*needed, *(path.name for path in site.glob("psycopg*.dist-info"))]:
        if (site / name).exists():
            (tmp_path / name).symlink_to(site / name)
    (tmp_path / "pgflow_ref").symlink_to(Path(pgflow_ref.__file__).parent)
    program = f"""
import sys
sys.path.append({str(tmp_path)!r})
import pgflow_ref
print(pgflow_ref.Worker.__name__, pgflow_ref.PgFlow.__name__)
from pgflow_ref.install import known_cores
flow = pgflow_ref.Flow("hello")
flow.step("greet")(lambda name, ctx: name)
try:
    pgflow_ref.Worker(flow, "postgresql://127.0.0.1:1/shop").run()
except pgflow_ref.DatabaseUnavailable as error:
    print(error)
try:
    pgflow_ref.EmbeddedPostgres().start()
except pgflow_ref.EmbeddedError as error:
    print(error)
"""
    names, unavailable, embedded = python(program, "-I", "-S").splitlines()
    assert names == "Worker PgFlow"
    assert unavailable.startswith("no connection to database 'shop'")
    assert embedded.endswith("install pgflow-ref[embedded]")


def test_the_package_is_typed_and_has_its_data() -> None:
    package = resources.files("pgflow_ref")
    assert (package / "py.typed").is_file()
    files = {path.name for path in (package / "data" / "sql").iterdir()}
    assert files == {
        "pg_cron.sql",
        "pg_net.sql",
        "read_with_poll.sql",
        "realtime_send.sql",
        "set_vt_batch.sql",
        "supabase_vault.sql",
    }
    for name in files:
        assert pins.our_sql(name.removesuffix(".sql")).strip()
    assert "0.5.0" in pins.load().releases


def test_the_version_is_the_same_everywhere() -> None:
    assert metadata.version("pgflow-ref") == pgflow_ref.__version__


def test_psycopg_is_the_only_dependency() -> None:
    needed = metadata.requires("pgflow-ref") or []
    assert [name for name in needed if "extra ==" not in name] == ["psycopg<4,>=3.2.2"]
