"""What many tests want made: a server with cores, and folders of a core's migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from conformance.harness.databases import Cluster, template_of
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.install import install, pins, sources

if TYPE_CHECKING:
    from pathlib import Path

Folder = Callable[..., str]
"""Makes a folder: of this name, with these files beside or in place of the core's."""

FILES = list(pins.load().core.files)
NEXT = "20991231235959_pgflow_next.sql"


@contextmanager
def cluster_with(*cores: str) -> Iterator[Cluster]:
    """A server of its own, with a template of each core."""
    with EmbeddedPostgres() as server:
        cluster = Cluster(server.url())
        for core in cores:
            cluster.create(template_of(core))
            install(cluster.url_of(template_of(core)), core)
        yield cluster


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Make a folder of all migrations that are known, and of others."""

    def make(name: str = "next", **others: str) -> str:
        made = tmp_path / name
        made.mkdir()
        texts = {file.name: file.text for file in sources.core_files(FILES)}
        for file, text in {**texts, **others}.items():
            (made / file).write_text(text)
        return str(made)

    return make
