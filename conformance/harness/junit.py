"""One stream of results as JUnit XML, for whatever counts and shows tests.

A group of cases is a test suite, a result is a test case, and its worker, core and promise are
properties of it. Known deviations and what a worker does not support are skipped, with the reason.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # only written, never read
from collections import Counter
from typing import TYPE_CHECKING, Final

from conformance.harness.records import BAD, printable
from conformance.harness.run import WORDS, astray, fleet, short

if TYPE_CHECKING:
    from conformance.harness.records import Case, Outcome
    from conformance.harness.run import Run

# Characters that XML 1.0 does not have, beside those that `printable` takes out.
_NOT_XML: Final = re.compile("[\ufffe\uffff]")
_LOG: Final = 4_000  # characters of a worker's log
_MESSAGE: Final = 500  # characters of an attribute that tools show in one line


def to_junit(run: Run) -> str:
    """Make the XML."""
    root = ET.Element("testsuites", {"name": "pgflow conformance", **_counted(run.cases)})
    groups: dict[str, list[Case]] = {}
    for case in run.cases:
        groups.setdefault(case.group, []).append(case)
    for group, cases in groups.items():
        _suite(root, run, group, cases)
    _controls(root, run)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, run: Run, group: str, cases: list[Case]) -> None:
    attributes = {"name": _xml(group), **_counted(cases)}
    if run.suite:
        attributes["timestamp"] = _xml(run.suite.started_at)
    suite = ET.SubElement(root, "testsuite", attributes)
    if run.suite:
        versions = {
            "suite": run.suite.version,
            "postgresql": run.suite.postgresql,
            "python": run.suite.python,
            "platform": run.suite.platform,
            "seed": str(run.suite.seed),
        }
        versions.update((f"pgmq of core {core.version}", core.pgmq) for core in run.suite.cores)
        versions.update((f"worker {one.name}", one.version) for one in run.suite.workers)
        _properties(suite, versions)
    for case in cases:
        _case(suite, case)


def _case(suite: ET.Element, case: Case) -> None:
    # The worker and the core are part of the name: tools tell two results apart by it alone.
    where = ", ".join(part for part in (" + ".join(case.workers), f"core {case.core}") if part)
    element = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": _xml(f"conformance.{case.group}"),
            "name": _xml(
                f"{case.id} [{where}]" if case.core else f"{case.id} [{fleet(case.workers)}]"
            ),
            "time": f"{case.seconds:.3f}",
        },
    )
    properties = {
        "case": case.id,
        "worker": " + ".join(case.workers),
        "core": case.core,
        "promise": case.promise,
        "reference": case.reference,
        "repeat": case.repeat,
    }
    if case.deviation:
        properties["deviation"] = case.deviation.reference
    _properties(element, {key: value for key, value in properties.items() if value})
    _outcome(element, case)
    logs = [f"--- {name}\n{log[-_LOG:]}" for name, log in case.log.items() if log.strip()]
    if case.outcome in BAD and logs:
        ET.SubElement(element, "system-err").text = _xml("\n".join(logs))


def _outcome(element: ET.Element, case: Case) -> None:
    if case.outcome == "passed":
        return
    problems = "\n".join(case.problems)
    reason = case.deviation.reason if case.deviation else "no reason is recorded"
    message = {
        "deviation": f"known deviation: {reason}",
        "unexpected_pass": f"listed as a known deviation, but it passed: {reason}",
        "unsupported": f"not supported: {problems}",
    }.get(case.outcome, case.problems[0] if case.problems else WORDS[case.outcome])
    kinds: dict[Outcome, str] = {"deviation": "skipped", "unsupported": "skipped", "error": "error"}
    kind = kinds.get(case.outcome, "failure")
    attributes = {"message": _xml(short(message, _MESSAGE)), "type": case.outcome}
    said = ET.SubElement(element, kind, attributes)
    parts = [f"Promise: {case.promise}", problems, case.script]
    parts += [f"To repeat: {case.repeat}"] if case.repeat else []
    said.text = _xml("\n\n".join(part for part in parts if part))


def _controls(root: ET.Element, run: Run) -> None:
    """A worker that is wrong on purpose and was not caught is a failure of the suite itself."""
    if not run.escaped:
        return
    number = str(len(run.escaped))
    counted = {"tests": number, "failures": number, "errors": "0", "skipped": "0", "time": "0.000"}
    suite = ET.SubElement(
        root, "testsuite", {"name": "wrong workers that were not caught", **counted}
    )
    for key in ("tests", "failures"):
        root.set(key, str(int(root.attrib[key]) + len(run.escaped)))
    for control in run.escaped:
        attributes = {
            "classname": "conformance.control",
            "name": _xml(control.worker),
            "time": "0.000",
        }
        element = ET.SubElement(suite, "testcase", attributes)
        said = ET.SubElement(
            element,
            "failure",
            {"message": _xml(short(astray(control), _MESSAGE)), "type": "control"},
        )
        said.text = _xml(control.does)


def _properties(parent: ET.Element, values: dict[str, str]) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})


def _counted(cases: tuple[Case, ...] | list[Case]) -> dict[str, str]:
    counts = Counter(case.outcome for case in cases)
    return {
        "tests": str(len(cases)),
        "failures": str(counts["failed"] + counts["unexpected_pass"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["deviation"] + counts["unsupported"]),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", printable(text))
