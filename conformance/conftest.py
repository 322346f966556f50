"""Command-line options and fixtures of the suite; everything else is in `harness/`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.core import evidence
from conformance.harness import (
    cases,
    conclusion,
    cores,
    deviations,
    hosts,
    options,
    selection,
)
from conformance.harness.adapters import AdapterError, find
from conformance.harness.attaching import check_attached
from conformance.harness.cases import FIXTURES, Case, CaseError
from conformance.harness.cores import CoreError
from conformance.harness.databases import CORE
from conformance.harness.deviations import DeviationsError
from conformance.harness.hosts import HostError
from conformance.harness.lister import Lister, one_process
from conformance.harness.plugin import (
    Carrier,
    Conclude,
    Conductor,
    deviations_path,
    session_of,
)
from conformance.harness.session import USUAL_CORES
from conformance.harness.stage import ROLES
from pgflow_ref.errors import PgflowError
from pgflow_ref.profiles import known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.harness.adapters import Adapter
    from conformance.harness.databases import Cluster
    from conformance.harness.deviations import Deviation
    from conformance.harness.records import Record
    from conformance.harness.session import Session
    from conformance.harness.trial import Trial


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    options.add(parser.getgroup("conformance", "pgflow conformance suite"))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start conducting, in the process that people started."""
    config.pluginmanager.register(Carrier(), "conformance-carrier")
    if hasattr(config, "workerinput"):
        return
    names = _workers(config)
    config.option.core = list(dict.fromkeys(config.getoption("--core") or ()))  # each once
    pgmq, force = config.getoption("--pgmq"), config.getoption("--force")
    try:
        found = [find(name).name for name in names]
        cores.check(config.option.core, pgmq, force=force)
        hosts.check(config.getoption("--database"), in_place=config.getoption("--in-place"))
        minutes = config.getoption("--differential-minutes")
        if minutes is not None and not minutes > 0:
            raise ValueError("--differential-minutes must be more than 0")  # noqa: TRY301
        if config.getoption("--record") and config.getoption("--core-patch"):
            raise ValueError("--record keeps what a core does, not what a patch of it does")  # noqa: TRY301
        if len(set(found)) < len(found):
            raise AdapterError(f"two workers have one name: {', '.join(found)}")  # noqa: TRY301
        check_attached(config.getoption("--attach") or (), ROLES, found)
        evidence.decode(config.getoption("--replay") or evidence.encode([]))
        known_here = deviations.load(deviations_path(config))
    except (AdapterError, CoreError, DeviationsError, HostError, PgflowError, ValueError) as error:
        selection.refuse(config, error)
    if config.getoption("--list") or config.getoption("--explain"):
        config.pluginmanager.register(Lister(config, known_here), "conformance-lister")
        return
    capture = config.pluginmanager.get_plugin("capturemanager")
    if config.getoption("--attach") and capture is not None:
        capture.stop_global_capturing()  # what a person has to do is said during a test
        config.pluginmanager.unregister(capture)
    folder = Path(config.rootpath, config.getoption("--results"))
    config.pluginmanager.register(Conductor(config, names, folder), "conformance-conductor")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """What is looked at, or played with a person or in one database, needs one process."""
    if any(map(config.getoption, ("--list", "--explain", "--attach", "--in-place"))):
        one_process(config)


def _workers(config: pytest.Config) -> list[str]:
    return list(config.getoption("--worker") or ["python", "deno", "plain"])


def _cores(config: pytest.Config) -> list[str]:
    """The cores to compare with the model; a patch fits one version."""
    chosen = config.getoption("--core")
    if config.getoption("--core-patch"):
        return list(chosen or [CORE])[:1]
    return list(chosen or ([CORE] if config.getoption("--quick") else known()))


def _cores_of(case: Case, config: pytest.Config) -> list[str]:
    """The cores to try a case on: all that were asked for and it is about, or the usual one."""
    chosen = config.getoption("--core")
    there = chosen or USUAL_CORES
    admitted = [core for core in there if case.admits(cores.of(core).version)]
    return admitted if chosen else admitted[:1]


def _listed(
    source: str | Callable[[list[Adapter]], list[Case]], config: pytest.Config
) -> list[Case]:
    """The cases of a module: those of a file or folder, or made for the workers that take part."""
    if callable(source):
        return source([find(name) for name in _workers(config)])
    return cases.load_all(FIXTURES / "cases" / source)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every case, and for `worker` one for each worker."""
    try:
        if "worker_name" in metafunc.fixturenames:
            names = _workers(metafunc.config)
            metafunc.parametrize("worker_name", [find(name).name for name in names])
        if "case" in metafunc.fixturenames:
            listed = _listed(metafunc.module.CASES, metafunc.config)
            if "core" in metafunc.fixturenames:
                pairs = [(one, core) for one in listed for core in _cores_of(one, metafunc.config)]
                names = [f"{one.id}-{cores.of(core).label}" for one, core in pairs]
                metafunc.parametrize(("case", "core"), pairs, ids=names)
            else:
                metafunc.parametrize("case", listed, ids=[case.id for case in listed])
        elif "core" in metafunc.fixturenames:
            compared = _cores(metafunc.config)
            labels = [cores.of(core).label for core in compared]
            metafunc.parametrize("core", compared, ids=labels)
    except (AdapterError, CaseError) as error:
        selection.refuse(metafunc.config, error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for."""
    globs = config.getoption("--case") or ()
    try:
        there = items
        if config.getoption("--record"):
            there = selection.recorded(items, find(_workers(config)[0]).name)
        lenient = config.getoption("--case-may-lack")
        quick = config.getoption("--quick")
        chosen = selection.select(there, quick=quick, globs=globs, lenient=lenient)
    except selection.NothingMatches as error:
        selection.refuse(config, error)
    left_out = set(items) - set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = chosen


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """Server, core and workers of this run."""
    return session_of(pytestconfig)


@pytest.fixture(scope="session")
def cluster(session: Session) -> Cluster:
    """The server that cases get their databases from."""
    return session.cluster()


@pytest.fixture(scope="session")
def known_deviations(pytestconfig: pytest.Config) -> list[Deviation]:
    """What workers are known not to keep."""
    return deviations.load(deviations_path(pytestconfig))


@pytest.fixture
def conclude(
    request: pytest.FixtureRequest, session: Session, known_deviations: list[Deviation]
) -> Conclude:
    """Put a trial into the report, and let the test end as it deserves."""

    def conclude(trial: Trial, more: Sequence[Record] = ()) -> None:
        conclusion.conclude(trial, request.node, session, known_deviations, more)

    return conclude
