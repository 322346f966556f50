"""The image of the database, and `--database docker`; without an engine or the image, skipped.

`.ci/docker` builds the images under names of its own, which PGFLOW_DATABASE_IMAGE says, and sets
CONFORMANCE_DOCKER=required, where skipping is a failure.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
import pytest

from conformance.harness import hosts
from conformance.harness.databases import Cluster
from conformance.harness.hosts import HostError
from pgflow_ref.install import inspect, install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.harness.container import Container

IMAGE: Final = os.environ.get("PGFLOW_DATABASE_IMAGE", "pgflow-database")
OTHER: Final = f"{IMAGE}:0.5.0-pgmq-1.13.0"  # made by .ci/docker alone
PATIENCE: Final = 90.0  # seconds for a container to be healthy, or gone

KILLED: Final = """
import sys
import time
from conformance.harness import hosts
host = hosts.start(sys.argv[1], in_place=False, say=lambda _: None)
print(host.name, flush=True)
time.sleep(600)
"""


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def why_not() -> str:
    """Why these tests cannot run here, or nothing."""
    try:
        subprocess.run(
            ["docker", "image", "inspect", IMAGE], check=True, capture_output=True, timeout=20
        )
    except FileNotFoundError:
        return "there is no docker command"
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return f"there is no Docker engine, or no image {IMAGE} (docker/README.md)"
    return ""


@pytest.fixture(autouse=True, scope="module")
def _engine() -> None:
    reason = why_not()
    if reason and os.environ.get("CONFORMANCE_DOCKER") == "required":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start a container; its name."""
    names: list[str] = []

    def start(*words: str, image: str = IMAGE) -> str:
        names.append(f"pgflow-test-{secrets.token_hex(6)}")
        docker("run", "--detach", "--name", names[-1], "-p", "127.0.0.1::5432", *words, image)
        return names[-1]

    yield start
    for name in names:
        subprocess.run(["docker", "rm", "-f", "-v", name], check=True, capture_output=True)


def state(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", name))
    return found


def is_there(name: str) -> bool:
    return bool(docker("ps", "--all", "--quiet", "--filter", f"name={name}"))


def wait_for(until: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def healthy(name: str) -> bool:
    now = state(name)
    assert now["Status"] == "running", docker("logs", name)
    return bool(now["Health"]["Status"] == "healthy")


def url_of(name: str, user: str, password: str, database: str) -> str:
    where = docker("port", name, "5432/tcp").splitlines()[0]
    assert where.startswith("127.0.0.1:")
    return f"postgresql://{user}:{password}@{where}/{database}"


def test_it_is_ready_when_it_is_healthy_for_the_user_that_was_asked_for(
    start: Callable[..., str],
) -> None:
    password = secrets.token_urlsafe(16)
    name = start(
        *("-e", "POSTGRES_USER=shop", "-e", f"POSTGRES_PASSWORD={password}"),
        *("-e", "POSTGRES_DB=orders"),
    )
    wait_for(lambda: healthy(name))
    with psycopg.connect(url_of(name, "shop", password, "orders")) as connection:
        found = inspect(connection)
        connection.execute("SELECT pgflow.create_flow('first')")
        assert found.core.version == "0.8.1"
        assert (found.pgmq.kind, found.pgmq.version) == ("extension", "1.11.1")
        assert found.realtime == "ours"
    assert install(url_of(name, "shop", password, "orders"), "0.8.1").changed is False
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url_of(name, "shop", "wrong", "orders"))
    assert docker("exec", name, "id", "-un") == "postgres"
    assert password not in docker("logs", name)
    # What is in it stays over a restart, and nothing is made anew.
    docker("restart", name)
    wait_for(lambda: healthy(name))
    with psycopg.connect(url_of(name, "shop", password, "orders")) as connection:
        assert connection.execute("SELECT flow_slug FROM pgflow.flows").fetchall() == [("first",)]


def test_without_a_password_it_says_what_to_set(start: Callable[..., str]) -> None:
    name = start()
    wait_for(lambda: state(name)["Status"] == "exited")
    said = subprocess.run(["docker", "logs", name], check=True, capture_output=True, text=True)
    assert state(name)["ExitCode"] == 2
    assert "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" in said.stderr


def test_another_core_and_another_pgmq_are_what_the_image_says(start: Callable[..., str]) -> None:
    there = docker("images", "--quiet", OTHER)
    if not there and os.environ.get("CONFORMANCE_DOCKER") != "required":
        pytest.skip(f"there is no image {OTHER}")
    name = start("-e", "POSTGRES_PASSWORD=x", image=OTHER)
    wait_for(lambda: healthy(name))
    with psycopg.connect(url_of(name, "postgres", "x", "postgres")) as connection:
        found = inspect(connection)
        assert found.core.version == "0.5.0"
        assert found.core.replaced == ("pgflow.read_with_poll", "pgflow.set_vt_batch")
        assert (found.pgmq.kind, found.pgmq.version) == ("extension", "1.13.0")


def test_a_host_in_a_container_takes_cases_and_is_gone() -> None:
    host = hosts.start(f"docker={IMAGE}", in_place=False, say=lambda _: None)
    name = cast("Container", host).name
    try:
        assert is_there(name)
        cluster = Cluster(host.url(), host.prefix)
        cluster.create("template")
        report = install(cluster.url_of("template"), "0.5.0")
        assert "pgmq 1.11.1 is the extension" in report.notes
        cluster.create("copy", "template")
        with psycopg.connect(cluster.url_of("copy")) as connection:
            assert inspect(connection).core.version == "0.5.0"
    finally:
        host.stop()
    assert not is_there(name)


def test_the_container_of_a_killed_run_is_removed() -> None:
    command = [sys.executable, "-c", KILLED, f"docker={IMAGE}"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        name = run.stdout.readline().strip()
        assert name.startswith("pgflow-conformance-")
        assert is_there(name)
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_for(lambda: not is_there(name))


def test_an_image_that_is_missing_is_named_with_the_way_to_make_it() -> None:
    with pytest.raises(HostError, match=r"no image no-such-image; make it: docker build"):
        hosts.start("docker=no-such-image", in_place=False, say=lambda _: None)
