"""Take the services of docker/compose.yaml up one by one, where `docker compose` is missing.

    .venv/bin/python .ci/services.py PREFIX

Starts a container for each, with names that begin with PREFIX, in the order that they depend on
each other; waits for what they wait for; ends with the exit code of `client`. What it does not
understand of the file is an error, so that nothing of it is left out in silence. Whoever calls it
removes the containers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).parent.parent / "docker" / "compose.yaml"
WITHIN: Final = 180.0  # seconds for a service to be as it should be
STOPPED_WITHIN: Final = 90  # seconds for a worker to end by itself
LAST: Final = "client"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_KNOWN: Final = frozenset(
    [
        "image",
        "build",
        "environment",
        "ports",
        "shm_size",
        "depends_on",
        "working_dir",
        "entrypoint",
        "command",
    ]
)


def filled(text: str) -> str:
    """A text with the variables of the environment, as compose fills them in."""

    def value(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        given = os.environ.get(name, "")
        if not given and kind == "?":
            sys.exit(f"{name} is not set: {other}")
        return given or (other if kind == "-" else "")

    return _VARIABLE.sub(value, text)


def docker(*words: str, given: Mapping[str, str] | None = None) -> str:
    """What a docker command prints; it is given more variables in its environment."""
    done = subprocess.run(
        ["docker", *words],
        env={**os.environ, **(given or {})},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"docker {words[0]} {words[-1]}: {done.stderr.strip()}")
    return done.stdout.strip()


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a service. They hold a password, which no command line is to show."""
    return {key: filled(str(value)) for key, value in service.get("environment", {}).items()}


def command(prefix: str, name: str, service: dict[str, Any]) -> list[str]:
    """The words of `docker run` for a service, with the names of its variables."""
    unknown = service.keys() - _KNOWN
    if unknown:
        sys.exit(f"{FILE.name}: {name} has {', '.join(sorted(unknown))}, which is not known here")
    words = ["run", "--detach", "--name", f"{prefix}-{name}", "--network", prefix]
    words += ["--network-alias", name]
    for key in service.get("environment", {}):
        words += ["--env", key]
    for port in service.get("ports", ()):
        words += ["--publish", filled(str(port))]
    for key, option in ("shm_size", "--shm-size"), ("working_dir", "--workdir"):
        if key in service:
            words += [option, str(service[key])]
    entry = [str(word) for word in service.get("entrypoint", ())]
    if entry:
        words += ["--entrypoint", entry[0]]
    after = [str(word) for word in service.get("command", ())]
    return [*words, filled(str(service["image"])), *entry[1:], *after]


def wait(container: str, condition: str) -> None:
    """Wait until a container is as another one wants it."""
    give_up_at = time.monotonic() + WITHIN
    form = (
        "{{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
    )
    wanted = {
        "service_started": ("running 0",),
        "service_healthy": ("running 0 healthy",),
        "service_completed_successfully": ("exited 0",),
    }[condition]
    while True:
        state = docker("inspect", "--format", form, container)
        if state.startswith(wanted):
            return
        if time.monotonic() > give_up_at or state.startswith(("exited", "dead")):
            logs = subprocess.run(["docker", "logs", container], check=False, capture_output=True)
            said = (logs.stdout + logs.stderr).decode(errors="replace")[-2000:]
            sys.exit(f"{container} is {state!r}, not {condition}; it said:\n{said}")
        time.sleep(0.2)


def main(prefix: str) -> int:
    """Start all, and wait for the last; the exit code."""
    services = YAML(typ="safe").load(FILE)["services"]
    docker("network", "create", prefix)
    waiting = dict(services)
    started: set[str] = set()
    while waiting:
        ready = [
            name
            for name, service in waiting.items()
            if started >= service.get("depends_on", {}).keys()
        ]
        if not ready:
            sys.exit(f"{FILE.name}: {', '.join(waiting)} depend on each other")
        for name in sorted(ready, key=lambda name: name == LAST):
            service = waiting.pop(name)
            for other, how in service.get("depends_on", {}).items():
                wait(f"{prefix}-{other}", how["condition"])
            docker(*command(prefix, name, service), given=environment(service))
            started.add(name)
            print(f"started {name}", flush=True)
    code = int(docker("wait", f"{prefix}-{LAST}"))
    print(docker("logs", f"{prefix}-{LAST}"))
    for name in services:
        if name.endswith("worker"):
            wait(f"{prefix}-{name}", "service_started")
            # After 10 s, which is little on a busy machine, docker kills unless it is told another.
            docker("stop", "-t", f"{STOPPED_WITHIN}", f"{prefix}-{name}")
            wait(f"{prefix}-{name}", "service_completed_successfully")
            print(f"{name} was asked to stop, and ended with 0")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
