"""What a script would do to the transaction that it is run in. Pure: a text in, a statement out.

A core is installed in one transaction. A COMMIT in the middle of a file would keep what came before
it, whatever comes after, so it has to be found before anything is run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDS: Final = frozenset({"abort", "begin", "commit", "end", "prepare transaction", "rollback"})
_STARTS: Final = "start transaction"

_TOKEN: Final = re.compile(
    r"--[^\n]*|/\*|[eE]'(?:[^'\\]|\\.|'')*'|'[^']*'|\"[^\"]*\""
    r"|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$|\w[\w$]*|;|\s+|.",
    re.DOTALL,
)
_COMMENT: Final = re.compile(r"/\*|\*/")


def check_transaction(text: str, where: str) -> None:
    """Refuse a script that begins or ends a transaction.

    Args:
        text: the script.
        where: what it is called in the message.

    Raises:
        SourceError: it does.
    """
    found = transaction_control(text)
    if found is not None:
        raise SourceError(
            f"{where} has {found[0]} in line {found[1]}; all of it is installed in one "
            "transaction, so take that statement out"
        )


def transaction_control(text: str) -> tuple[str, int] | None:
    r"""The first statement that begins or ends a transaction, and its line; None without one.

    What stands in a function's body, in a text or in a comment is none.

    Example:
        >>> transaction_control("CREATE TABLE a ();\nCOMMIT;")
        ('COMMIT', 2)
        >>> transaction_control("DO $$ BEGIN NULL; END; $$; -- COMMIT;") is None
        True
    """
    first: list[tuple[str, int]] = []  # the first two words of a statement
    before, depth = "", 0  # depth in the body of a function in SQL: BEGIN ATOMIC … END
    for word, at in _words(text):
        if depth or (before == "begin" and word == "atomic" and len(first) > 1):
            depth += (word in ("atomic", "case")) - (word == "end")
        elif word == ";":
            if found := _control(first):
                break
            first = []
        else:
            first.append((word, at))
        before = word
    else:
        found = _control(first)
    return (found[0].upper(), text.count("\n", 0, found[1]) + 1) if found else None


def _control(statement: list[tuple[str, int]]) -> tuple[str, int] | None:
    """The words that say what it does to a transaction, and where they are."""
    if not statement:
        return None
    word, at = statement[0]
    both = " ".join(word for word, _ in statement[:2])
    if both == _STARTS or both in _ENDS:
        return both, at
    return (word, at) if word in _ENDS else None


def _words(text: str) -> Iterator[tuple[str, int]]:
    """The words and semicolons of a script, in lower case, each with its place."""
    at = 0
    while (match := _TOKEN.match(text, at)) is not None:
        found = match[0]
        at = match.end()
        if found == "/*":
            at = _after_comment(text, at)
        elif found == ";" or (found[0].isalpha() and found[-1] != "'"):
            yield found.lower(), match.start()


def _after_comment(text: str, at: int) -> int:
    """Where a comment ends; it may hold others."""
    depth = 1
    while depth and (match := _COMMENT.search(text, at)) is not None:
        depth += 1 if match[0] == "/*" else -1
        at = match.end()
    return at if depth == 0 else len(text)
