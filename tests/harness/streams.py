"""Streams made up for tests: of everything that a run can tell, and of runs that are large."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from conformance.harness.records import (
    OUTCOMES,
    Case,
    Control,
    Core,
    Deviation,
    End,
    Fault,
    Loss,
    Span,
    Step,
    Suite,
    Worker,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.records import Record

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'{{ 7 * 7 }}"
    "</pre></title></style> \x1b[31mred\x1b[0m \x00\x07 \ud800 \u202e [bold]x[/bold] &amp;"
    " | `tick` ![i](http://example.com/i.png) \ufffe ]]> <!-- @someone #1"
)

PYTHON = Worker("python", "python", "pgflow-ref 0.1.0", "split", ("map",))
DENO = Worker("deno", "typescript", "@pgflow/edge-worker 0.8.1", "whole")
PLAIN = Worker("plain", "python", "plain 1", "whole")
OLD = Core("0.5.0", "1.11.1", ("pgflow.read_with_poll(…)",), ("realtime.send",))
NEW = Core("0.8.1", "1.11.1", (), ("realtime.send",))
SUITE = Suite(
    version="0.1.0",
    started_at="2025-11-23T01:12:44+00:00",
    platform="Linux",
    python="3.11.2",
    postgresql="17.10",
    cores=(OLD,),
    workers=(PYTHON, DENO),
)
FULL = Suite(
    version="0.1.0",
    started_at="2025-11-23T01:12:44+00:00",
    platform="Linux x86_64",
    python="3.11.2",
    postgresql="17.10",
    cores=(OLD, NEW),
    workers=(PYTHON, DENO, PLAIN),
    seed=4711,
)
END = End(seconds=12.5, exit=0)
KNOWN = Deviation("Digits are lost.", "https://example.com/1", "2025-11-20")
DIAMOND = (
    Step("validate"),
    Step("charge", ("validate",)),
    Step("reserve", ("validate",)),
    Step("ship", ("charge", "reserve")),
    Step("audit"),
)


def case(name: str = "retry.attempts", **changes: object) -> Case:
    values: dict[str, object] = {
        "id": name,
        "group": "worker",
        "promise": "A failing task is tried exactly max_attempts times.",
        "reference": "https://example.com/retry",
        "core": "0.5.0",
        "workers": ("deno",),
        "outcome": "passed",
        "seconds": 1.25,
        "repeat": "pytest conformance -k retry.attempts",
    }
    return Case(**{**values, **changes})  # type: ignore[arg-type]


def mixed(name: str = "mixed.order", **changes: object) -> Case:
    spans = tuple(
        Span(
            ("python", "deno")[at % 2],
            f"step{at % 3}",
            "ab12",
            at * 0.1,
            at * 0.1 + 0.3,
            "completed",
        )
        for at in range(20)
    )
    return case(
        name,
        **{
            "group": "mixed",
            "workers": ("python", "deno"),
            "tasks": {"python": 60, "deno": 40},
            "timeline": spans,
            **changes,
        },
    )


def everything() -> list[Record]:
    """One case of every outcome, and a mixed one."""
    cases = [
        case(
            f"case.{outcome}",
            outcome=outcome,
            problems=(f"problem of {outcome}",),
            deviation=KNOWN if outcome in {"deviation", "unexpected_pass"} else None,
            log={"deno": "first\nlast words"},
        )
        for outcome in OUTCOMES
    ]
    return [SUITE, *cases, mixed(), End(3.0, 1)]


def spans(number: int, workers: Sequence[str], seed: int = 1) -> tuple[Span, ...]:
    """Tasks of the diamond, a few of which failed or were never reported."""
    dice = random.Random(seed)
    free = dict.fromkeys((f"{name} {slot}" for name in workers for slot in range(4)), 0.2)
    found = []
    for at in range(number):
        slot = min(free, key=lambda name: free[name])
        start = free[slot] + dice.random() * 0.02
        end = free[slot] = start + 0.01 + dice.random() * dice.random() * 0.12
        status = "failed" if dice.random() < 0.02 else "completed"
        step = DIAMOND[at % len(DIAMOND)].slug
        lost = dice.random() < 0.002
        found.append(
            Span(
                slot.split()[0],
                step,
                f"{at // 5:04x}",
                round(start, 4),
                None if lost else round(end, 4),
                "started" if lost else status,  # type: ignore[arg-type]
            )
        )
    return tuple(found)


def _alone() -> list[Case]:
    """Cases of several groups with every worker, on both cores, most of which passed."""
    promises = {
        "retries": ("attempts", "A failing task is tried exactly max_attempts times."),
        "timeouts": ("ends", "A handler that takes longer than its timeout has failed."),
        "shapes": ("diamond", "A step starts when all that it depends on has completed."),
        "identity": ("large", "A message id above 2^53 is the id that is archived."),
    }
    found: list[Case] = []
    for group, (name, promise) in promises.items():
        for core in ("0.5.0", "0.8.1"):
            for worker in ("python", "deno", "plain"):
                one = f"{group}.{name}"
                found.append(
                    case(
                        one,
                        group=group,
                        promise=promise,
                        core=core,
                        workers=(worker,),
                        seconds=len(found) / 7,
                        runs=2,
                        calls=5,
                        flow=DIAMOND,
                        timeline=spans(6, [worker], len(found)),
                        log={worker: f"{worker}: ready\n{worker}: stopped"},
                    )
                )
    return found


def _troubled() -> list[Case]:
    return [
        case(
            "retries.backoff",
            group="retries",
            promise="A task that failed comes back after base_delay, twice that, and so on.",
            outcome="failed",
            workers=("deno",),
            seconds=4.2,
            problems=(
                "the message was visible 0 s after its first failure, not 2 s",
                "the run is failed; it should be completed",
            ),
            log={"deno": "\n".join(f"line {at}: polling" for at in range(40))},
            script="SELECT pgflow.start_flow('f', '{\"x\": 1}');\nSELECT pgflow.fail_task('…');",
            flow=DIAMOND,
            timeline=spans(14, ["deno"], 8),
            repeat="./scripts/conformance --case retries.backoff --worker deno --seed 4711",
        ),
        case(
            "identity.digits",
            group="identity",
            outcome="deviation",
            deviation=Deviation(
                "JavaScript has no integers above 2^53.", "https://example.com/2", "2025-11-20"
            ),
            problems=("the output is 9007199254740992, not 9007199254740993",),
        ),
        case(
            "identity.keys",
            group="identity",
            outcome="unexpected_pass",
            deviation=Deviation("Keys are sorted.", "an issue", "2025-10-01"),
        ),
        case(
            "shapes.map",
            group="shapes",
            core="0.8.1",
            outcome="unsupported",
            problems=("deno has no map",),
        ),
        case(
            HOSTILE,
            group="suite",
            promise=HOSTILE,
            reference=HOSTILE,
            outcome="error",
            problems=(HOSTILE,),
            workers=("plain",),
            log={"plain": HOSTILE},
            script=HOSTILE,
            repeat=HOSTILE,
        ),
    ]


def _fleets() -> list[Case]:
    workers = ("python", "deno", "plain")
    return [
        mixed(
            "mixed.graphs",
            promise="Thousands of tasks of random graphs are completed by a fleet, each once.",
            workers=workers,
            tasks={"python": 1290, "deno": 1203, "plain": 507},
            timeline=spans(3000, workers),
            flow=DIAMOND,
            seconds=12.0,
            note="seed 4711",
        ),
        mixed(
            "faults.kill_after_claim",
            group="faults",
            promise="The tasks of a worker that is killed are recovered, and completed once.",
            workers=("python", "deno"),
            core="0.8.1",
            tasks={"python": 40, "deno": 23},
            timeline=spans(60, ("python", "deno", "deno-2"), 5),
            flow=DIAMOND,
            faults=(
                Fault(0.25, "deno", "kill after claim"),
                Fault(0.41, "python", "stop in the handler"),
                Fault(0.5, "", "the server restarts at once"),
            ),
            seconds=6.5,
        ),
        mixed(
            "faults.storm",
            group="faults",
            promise="Nothing is lost, and nothing is completed twice, whatever fails.",
            workers=("python", "plain"),
            tasks={"python": 150, "plain": 160},
            timeline=spans(310, ("python", "plain"), 6),
            faults=tuple(
                Fault(at * 0.02, ("python", "plain")[at % 2], f"kill {('after', 'before')[at % 2]}")
                for at in range(120)
            ),
            seconds=9.0,
        ),
    ]


def _losses() -> list[Loss]:
    values = ("false", "0", "-0.0", '""', "[]", "{}", "null", "2^53+1", "1e308", "400 digits")
    routes = [(a, b) for a in ("python", "deno", "plain") for b in ("python", "deno", "plain")]
    excuse = "JavaScript reads numbers as doubles (https://example.com/json)"
    return [
        Loss(
            value,
            route,
            {"2^53+1": "9007199254740992", "400 digits": "null"}.get(value, "")
            if "deno" in route
            else ("0" if (value, route) == ("-0.0", ("plain", "plain")) else ""),
            excuse if value in {"2^53+1", "400 digits"} and "deno" in route else "",
        )
        for value in values
        for route in routes
    ]


def _controls() -> list[Control]:
    return [
        Control("idle", "It does nothing.", ("life.success",), ("life.success",), ()),
        Control(
            "acknowledges_first",
            "It acknowledges a task before its handler has run.",
            ("ack.after_handler",),
            ("ack.after_handler",),
            ("life.success", "retries.attempts", "shapes.diamond"),
        ),
        Control(
            "drops_falsy",
            "It drops an output that is false, 0 or empty.",
            ("outputs.falsy",),
            (),
            ("outputs.falsy", "life.success"),
        ),
    ]


def full(trouble: bool = True) -> list[Record]:
    """A run in which everything occurs that can; without trouble, one that passed."""
    passed = [*_alone(), *_fleets()]
    if not trouble:
        fine = [one for one in _losses() if not one.came or one.excuse]
        known = [one for one in _troubled() if one.outcome in {"deviation", "unsupported"}]
        caught = [one for one in _controls() if one.caught]
        return [FULL, *passed, *known, *fine, *caught, End(93.4, 0)]
    return [FULL, *passed, *_troubled(), *_losses(), *_controls(), End(93.4, 1)]


def large(cases: int = 500, log: int = 300) -> list[Record]:
    """A run of many cases with four workers, each with a picture, and of a few large fleets."""
    names = ("python", "deno", "node", "plain")
    workers = (PYTHON, DENO, Worker("node", "typescript", "1"), PLAIN)
    suite = Suite("0.1.0", "2025-11-23T01:12:44Z", "Linux", "3.11", "17.10", (OLD, NEW), workers)
    alone = [
        case(
            f"group{at % 20}.case{at}",
            group=f"group{at % 20}",
            workers=(name,),
            flow=DIAMOND,
            timeline=spans(5, [name], at),
            log={name: "polling for messages\n" * (log // 21)},
            problems=("it is not as it should be",) if (at, name) == (7, "node") else (),
            outcome="failed" if (at, name) == (7, "node") else "passed",
        )
        for at in range(cases)
        for name in names
    ]
    fleets = [
        mixed(f"mixed.m{at}", workers=names, timeline=spans(3000, names, at), flow=DIAMOND)
        for at in range(8)
    ]
    return [suite, *alone, *fleets, End(300.0, 1)]
