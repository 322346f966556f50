"""The keys of one JSON object of the stream, each read as what it must be or refused."""

from __future__ import annotations

from typing import Final, NoReturn, TypeVar, cast

_Word = TypeVar("_Word", bound=str)
_MAX_NUMBER: Final = 1e12  # seconds or tasks; what is beyond is a mistake, not a measurement


class MalformedLine(ValueError):
    """A line of the stream does not say what it must.

    Attributes:
        number: the line, counted from 1.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number
        self.reason = reason


class Fields:
    """The keys of one JSON object, each read as what it must be or refused."""

    def __init__(self, value: object, number: int, inside: str = "") -> None:
        self._number = number
        self._inside = inside
        if not isinstance(value, dict):
            self.refuse(f"{inside or 'the record'} is not an object")
        self.data = cast("dict[str, object]", value)

    def refuse(self, reason: str) -> NoReturn:
        """Say what is wrong with the line."""
        raise MalformedLine(self._number, reason)

    def _wrong(self, key: str, expected: str) -> NoReturn:
        name = f"{self._inside}.{key}" if self._inside else key
        found = "is missing" if key not in self.data else f"is not {expected}"
        self.refuse(f"{name} {found}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        value = self.data.get(key, default)
        return value if isinstance(value, str) else self._wrong(key, "text")

    def seconds(self, key: str) -> float:
        """A number that a clock could have given."""
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(key, "a number")
        # An integer can be too long for a float, and JSON's 1e999 is read as infinity.
        return float(value) if abs(value) < _MAX_NUMBER else self._wrong(key, "a sensible number")

    def seconds_or_none(self, key: str) -> float | None:
        """The same, or nothing."""
        return None if self.data.get(key) is None else self.seconds(key)

    def count(self, key: str, default: int | None = None) -> int:
        """A number of things."""
        value = self.data.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER:
            return value
        return self._wrong(key, "a count")

    def one_of(self, key: str, words: tuple[_Word, ...]) -> _Word:
        """One of a few words."""
        value = self.data.get(key)
        for word in words:
            if word == value:
                return word
        return self._wrong(key, f"one of {', '.join(words)}")

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        """A list of texts, which may be left out unless it is needed."""
        return tuple(
            item if isinstance(item, str) else self._wrong(key, "a list of texts")
            for item in self._list(key, needed=needed)
        )

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        items = self._list(key, needed=False)
        return [Fields(item, self._number, f"{key}[{at}]") for at, item in enumerate(items)]

    def object_or_none(self, key: str) -> Fields | None:
        """An object, or nothing."""
        value = self.data.get(key)
        return None if value is None else Fields(value, self._number, key)

    def counts_by_name(self, key: str) -> dict[str, int]:
        """Numbers of things by any names."""
        inner = self.object_or_none(key)
        return {} if inner is None else {name: inner.count(name) for name in inner.data}

    def texts_by_name(self, key: str) -> dict[str, str]:
        """Texts by any names."""
        inner = self.object_or_none(key)
        return {} if inner is None else {name: inner.text(name) for name in inner.data}

    def _list(self, key: str, *, needed: bool) -> list[object]:
        value = self.data.get(key)
        if value is None and not needed:
            return []
        return (
            cast("list[object]", value) if isinstance(value, list) else self._wrong(key, "a list")
        )
