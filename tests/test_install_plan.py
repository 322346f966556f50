"""Recognising and deciding, as tables: no database."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from pgflow_ref.install import Found, Refusal, Step, known_cores, pins, plan
from pgflow_ref.install.catalog import Catalog
from pgflow_ref.install.found import CoreFound, Difference, PgmqFound, recognise

PINS = pins.load()
OLD_COLUMNS = ("msg_id", "read_ct", "enqueued_at", "vt", "message")
NEW_COLUMNS = (*OLD_COLUMNS, "headers")
EMPTY = Found(server=170010)
OLD_EXTENSION = PgmqFound("extension", "1.4.4", OLD_COLUMNS)
NEW_EXTENSION = PgmqFound("extension", "1.5.1", NEW_COLUMNS)
BOTH = ("pgflow.read_with_poll", "pgflow.set_vt_batch")

CATALOG = Catalog(
    server=170010,
    core={},
    pgmq={},
    queues=0,
    extension=None,
    offered=None,
    message_columns=(),
    realtime=None,
)


def found(**changes: object) -> Found:
    return dataclasses.replace(EMPTY, **changes)  # type: ignore[arg-type]


def catalog(**changes: object) -> Catalog:
    return dataclasses.replace(CATALOG, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "core", "kinds"),
    [
        pytest.param(EMPTY, "0.5.0", "pgmq realtime core replace", id="empty"),
        pytest.param(EMPTY, "0.8.1", "pgmq realtime core", id="0.8 needs no replacement"),
        pytest.param(found(offered="1.4.4"), "0.5.0", "extension realtime core", id="old offered"),
        pytest.param(
            found(offered="1.5.1"), "0.7.3", "extension realtime core replace", id="new offered"
        ),
        pytest.param(found(offered="1.11.1"), "0.8.1", "extension realtime core", id="1.11 > 1.5"),
        pytest.param(found(pgmq=OLD_EXTENSION), "0.5.0", "realtime core", id="old extension"),
        pytest.param(
            found(pgmq=NEW_EXTENSION), "0.5.0", "realtime core replace", id="new extension"
        ),
        pytest.param(
            found(pgmq=PgmqFound("plain", "1.11.1", NEW_COLUMNS), offered="1.4.4"),
            "0.6.1",
            "realtime core replace",
            id="plain pgmq is kept, whatever is offered",
        ),
        pytest.param(
            found(realtime="other"), "0.5.0", "pgmq core replace", id="realtime.send is there"
        ),
        pytest.param(found(realtime="ours"), "0.8.1", "pgmq core", id="our stand-in is there"),
        *(
            pytest.param(
                found(core=CoreFound(core, (), core), pgmq=NEW_EXTENSION), core, "", id=f"is {core}"
            )
            for core in known_cores()
        ),
    ],
)
def test_the_steps(state: Found, core: str, kinds: str) -> None:
    steps = plan(state, core)
    assert not isinstance(steps, Refusal)
    assert " ".join(step.kind for step in steps) == kinds


def test_a_core_is_as_many_of_the_first_files() -> None:
    files = list(PINS.core.files)
    for core, count in zip(known_cores(), (7, 8, 9, 11, 12), strict=True):
        steps = plan(EMPTY, core)
        assert Step("core", tuple(files[:count])) in steps  # type: ignore[operator]
    assert plan(EMPTY, "0.5.0")[-1] == Step("replace", BOTH)  # type: ignore[index]


@pytest.mark.parametrize(
    ("state", "core", "words"),
    [
        pytest.param(EMPTY, "0.9.1", ["'0.9.1'", "0.5.0, 0.5.3, 0.6.1, 0.7.3, 0.8.1"], id="newer"),
        pytest.param(EMPTY, "", ["''", "0.8.1"], id="no version"),
        pytest.param(found(server=130012), "0.5.0", ["PostgreSQL 13", "14 or newer"], id="server"),
        pytest.param(
            found(core=CoreFound("0.5.3", (), "0.5.3"), pgmq=NEW_EXTENSION),
            "0.5.0",
            ["holds pgflow core 0.5.3, not 0.5.0"],
            id="other version",
        ),
        pytest.param(
            found(
                core=CoreFound(None, (), "0.5.0", Difference(missing=("function pgflow.f()",))),
                pgmq=NEW_EXTENSION,
            ),
            "0.5.0",
            ["nearest is 0.5.0", "missing: function pgflow.f()"],
            id="no known version",
        ),
        pytest.param(
            found(core=CoreFound("0.8.1", (), "0.8.1")), "0.8.1", ["there is no pgmq"], id="no pgmq"
        ),
        pytest.param(
            found(pgmq=PgmqFound("foreign", None, (), Difference(extra=("table pgmq.x",)))),
            "0.5.0",
            ["neither the extension nor pgmq 1.11.1", "extra: table pgmq.x"],
            id="foreign pgmq",
        ),
        pytest.param(
            found(pgmq=OLD_EXTENSION), "0.8.1", ["needs pgmq 1.5", "1.4.4"], id="old extension"
        ),
        pytest.param(found(offered="1.4.4"), "0.8.1", ["needs pgmq 1.5", "1.4.4"], id="old offer"),
    ],
)
def test_the_refusals(state: Found, core: str, words: list[str]) -> None:
    refusal = plan(state, core)
    assert isinstance(refusal, Refusal)
    for word in words:
        assert word in refusal.reason


@pytest.mark.parametrize("core", known_cores())
def test_every_release_is_recognised_with_the_original_functions_and_with_ours(core: str) -> None:
    release = PINS.releases[core]
    assert recognise(catalog(core=release.items)).core == CoreFound(core, (), core)
    ours = {key: value for key, value in PINS.ours.items() if key in release.items}
    read = recognise(catalog(core={**release.items, **ours})).core
    if release.replaced:
        assert read == CoreFound(core, BOTH, core)
    else:  # 0.8 has a set_vt_batch of its own that works: ours in its place is an alteration
        assert read.version is None


def test_no_two_releases_look_alike() -> None:
    prints = [release.items for release in PINS.releases.values()]
    assert len({repr(sorted(items.items())) for items in prints}) == len(prints)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table pgflow.runs": None}, "missing: table pgflow.runs"),
        ({"view pgflow.mine": ("a integer",)}, "extra: view pgflow.mine"),
        (
            {"table pgflow.runs": (*PINS.releases["0.5.0"].items["table pgflow.runs"], "x uuid")},
            "different: table pgflow.runs (with x uuid)",
        ),
        (
            {"table pgflow.runs": PINS.releases["0.5.0"].items["table pgflow.runs"][1:]},
            "different: table pgflow.runs (without run_id uuid not null)",
        ),
        (
            {
                "table pgflow.runs": (
                    *PINS.releases["0.5.0"].items["table pgflow.runs"][:-1],
                    "definitions 00",
                )
            },
            "different: table pgflow.runs (a default or what a constraint says)",
        ),
        ({"function pgflow.start_ready_steps(uuid)": ("00",)}, "different: function pgflow.start_"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, tuple[str, ...] | None], said: str) -> None:
    items = {**PINS.releases["0.5.0"].items, **change}
    core = recognise(catalog(core={k: v for k, v in items.items() if v is not None})).core
    assert core.version is None
    assert core.nearest == "0.5.0"
    assert said in str(core.difference)
    assert len(core.difference) == 1


def test_of_many_differences_a_handful_is_named() -> None:
    difference = Difference(missing=tuple(f"function pgflow.f{n}()" for n in range(9)))
    assert str(difference).endswith("function pgflow.f4() and 4 more")


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        pytest.param(catalog(), "none", id="nothing"),
        pytest.param(catalog(pgmq=PINS.queue.items), "plain", id="plain"),
        pytest.param(catalog(pgmq=PINS.queue.items, queues=4), "plain", id="plain with queues"),
        pytest.param(catalog(queues=2), "foreign", id="queues without pgmq"),
        pytest.param(catalog(pgmq={"type pgmq.x": ()}), "foreign", id="something else"),
        pytest.param(
            catalog(pgmq=dict(list(PINS.queue.items.items())[1:])), "foreign", id="a function lost"
        ),
        pytest.param(catalog(pgmq={}, extension="1.4.4"), "extension", id="extension"),
    ],
)
def test_pgmq_is_recognised(read: Catalog, kind: str) -> None:
    assert recognise(read).pgmq.kind == kind


@pytest.mark.parametrize(
    ("comment", "is_"),
    [(None, "none"), ("", "other"), ("stand-in of pgflow-ref: records", "ours")],
)
def test_realtime_is_recognised(comment: str | None, is_: str) -> None:
    assert recognise(catalog(realtime=comment)).realtime == is_


def test_the_pins_hold_checksums_and_no_sql() -> None:
    sums = [*PINS.core.files.values(), *PINS.queue.package.files.values()]
    assert all(len(bytes.fromhex(value)) == hashlib.sha256().digest_size for value in sums)
    assert len(PINS.core.files) == 12
    assert list(PINS.core.files) == sorted(PINS.core.files)
    items = [*PINS.queue.items.items(), *PINS.releases["0.8.1"].items.items()]
    bodies = [value for key, value in items if key.startswith("function ")]
    assert all(len(value) == 1 and len(value[0]) == 64 for value in bodies)
