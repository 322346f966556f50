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
    "min_poll_interval": (0.001, 300),
    "max_poll_interval": (0.001, 300),
    "visibility_timeout": (1, 2**31 - 1),
    "heartbeat_interval": (0.1, 3600),
    "stop_timeout": (0, 86_400),
}
WHOLE = {"max_concurrency", "batch_size", "visibility_timeout"}
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
    assert WorkerConfig() == WorkerConfig.of() == WorkerConfig(10, 10, 1.0, 5.0, None, 5.0, 30.0)


def test_every_number_has_limits() -> None:
    numbers = {field.name for field in dataclasses.fields(WorkerConfig)} - {"worker_name"}
    assert numbers == set(LIMITS)


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


@pytest.mark.parametrize("option", sorted(LIMITS.keys() - {"visibility_timeout"}))
def test_only_the_visibility_timeout_may_be_left_open(option: str) -> None:
    assert problems(**{**WIDE, option: None}) == (f"{option} is a number, not None",)
    assert WorkerConfig(visibility_timeout=None).visibility_timeout is None


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
