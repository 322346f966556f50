"""The options of the suite on its command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.harness import hosts, ways

if TYPE_CHECKING:
    import pytest


def add(group: pytest.OptionGroup) -> None:
    """Add them all, in the order in which the help shows them."""
    _what(group)
    _report(group)
    _databases(group)
    _extent(group)
    _known(group)


def _what(group: pytest.OptionGroup) -> None:
    """What is tried, and what is only shown."""
    group.addoption(
        "--worker",
        action="append",
        metavar="NAME or NAME=COMMAND",
        help="a worker that takes part: an adapter of conformance/workers, or a command that speaks"
        " the contract; may be given several times (default: python, deno and plain)",
    )
    group.addoption(
        "--case",
        action="append",
        metavar="GLOB",
        help="only cases with such an id, as in 'retry.*'; may be given several times",
    )
    group.addoption(
        "--case-may-lack",
        action="store_true",
        help="a --case that no case on these cores is like is left out, if another one has cases",
    )
    group.addoption(
        "--list",
        action="store_true",
        help="list what would be tried, with each promise, and start nothing",
    )
    group.addoption(
        "--explain",
        metavar="CASE",
        help="show all of a case: promise, flow, what is done and expected; start nothing",
    )
    group.addoption(
        "--attach",
        action="append",
        metavar="ROLE or NAME",
        help="wait until a person has started this worker, under a debugger, say: a role such as"
        " 'first', or a name such as 'python' or 'python-2'",
    )


def _report(group: pytest.OptionGroup) -> None:
    """Where the report goes, how long to wait, and on which cores."""
    group.addoption(
        "--results",
        metavar="DIR",
        default="build/conformance",
        help="where results.jsonl goes, and report.html, junit.xml, summary.md and badge.svg, which"
        " are made from it (default: %(default)s)",
    )
    group.addoption(
        "--patience",
        metavar="FACTOR",
        type=float,
        default=1.0,
        help="how much longer to wait for workers than usual (default: %(default)s)",
    )
    group.addoption(
        "--core",
        action="append",
        metavar="VERSION or PATH",
        help="a version of pgflow's core, or the path of a directory of migrations, a file of SQL"
        " or a .tgz of @pgflow/core; may be given several times. Every case is tried on each"
        " that it is about, and each is compared with its model (default: workers on 0.5.0, or on"
        " 0.8.1 for what 0.5.0 does not have; all that are known for the model)",
    )


def _databases(group: pytest.OptionGroup) -> None:
    """Where the databases are, and what is in them."""
    group.addoption(
        "--database",
        metavar="KIND or URL",
        default=hosts.EMBEDDED,
        help="where the databases are: 'embedded', a server of the suite's own; 'pgbouncer', the"
        " same with PgBouncer between workers and it, in transaction mode; 'docker', or"
        " 'docker=IMAGE', one in a container; or the URL of a server, on which the suite makes"
        " databases of its own and removes them (default: %(default)s)",
    )
    group.addoption(
        "--role",
        choices=ways.ROLES,
        default=ways.OWNER,
        help="as whom workers connect: as the owner of the databases, or as a role that is made for"
        " the run and has no more than a worker needs (default: %(default)s)",
    )
    group.addoption(
        "--in-place",
        action="store_true",
        help="make no databases, but schemas in the very database of the URL, which has none of"
        " these names; one case at a time",
    )
    group.addoption(
        "--pgmq",
        metavar="VERSION or PATH",
        help="a version of pgmq, or the path of its pgmq.sql (default: what the server offers, or"
        " 1.11.1)",
    )
    group.addoption(
        "--force",
        action="store_true",
        help="try a core from a path also if a file of it is not what its checksum says",
    )


def _extent(group: pytest.OptionGroup) -> None:
    """How much is done, and with what chance."""
    group.addoption(
        "--quick",
        action="store_true",
        help="only the cases of a quick run, and less of what is no case",
    )
    group.addoption(
        "--seed",
        type=int,
        metavar="N",
        help="what all that is random in the run is made from (default: from the clock; every"
        " report gives it)",
    )
    group.addoption(
        "--faults",
        metavar="N",
        type=int,
        default=300,
        help="how many faults are injected in storms, all together (default: %(default)s)",
    )
    group.addoption(
        "--core-patch",
        metavar="FILE",
        help="SQL to run after the core's own, to try a change before it is released",
    )


def _known(group: pytest.OptionGroup) -> None:
    """What is known of workers, and what is done in place of trying them."""
    group.addoption(
        "--deviations",
        metavar="FILE",
        help="what workers are known not to keep (default: fixtures/deviations.toml)",
    )
    group.addoption(
        "--update-deviations",
        action="store_true",
        help="bring that file up to what the run has found",
    )
    group.addoption(
        "--record",
        action="store_true",
        help="play the flows whose histories are kept in fixtures/histories, with the first worker"
        " alone, and write down what happens, in place of comparing it",
    )
    group.addoption(
        "--control-table",
        action="store_true",
        help="try every worker that is wrong on purpose with every case of a worker alone",
    )
    group.addoption(
        "--differential-minutes",
        type=float,
        metavar="N",
        help="compare each core with its model for so long, with histories that are new each time",
    )
    group.addoption(
        "--replay",
        metavar="HISTORY",
        help="play just this history, as a report of a difference gives it",
    )
