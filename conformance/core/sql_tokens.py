"""SQL and PL/pgSQL as tokens with their brackets, which is as much as `mutations.py` must know."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pygments.lexers.sql import PlPgsqlLexer  # type: ignore[import-untyped]
from pygments.token import Comment, String, Whitespace  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLAUSES = (
    "SELECT FROM WHERE GROUP HAVING ORDER LIMIT OFFSET FETCH FOR RETURNING INTO UNION INTERSECT "
    "EXCEPT WINDOW JOIN LEFT RIGHT FULL INNER CROSS NATURAL ON SET VALUES WHEN THEN ELSE ELSIF "
    "LOOP WHILE RETURN PERFORM DO USING AS , ; :="
)
_OPERATORS = "AND OR NOT BY IN IS LIKE BETWEEN CASE DISTINCT ALL ANY IF"
# What ends an expression at its own bracket depth: `Code.until` and `Code.since` stop there.
STOPS = frozenset(_CLAUSES.split())
BEFORE_OPERAND = STOPS | set(_OPERATORS.split())
_CLOSERS = frozenset({")", "]", "END"})
_BLOCKS = frozenset({"IF", "LOOP", "BEGIN"})  # what holds statements in PL/pgSQL
_BEFORE_STATEMENT = frozenset({";", "THEN", "ELSE", "LOOP", "BEGIN"})
_BRANCHES = frozenset({"ELSE", "ELSIF", "ELSEIF", "EXCEPTION", "WHEN", "END"})


class Edit(NamedTuple):
    """A splice of the source text: what is between `start` and `end` becomes `after`."""

    start: int
    end: int
    after: str


class Token(NamedTuple):
    """A piece of code (never a comment), and where it stands in the source text."""

    start: int
    text: str
    word: str  # in capitals if it may be a keyword, in small letters if it surely is not

    @property
    def end(self) -> int:
        """Where the next piece may begin."""
        return self.start + len(self.text)


def _tokenize(source: str, start: int, end: int) -> list[Token]:
    """Split a part of the source; a string, which the lexer gives in pieces, is one token."""
    pieces: list[tuple[int, str]] = []
    string_end = -1  # of the string that is being put together
    for offset, kind, text in PlPgsqlLexer().get_tokens_unprocessed(source[start:end]):
        at = start + offset
        if kind in String and at == string_end:
            begin, whole = pieces.pop()
            pieces.append((begin, whole + text))
        elif kind not in Whitespace and kind not in Comment:
            pieces.append((at, text))
        string_end = at + len(text) if kind in String else -1
    texts = [text for _, text in pieces]
    if any(re.fullmatch(r"E'.*\\'", text, re.DOTALL | re.IGNORECASE) for text in texts):
        raise ValueError("the lexer cannot tell where a string with an escaped quote ends")
    return [Token(*piece, _word(texts, at)) for at, piece in enumerate(pieces)]


def _word(texts: list[str], at: int) -> str:
    """Read a token as a keyword, unless what stands around it gives it another meaning."""
    word, following = texts[at].upper(), "".join(texts[at + 1 : at + 2])
    *_, earlier, previous = "", "", *(text.upper() for text in texts[max(at - 2, 0) : at])
    plain = (
        "." in {previous, following}  # a qualified name
        or previous == "AS"  # an alias
        or (word == "DISTINCT" and "IS" in {earlier, previous})  # IS NOT DISTINCT FROM
        or (word == "FROM" and previous == "DISTINCT")
    )
    return word.lower() if plain else word


def _is_literal(token: Token) -> bool:
    return token.word.isdecimal() or token.word in {"TRUE", "FALSE"} or token.text[0] == "'"


class Code:
    """The tokens of a function that a fault can be in, and how its brackets nest.

    Of the header these are the constants that are the default values of arguments.
    """

    def __init__(self, source: str, start: int, end: int) -> None:
        self.source = source
        header = _tokenize(source, 0, start)
        defaults = (token for before, token in pairwise(header) if before.word == "DEFAULT")
        self.tokens = [token for token in defaults if _is_literal(token)]
        self.tokens += _tokenize(source, start, end)
        self.words = [token.word for token in self.tokens]
        self.mates: dict[int, int] = {}  # the closing token of each opening one
        self.parents: list[int] = []  # the opening token around each token, or -1
        self._nest()
        self.openers = {close: opener for opener, close in self.mates.items()}

    def _nest(self) -> None:
        stack: list[int] = []
        for at, token in enumerate(self.tokens):
            if token.word == "BEGIN" and stack and self.word(stack[-1]) == "DECLARE":
                self.mates[stack.pop()] = at - 1  # the declarations end where the block begins
            if token.word in _CLOSERS and stack:
                tail = self.word(at + 1) in {"IF", "LOOP", "CASE"}  # END IF closes as a whole
                self.mates[stack.pop()] = at + (token.word == "END" and tail)
            self.parents.append(stack[-1] if stack else -1)
            if self._opens(at):
                stack.append(at)

    def _opens(self, at: int) -> bool:
        word, previous = self.word(at), self.word(at - 1)
        if word in {"(", "["}:
            return True
        if previous == "END":  # of END CASE, END IF or END LOOP
            return False
        starts = word == "IF" and previous in _BEFORE_STATEMENT
        return starts or word in {"CASE", "DECLARE", "BEGIN", "LOOP"}

    def word(self, at: int) -> str:
        """Read a token as a keyword; "" outside of the text."""
        return self.words[at] if 0 <= at < len(self.words) else ""

    def until(self, at: int, stops: frozenset[str] = STOPS) -> int:
        """Find the first of the stops from here on at this depth, or what closes this depth."""
        while at < len(self.tokens) and self.word(at) not in stops | _CLOSERS:
            at = self.mates.get(at, at) + 1
        return at

    def since(self, at: int, stops: frozenset[str] = STOPS) -> int:
        """Find, backwards, the first of the stops before here, or what opens this depth."""
        at -= 1
        while at >= 0 and self.word(at) not in stops and at not in self.mates:
            at = self.openers.get(at, at) - 1
        return at

    def items(self, at: int) -> list[tuple[int, int]]:
        """Split the list that begins here at its commas: the first token and the end of each."""
        end = self.until(at)
        rest = self.items(end + 1) if self.word(end) == "," else []
        return [(at, end), *rest] if at < end else rest

    def call(self, at: int) -> str:
        """Name the function that a token is inside the arguments of, directly; else ""."""
        opener = self.parents[at]
        return self.tokens[opener - 1].text.lower() if self.word(opener) == "(" and opener else ""

    def text(self, first: int, end: int) -> str:
        """Quote the source from one token to before another, without what is around them."""
        return self.source[self.tokens[first].start : self.tokens[end - 1].end]

    def cut(self, first: int, end: int, after: str = "") -> Edit:
        """Replace the tokens from one to before another."""
        return Edit(self.tokens[first].start, self.tokens[end - 1].end, after)

    def statements(self) -> Iterator[tuple[int, int]]:
        """Find the statements of PL/pgSQL at every depth: the first token, and the semicolon."""
        for at, word in enumerate(self.words):
            inside, previous = self.word(self.parents[at]), self.word(at - 1)
            starts = inside in _BLOCKS and previous in _BEFORE_STATEMENT and word not in _BRANCHES
            if starts and at - 1 not in self.openers:
                yield at, self.until(at, frozenset(";"))

    def assignments(self) -> Iterator[list[tuple[int, int]]]:
        """Find the lists of `column = value` of each UPDATE."""
        statements = {first for first, _ in self.statements()}
        for at, word in enumerate(self.words):
            if word == "SET" and at not in statements:  # a statement of its own sets a parameter
                yield self.items(at + 1)
