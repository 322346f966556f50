"""From a trial to the end of its test: what is known of it, its record, and pytest's outcome."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.harness import cores, deviations, hosts, ways
from conformance.harness.plugin import carry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.deviations import Deviation
    from conformance.harness.records import Case, Record
    from conformance.harness.session import Session
    from conformance.harness.trial import Trial


def conclude(
    trial: Trial,
    item: pytest.Item,
    session: Session,
    known: Sequence[Deviation],
    more: Sequence[Record] = (),
) -> None:
    """Put a trial into the report, and let its test end as it deserves.

    Args:
        trial: what was tried.
        item: its test.
        session: the run.
        known: all deviations that are known.
        more: what else was found.
    """
    taking_part = {adapter.name: adapter.hello.version for adapter in trial.adapters}
    deviation = deviations.find(known, trial.case.id, taking_part, cores.of(trial.core).version)
    record = trial.record(repeating(item, session), deviation)
    carry(item, record, trial.hellos(), more)
    _end(record)


def repeating(item: pytest.Item, session: Session) -> str:
    """The one command that does this test again."""
    asked = item.config.getoption
    options = [f"--worker={name}" for name in asked("--worker") or ()]
    options += [f"--core={core}" for core in asked("--core") or ()]
    options += [f"{name}={asked(name)}" for name in ("--core-patch", "--pgmq") if asked(name)]
    options += [
        f"{name}={asked(name)}" for name in ("--database", "--role") if _is_other(item, name)
    ]
    if asked("--force"):
        options.append("--force")
    return shlex.join(["./scripts/conformance", item.nodeid, *options, f"--seed={session.seed}"])


def _is_other(item: pytest.Item, name: str) -> bool:
    """Whether an option was given that can be shown: a URL holds a password."""
    usual = {"--database": hosts.EMBEDDED, "--role": ways.OWNER}[name]
    given = item.config.getoption(name)
    return given != usual and "://" not in given


def _end(record: Case) -> None:
    said = "\n".join(record.problems)
    if record.outcome == "deviation":
        pytest.xfail(f"known deviation: {record.deviation.reason if record.deviation else ''}")
    if record.outcome == "unsupported":
        pytest.skip(f"not supported: {said}")
    if record.outcome == "unexpected_pass":
        pytest.fail(
            "a known deviation passes: take it out of the list, or let --update-deviations do it",
            pytrace=False,
        )
    if record.outcome != "passed":
        logs = "".join(f"\n--- {name} said:\n{log}" for name, log in record.log.items())
        pytest.fail(f"{record.promise}\n{said}{logs}\nto repeat: {record.repeat}", pytrace=False)
