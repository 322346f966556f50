"""What a call meets, by hand: a database that answers as it is told, and a clock."""

from __future__ import annotations

from collections import deque
from typing import Any
from uuid import UUID

from pgflow_ref import calls
from pgflow_ref.operations import Operation


class World:
    """Answers a call: operations from a list, time from a clock that moves by sleeping.

    An answer that is an exception is what the database says no with.
    """

    def __init__(self, *answers: object, slowness: float = 0) -> None:
        self.answers = deque(answers)
        self.now = 1_000.0
        self.slowness = slowness  # seconds that an operation takes
        self.asked: list[Operation[Any]] = []
        self.slept: list[float] = []
        self.told: list[calls.Tell] = []
        self.transactions: list[list[str]] = []  # the operations of each, by name

    def perform(self, call: calls.Call[Any]) -> Any:
        result = calls.perform(call, lambda request: self._answer(request, None))
        assert not self.answers
        return result

    def _answer(self, request: calls.Request, transaction: list[str] | None) -> object:
        match request:
            case Operation():
                self.asked.append(request)
                if transaction is not None:
                    transaction.append(request.name)
                self.now += self.slowness
                answer = self.answers.popleft()
                if isinstance(answer, Exception):
                    raise answer
                return answer
            case calls.Atomic(call=call):
                assert transaction is None
                asked: list[str] = []
                self.transactions.append(asked)
                return calls.perform(call, lambda inner: self._answer(inner, asked))
            case calls.Sleep(seconds=seconds):
                self.slept.append(seconds)
                self.now += seconds
                return None
            case calls.NewIds(count=count):
                return [UUID(int=n + 1) for n in range(count)]
            case calls.Tell():
                assert transaction is None, "what may be undone is not told"
                self.told.append(request)
                return None
            case _:
                assert request == calls.Clock()
                return self.now

    @property
    def names(self) -> list[str]:
        return [operation.name for operation in self.asked]
