"""The limits of each option of a worker, and messages that name all that is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pgflow_ref import ConfigError, WorkerConfig

INFINITY, NAN = float("inf"), float("nan")
LIMITS: dict[str, tuple[float, float]] = {
    "max_concurrency": (1, 10_000),
    "batch_size": (1, 10_000),
    "recorders": (1, 16),
    "min_poll_interval": (0.001, 300),
    "max_poll_interval": (0.001, 300),
    "visibility_timeout": (1, 2**31 - 1),
    "heartbeat_interval": (0.1, 3600),
    "stop_timeout": (0, 86_400),
    "notify_fallback_interval": (0.1, 600),
    "notify_throttle": (0, 60),
    "recovery_interval": (0.1, 86_400),
    "stale_grace": (0, 86_400),
}
CHOICES = {
    "signal_strategy": ("polling", "notify", "long_poll"),
    "sync_handlers": ("threads", "processes"),
}
MAY_BE_NONE = {"visibility_timeout", "recovery_interval"}
WHOLE = {"max_concurrency", "batch_size", "recorders", "visibility_timeout"}
# So that the other of the two is no second problem.
WIDE: dict[str, Any] = {"min_poll_interval": 0.001, "max_poll_interval": 300}


def problems(**options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        WorkerConfig(**options)
    assert str(caught.value) == "; ".join(caught.value.problems)
    with pytest.raises(ConfigError) as again:
        WorkerConfig.of(**options)
    assert again.value.problems == caught.value.problems
    return caught.value.problems


def test_defaults() -> None:
    assert WorkerConfig() == WorkerConfig.of()
    assert dataclasses.asdict(WorkerConfig()) == {
        "max_concurrency": 10,
        "batch_size": 10,
        "recorders": 2,
        "min_poll_interval": 1.0,
        "max_poll_interval": 5.0,
        "visibility_timeout": None,
        "heartbeat_interval": 5.0,
        "stop_timeout": 30.0,
        "worker_name": None,
        "signal_strategy": "polling",
        "notify_fallback_interval": 30.0,
        "notify_throttle": 0.25,
        "recovery_interval": 15.0,
        "stale_grace": 30.0,
        "sync_handlers": "threads",
        "compile_on_start": False,
    }


def test_every_number_has_limits() -> None:
    others = {"worker_name", "compile_on_start"} | CHOICES.keys()
    numbers = {field.name for field in dataclasses.fields(WorkerConfig)} - others
    assert numbers == set(LIMITS)


@pytest.mark.parametrize(("option", "choices"), CHOICES.items())
def test_choices(option: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        assert getattr(WorkerConfig.of(**{option: choice}), option) == choice
    said = " or ".join(map(repr, choices))
    for wrong in ("", "push", choices[0].upper(), None, 1, True, [choices[0]], {choices[0]}):
        assert problems(**{option: wrong}) == (f"{option} is {said}, not {wrong!r}",)


@pytest.mark.parametrize("wrong", [None, 0, 1, "yes", "false", [True]])
def test_a_flag_is_true_or_false(wrong: object) -> None:
    assert WorkerConfig(compile_on_start=True).compile_on_start
    said = f"compile_on_start is True or False, not {wrong!r}"
    assert problems(compile_on_start=wrong) == (said,)


@pytest.mark.parametrize(("option", "limits"), LIMITS.items())
def test_limits(option: str, limits: tuple[float, float]) -> None:
    least, most = limits
    for fine in limits:
        assert getattr(WorkerConfig(**{**WIDE, option: fine}), option) == fine
    step = 1 if option in WHOLE else 0.0001
    for wrong in (least - step, most + step, -most):
        assert problems(**{**WIDE, option: wrong}) == (
            f"{option} is between {least} and {most}, not {wrong}",
        )


@pytest.mark.parametrize("option", LIMITS)
def test_huge_numbers_are_out_of_range(option: str) -> None:
    for wrong in (10**400, -(10**400)):
        (said,) = problems(**{**WIDE, option: wrong})
        assert said.startswith(f"{option} is between ")
    (said,) = problems(**{**WIDE, option: 10**5000})  # more digits than Python writes
    assert said.startswith(f"{option} is between ")


@pytest.mark.parametrize("option", sorted(LIMITS.keys() - WHOLE))
@pytest.mark.parametrize("wrong", [NAN, INFINITY, -INFINITY])
def test_numbers_that_are_none(option: str, wrong: float) -> None:
    least, most = LIMITS[option]
    assert problems(**{**WIDE, option: wrong}) == (
        f"{option} is between {least} and {most}, not {wrong}",
    )


@pytest.mark.parametrize("option", LIMITS)
@pytest.mark.parametrize("wrong", [True, False, "5", "many", [5], object, 5j])
def test_values_that_are_no_numbers(option: str, wrong: object) -> None:
    assert problems(**{**WIDE, option: wrong}) == (f"{option} is a number, not {wrong!r}",)


@pytest.mark.parametrize("option", sorted(LIMITS))
def test_some_numbers_may_be_left_open(option: str) -> None:
    if option in MAY_BE_NONE:
        assert getattr(WorkerConfig.of(**{option: None}), option) is None
    else:
        assert problems(**{**WIDE, option: None}) == (f"{option} is a number, not None",)


@pytest.mark.parametrize("option", sorted(WHOLE))
@pytest.mark.parametrize("wrong", [1.5, 5.0, NAN, INFINITY])
def test_whole_numbers(option: str, wrong: float) -> None:
    assert problems(**{option: wrong}) == (f"{option} is a whole number, not {wrong!r}",)


@pytest.mark.parametrize("name", [None, "w", "my worker", "wörker", "x" * 1000])
def test_names(name: str | None) -> None:
    assert WorkerConfig(worker_name=name).worker_name == name


@pytest.mark.parametrize("name", ["", "a\x00b", "a\ud800b", 5, b"w"])
def test_names_that_the_database_cannot_hold(name: object) -> None:
    (said,) = problems(worker_name=name)
    assert said.startswith("worker_name is a text")
    assert said.endswith(f", not {name!r}")


def test_the_shortest_wait_is_not_longer_than_the_longest() -> None:
    assert WorkerConfig(min_poll_interval=5, max_poll_interval=5).min_poll_interval == 5
    assert problems(min_poll_interval=2, max_poll_interval=1.5) == (
        "min_poll_interval (2) is longer than max_poll_interval (1.5)",
    )


def test_all_problems_are_named_at_once_in_the_order_of_the_options() -> None:
    assert problems(
        compile_on_start="no",
        signal_strategy="push",
        recovery_interval=0,
        worker_name="",
        stop_timeout=-1,
        min_poll_interval="soon",
        max_poll_interval=NAN,
        batch_size=0,
        max_concurrency=True,
    ) == (
        "max_concurrency is a number, not True",
        "batch_size is between 1 and 10000, not 0",
        "min_poll_interval is a number, not 'soon'",
        "max_poll_interval is between 0.001 and 300, not nan",
        "stop_timeout is between 0 and 86400, not -1",
        "worker_name is a text that is not empty, not ''",
        "signal_strategy is 'polling' or 'notify' or 'long_poll', not 'push'",
        "recovery_interval is between 0.1 and 86400, not 0",
        "compile_on_start is True or False, not 'no'",
    )


def test_unknown_options_are_named_with_the_rest() -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerConfig.of(batch=3, max_concurrency=0, pol="x")
    assert caught.value.problems == (
        "unknown option 'batch'",
        "unknown option 'pol'",
        "max_concurrency is between 1 and 10000, not 0",
    )
    with pytest.raises(ConfigError) as caught:
        WorkerConfig.of(batch=3)
    assert caught.value.problems == ("unknown option 'batch'",)
