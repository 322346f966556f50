"""PostgreSQL in a container, from the image of `docker/`: `--database docker`."""

from __future__ import annotations

import secrets
import socket
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.harness import hosts
from conformance.harness.hosts import HostError
from conformance.harness.leavings import Leavings
from conformance.harness.memory import has_room
from conformance.harness.ways import DIRECT

try:
    docker: Any = import_module("docker")  # to a type checker this is the folder of this project
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.config import testcontainers_config
except ImportError as missing:
    raise HostError(
        f"--database docker needs the package {missing.name}: pip install 'pgflow-ref[docker]'"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE: Final = "pgflow-database"
"""The image that is taken where none is named."""

_MEMORY: Final = "/memory"  # where files are, if there is memory to keep them in
_SETTINGS: Final = {"max_connections": "200", "fsync": "off", "jit": "off"}  # it is thrown away
_READY_WITHIN: Final = 120.0  # seconds from the start of the container to the first query
_LOOK_EVERY: Final = 0.1
_PORT: Final = "5432/tcp"


class _Postgres(PostgresContainer):
    """Waited for from outside: testcontainers would show the password in a command line."""

    def _connect(self) -> None:
        pass


class Container:
    """A PostgreSQL in a container of its own, reached on a free port of 127.0.0.1.

    Args:
        image: the image, or empty for that of `docker/`.
        say: is told what takes long.

    Attributes:
        name: how the engine calls the container.

    Raises:
        HostError: there is no engine or no image, or the container does not start.
    """

    prefix = ""
    in_place = False
    way = DIRECT

    def __init__(self, image: str, say: Callable[[str], None]) -> None:
        self._image = image or IMAGE
        self._password = secrets.token_urlsafe(24)
        _check_engine(self._image)
        self.name = f"pgflow-conformance-{secrets.token_hex(6)}"
        # A reaper of testcontainers' own would be one more image to fetch.
        testcontainers_config.ryuk_disabled = True
        self._leavings = Leavings({"container": self.name})
        say(f"starting PostgreSQL in a container of {self._image}")
        try:
            self._container = _Postgres(
                self._image,
                username="postgres",
                password=self._password,
                dbname="postgres",
                driver=None,
            ).with_name(self.name)
            self._container.ports = {_PORT: ("127.0.0.1",)}  # type: ignore[dict-item]
            words = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
            self._container.with_command(["postgres", *words])
            # By itself testcontainers would take the network of a container that it runs in.
            self._container.with_kwargs(shm_size="256m", network="bridge")
            if has_room():
                # Not where the image has a folder: it would lend the mount its own mode.
                self._container.with_tmpfs_mount(_MEMORY, "mode=1777")
                self._container.with_env("PGDATA", f"{_MEMORY}/database")
            self._container.start()
            self._url = f"postgresql://postgres:{self._password}@127.0.0.1:{self._port()}/postgres"
            self._version = self._wait()
        except docker.errors.APIError as error:
            self._leavings.remove()
            raise HostError(f"the Docker engine refuses: {error.explanation or error}") from None
        except docker.errors.DockerException as error:
            self._leavings.remove()
            raise HostError(f"the Docker engine failed: {error}") from None
        except BaseException:
            self._leavings.remove()
            raise

    @property
    def version(self) -> str:
        """As `Host` says."""
        return self._version

    def url(self) -> str:
        """As `Host` says."""
        return self._url

    def stop(self) -> None:
        """As `Host` says."""
        said = self._leavings.remove()
        if said:
            raise HostError(f"the container may be there still: {said}")

    def _port(self) -> int:
        container = self._container.get_wrapped_container()
        container.reload()
        bindings = container.ports.get(_PORT) or []
        if not bindings:
            raise HostError(f"the container has ended at once: {self._said()}")
        return int(bindings[0]["HostPort"])

    def _wait(self) -> str:
        """Wait for the first query; the server's version."""
        container = self._container.get_wrapped_container()
        give_up_at = time.monotonic() + _READY_WITHIN
        while True:
            try:
                with psycopg.connect(self._url, connect_timeout=5) as connection:
                    number = connection.info.server_version
                    return f"{number // 10_000}.{number % 10_000}"
            except psycopg.OperationalError as error:
                last = " ".join(str(error).split())
            container.reload()
            if container.status != "running":
                raise HostError(f"the container is {container.status}; it said: {self._said()}")
            if time.monotonic() > give_up_at:
                raise HostError(
                    f"the container runs, but 127.0.0.1:{self._port()} does not answer ({last}); "
                    "if the suite runs in a container itself, give that --network host"
                )
            time.sleep(_LOOK_EVERY)

    def _said(self) -> str:
        said: bytes = self._container.get_wrapped_container().logs(tail=20)
        return said.decode(errors="replace").strip().replace(self._password, "…")


def _knock(address: str) -> None:
    """Whether anybody listens at a Unix socket: docker's client loses its own where nobody does.

    Raises:
        OSError: nobody does.
    """
    kind, _, path = address.partition("://")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(path)


def _check_engine(image: str) -> None:
    """Refuse early, and in words, where there is no engine or no image.

    Raises:
        HostError: one of them is missing.
    """
    try:
        _knock(hosts.engine_address())
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise HostError(
            f"no Docker engine answers at {hosts.engine_address()} ({error}); start one, or say in "
            "DOCKER_HOST where it is, or take --database embedded"
        ) from None
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        raise HostError(
            f"there is no image {image}; make it: "
            f"docker build -f docker/Dockerfile -t {image} . (docker/README.md says more)"
        ) from None
    finally:
        client.close()
