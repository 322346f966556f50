"""Check an adapter before any case runs: what does it get wrong of the contract?

Each check is a word or two of the contract, tried with a small flow on a database of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import advice
from conformance.harness.adapters import Hello
from conformance.harness.advice import Finding
from conformance.harness.check_work import serves
from conformance.harness.checkup import FLOW, INPUTS, OPTIONS, Checkup
from conformance.harness.contract import VERSION, mistake
from conformance.harness.processes import NotSupported, WorkerProblem, environment
from conformance.harness.values import same, show
from conformance.harness.words import run_word
from pgflow_ref.compile import compile_flow, from_json
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class CannotCheck(Exception):
    """The command cannot be run at all; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check: what it is about, in a word and in a sentence."""

    name: str
    about: str
    run: Callable[[Checkup], str]


@dataclass
class Result:
    """What came of one check.

    Attributes:
        check: which.
        seen: what is worth knowing of what went well.
        findings: what is wrong.
    """

    check: Check
    seen: str = ""
    findings: list[Finding] = field(default_factory=list)


def check(checkup: Checkup, begins: Callable[[Check], None]) -> Iterator[Result]:
    """Do all checks, each as soon as the result of the one before has been taken.

    Raises:
        CannotCheck: the command cannot be run.
    """
    for one in CHECKS:
        begins(one)
        checkup.findings = []
        result = Result(one)
        try:
            result.seen = one.run(checkup)
        except NotSupported as reason:
            checkup.wrong(
                f"it says that this is not supported: {str(reason) or 'without a reason'}"
            )
        except WorkerProblem as problem:
            if "cannot start" in str(problem):
                raise CannotCheck(str(problem)) from None
            checkup.wrong(str(problem))
        result.findings = checkup.findings
        yield result


def _hello(checkup: Checkup) -> str:
    printed = run_word(checkup.adapter, "hello", environment(None, Path(os.devnull)))
    said = printed.splitlines()
    if len(said) != 1:
        checkup.wrong(f"`hello` printed {len(said)} lines, not one: {printed[:200]!r}")
        return ""
    try:
        line = json.loads(said[0])
    except (ValueError, RecursionError) as error:
        checkup.wrong(f"`hello` printed {said[0][:200]!r}, which is not JSON: {error}")
        return ""
    if (found := mistake("hello", line)) is not None:
        checkup.wrong(f"its line hello is wrong: {found}")
        return ""
    known = tuple(line.get("capabilities", ()))
    hello = Hello(line["name"], line["version"], line["handler_input"], known)
    checkup.adapter = replace(checkup.adapter, language=line["language"], hello=hello)
    more = f"; more than every worker: {', '.join(known)}" if known else ""
    return f"{hello.name} {hello.version} in {line['language']}, {hello.handler_input}{more}"


def _compile(checkup: Checkup) -> str:
    printed = run_word(checkup.adapter, "compile", checkup.environ(FLOW, None))
    try:
        statements = json.loads(printed)
    except (ValueError, RecursionError) as error:
        checkup.wrong(f"`compile` printed {printed[:200]!r}, which is not JSON: {error}")
        return ""
    if (found := mistake("statements", statements)) is not None:
        checkup.wrong(f"`compile` printed something else than statements: {found}")
        return ""
    expected = compile_flow(from_json(FLOW))
    for one, other in zip(statements, expected, strict=False):
        if one != other:
            checkup.wrong(f"`compile` printed {one!r}, where pgflow's own compiler says {other!r}")
    if len(statements) != len(expected):
        checkup.wrong(f"`compile` printed {len(statements)} statements, not {len(expected)}")
    return f"{len(statements)} statements"


def _refuses(checkup: Checkup) -> str:
    """What it does not know, it refuses with exit code 3."""
    step = FLOW["steps"][0]
    odd: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "an instruction": ({**FLOW, "steps": [{**step, "handler": [{"dance": True}]}]}, OPTIONS),
        "a key of a step": ({**FLOW, "steps": [{**step, "mood": "good"}]}, OPTIONS),
        "a key of the flow": ({**FLOW, "mood": "good"}, OPTIONS),
        "a worker option": (FLOW, {**OPTIONS, "mood": "good"}),
    }
    for what, (flow, options) in odd.items():
        with checkup.worker(flow, options) as worker:
            _expect_refusal(checkup, f"`work` with {what} that nobody knows", worker.wait_ready)
    adapter, environ = checkup.adapter, checkup.environ(FLOW, None)
    other = {**environ, "PGFLOW_CONTRACT": str(VERSION + 1)}
    _expect_refusal(
        checkup, "a word that nobody knows", lambda: run_word(adapter, "dance", environ)
    )
    _expect_refusal(
        checkup, f"PGFLOW_CONTRACT={VERSION + 1}", lambda: run_word(adapter, "hello", other)
    )
    return f"{len(odd) + 2} unknown things"


def _expect_refusal(checkup: Checkup, what: str, does: Callable[[], object]) -> None:
    try:
        does()
        happened = "it went on as if it knew it"
    except NotSupported as reason:
        if str(reason):
            return
        happened = "it exited with 3, and did not say why on stderr"
    except WorkerProblem as problem:
        happened = str(problem)
    checkup.findings.append(
        Finding(
            f"{what}: {happened}",
            advice.VERSIONS if "CONTRACT" in what else advice.CODES,
            "3 is the answer to what the adapter does not know; why stands on stderr.",
            "Hold the keys of the fixture against those that you know, and exit with 3.",
        )
    )


def _start(checkup: Checkup) -> str:
    given = "".join(encode(one) + "\n" for one in INPUTS)
    printed = run_word(checkup.adapter, "start", checkup.environ(FLOW, OPTIONS), given)
    for number, line in enumerate(printed.splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if (found := mistake("started", value)) is not None:
            checkup.wrong(f"`start` printed {line[:200]!r} as line {number}: {found}")
            return ""
        checkup.run_ids.append(value["run_id"])
    there = checkup.inputs()
    theirs = [there.get(run_id) for run_id in checkup.run_ids]
    if len(there) != len(INPUTS):
        checkup.wrong(f"`start` got {len(INPUTS)} inputs, and there are {len(there)} runs")
    elif not same(theirs, list(INPUTS)):
        checkup.wrong(f"`start` printed ids of runs with the inputs {show(theirs)}, in this order")
    return f"{len(INPUTS)} runs"


CHECKS: Final = (
    Check("hello", "it introduces itself", _hello),
    Check("compile", "a flow of two steps becomes SQL", _compile),
    Check("refuses", "what it does not know, it refuses", _refuses),
    Check("start", "it starts runs", _start),
    Check("work", "it serves them, and stops when it is asked to", serves),
)
"""All checks, in the order in which they are done."""
