"""What goes through JSON unchanged, and what is refused, with the path to it."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref import json_contract, json_slow
from pgflow_ref.errors import NotJson
from pgflow_ref.json_contract import decode, encode, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

DEEP = 20_000
MOST_DIGITS = 131_072  # before the point in PostgreSQL's numeric
MOST_SCALE = 16_383  # after the point

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
DECIMALS = st.builds(lambda n, e: Decimal(n).scaleb(e), st.integers(), st.integers(-9_000, 9_000))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | DECIMALS
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20
)


def refusal(value: object) -> NotJson:
    with pytest.raises(NotJson) as caught:
        encode(value)
    error = caught.value
    assert str(error) == f"{error.path}: {error.reason}"
    assert "\x00" not in str(error)
    str(error).encode()  # people and databases can read it
    return error


def same(one: object, two: object) -> bool:
    """Equal, of the same type and sign; but a float may stand for a Decimal that is written so."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(map(same, one.values(), two.values()))
    if isinstance(one, Decimal):
        return type(two) in {int, float, Decimal} and one == Decimal(str(two))
    if isinstance(one, float):
        return repr(one) == repr(two)
    return type(one) is type(two) and one == two


def nested(kind: str, levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"k": value}
    return value


def unwrapped(value: Any) -> Iterator[Any]:
    """The levels of a nested value, by a loop."""
    while isinstance(value, (list, dict)):
        assert len(value) == 1
        value = value[0] if isinstance(value, list) else value["k"]
        yield value


# There and back


@patient
@given(VALUES)
def test_round_trip(value: object) -> None:
    assert same(value, decode(encode(value)))


@patient
@given(VALUES)
def test_deep_values_are_written_like_shallow_ones(value: object) -> None:
    """The slower functions agree with the standard library's: a Decimal calls for them."""
    fast, slow = encode([value, 0]), encode([value, Decimal(0)])
    assert fast == slow


@patient
@given(VALUES, st.sampled_from([None, 0, 4]), st.booleans())
def test_deep_texts_are_read_like_shallow_ones(value: object, indent: int, escaped: bool) -> None:
    """In any layout, since others write them: with escapes, and spaces between the marks."""
    read = decode(encode([value]))
    loose = json.loads(encode([value]), parse_float=str)
    text = json.dumps(loose, indent=indent, ensure_ascii=escaped)
    assert same(json_slow.read(encode([value])), read)
    assert same(json_slow.read(text), decode(text))


@patient
@given(VALUES)
def test_what_is_written_is_what_the_standard_library_reads(value: object) -> None:
    """And so any other: no digits, commas or quotes of our own invention."""
    json.loads(encode(value), parse_int=str, parse_float=str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-1, "-1"),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        ((), "[]"),
        ((1, (2, [3])), "[1, [2, [3]]]"),
        ({"b": 1, "a": 2, "": 3}, '{"b": 1, "a": 2, "": 3}'),
        ("é\u2028🙂", '"é\u2028🙂"'),
        ('"\\\x01\x7f/', '"\\"\\\\\\u0001\x7f/"'),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (Decimal("19.90"), "19.90"),
        (Decimal("1E+5"), "1E+5"),
        (Decimal("-0"), "-0"),
        ([Decimal(1), None, True, 2, 0.5, "é", [], {}], '[1, null, true, 2, 0.5, "é", [], {}]'),
        ({"a": {"b": Decimal("0.5"), "c": []}, "d": 1}, '{"a": {"b": 0.5, "c": []}, "d": 1}'),
    ],
)
def test_texts(value: object, text: str) -> None:
    assert encode(value) == text
    json.loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ('  {"a" : [ 1 ,2]}\n', {"a": [1, 2]}),
        ('"\\u00e9\\ud83d\\ude42"', "é🙂"),
        ("0.10", 0.1),
        ("1.0", 1.0),
        ("1E5", 100_000.0),
        ("-0.0", -0.0),
        ("-0", 0),
        ("12345678901234567890", 12_345_678_901_234_567_890),
        ("0.1234567890123456789", Decimal("0.1234567890123456789")),
        ("1e400", Decimal("1e400")),
        ("-1e400", Decimal("-1e400")),
        ("1e-400", Decimal("1e-400")),
        ("0." + "0" * 16_382 + "1", Decimal("1e-16383")),
        ("9007199254740993.0", Decimal("9007199254740993.0")),
        ("123456789.123456789", Decimal("123456789.123456789")),
        ("0.30000000000000004", 0.1 + 0.2),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_values(text: str, value: object) -> None:
    read = decode(text)
    assert type(read) is type(value)
    assert repr(read) == repr(value)


# Numbers


@pytest.mark.parametrize(
    "text", ["7" * 400, "-" + "7" * 4_300, "7" * 4_301, "-" + "7" * 5_000, "7" * 100_000]
)
def test_integers_have_no_limit_but_postgresqls(text: str) -> None:
    value = int(Decimal(text))  # int() alone reads 4,300 digits
    whole = f'{{"n": [{text}, 0.5, "x"]}}'
    assert encode({"n": [value, 0.5, "x"]}) == whole
    assert decode(whole) == {"n": [value, 0.5, "x"]}
    assert decode(text) == value


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_integer(sign: int) -> None:
    limit = 10**MOST_DIGITS
    assert encode(sign * (limit - 1)) == ("-" if sign < 0 else "") + "9" * MOST_DIGITS
    error = refusal([sign * limit])
    assert (error.path, error.reason) == ("$[0]", "PostgreSQL holds at most 131072 digits")


def test_the_users_own_limit_on_digits_is_none_of_ours() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)  # the lowest that Python takes
    try:
        assert decode("1" * 700) == decode(encode(decode("1" * 700)))
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(
    "value",
    [
        Decimal("9" * MOST_DIGITS),
        Decimal(f"1E+{MOST_DIGITS - 1}"),
        Decimal(f"1E-{MOST_SCALE}"),
        Decimal("-" + "9" * 1_000 + "." + "9" * 1_000),
    ],
)
def test_decimals_up_to_postgresqls_limits(value: Decimal) -> None:
    assert encode([value, 0.5]) == f"[{value}, 0.5]"


@pytest.mark.parametrize("value", [Decimal(f"1E+{MOST_DIGITS}"), Decimal(f"1E-{MOST_SCALE + 1}")])
def test_decimals_beyond_postgresqls_limits(value: Decimal) -> None:
    assert str(refusal({"n": value})) == (
        "$.n: PostgreSQL holds 131072 digits before the point and 16383 after it"
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "NaN is not a JSON number"),
        (float("inf"), "an infinity is not a JSON number"),
        (float("-inf"), "an infinity is not a JSON number"),
        (Decimal("NaN"), "NaN is not a JSON number"),
        (Decimal("sNaN"), "sNaN is not a JSON number"),
        (Decimal("inf"), "Infinity is not a JSON number"),
        (Decimal("-inf"), "-Infinity is not a JSON number"),
    ],
)
def test_numbers_that_are_none(value: object, reason: str) -> None:
    assert str(refusal(value)) == f"$: {reason}"
    assert str(refusal({"a": [0, value]})) == f"$.a[1]: {reason}"


# Depth and references


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("levels", [199, 200, 201, 999, DEEP])
def test_depth(kind: str, levels: int) -> None:
    opening, closing = ("[", "]") if kind == "list" else ('{"k": ', "}")
    text = opening * levels + "1" + closing * levels
    assert encode(nested(kind, levels)) == text
    parts = list(unwrapped(decode(text)))
    assert len(parts) == levels
    assert parts[-1] == 1


def test_deep_values_beside_others() -> None:
    deep = nested("list", DEEP)
    text = encode({"a": 1, "b": deep, "c": [True, None, "é", {"d": (), "e": {}}, 10**5000]})
    read = decode(text)
    assert isinstance(read, dict)
    assert list(read) == ["a", "b", "c"]
    assert len(list(unwrapped(read["b"]))) == DEEP
    assert read["c"] == [True, None, "é", {"d": [], "e": {}}, 10**5000]


@pytest.mark.parametrize(
    "text",
    [
        f"[{'1' * 5_000}, {'[' * DEEP}{']' * DEEP}]",
        f"[{'[' * DEEP}{']' * DEEP}, {'1' * 5_000}]",
    ],
    ids=["the integer first", "the nesting first"],
)
def test_a_long_integer_and_deep_nesting_in_one_text(text: str) -> None:
    read = decode(text)
    assert isinstance(read, list)
    assert int(Decimal("1" * 5_000)) in (read[0], read[1])


def test_a_deep_text_with_marks_in_its_strings() -> None:
    text = "[" * DEEP + '{"a]{\\"": ["}", "\\\\", ":,", " "]}' + "]" * DEEP
    value: Any = decode(text)
    for _ in range(DEEP):
        (value,) = value
    assert value == {'a]{"': ["}", "\\", ":,", " "]}


def test_shared_references_are_no_circle() -> None:
    shared: dict[str, object] = {"x": [1]}
    value = [shared, shared, {"again": shared, "inner": shared["x"]}]
    text = '[{"x": [1]}, {"x": [1]}, {"again": {"x": [1]}, "inner": [1]}]'
    assert encode(value) == text


def test_circles() -> None:
    one: list[object] = []
    one.append(one)
    assert str(refusal(one)) == "$[0]: contains itself"
    two: dict[str, object] = {}
    two["a"] = {"b": [0, two]}
    assert str(refusal(two)) == "$.a.b[1]: contains itself"
    three: list[object] = [0]
    three.append((three,))
    assert str(refusal({"c": three})) == "$.c[1][0]: contains itself"


def test_a_circle_at_the_end_of_a_long_way() -> None:
    bottom: list[object] = []
    value = bottom
    for _ in range(DEEP):
        value = [value]
    bottom.append(value)
    error = refusal(value)
    assert error.path == "$" + "[0]" * (DEEP + 1)
    assert error.reason == "contains itself"


# Kinds


class Colour(enum.IntEnum):
    RED = 3


class Word(str, enum.Enum):  # what enum.StrEnum is from Python 3.11 on
    HELLO = "hello"


class Point(NamedTuple):
    x: int
    y: int


class Shout(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "SHOUT"


class Half(float):
    def __repr__(self) -> str:
        return "a half"


class Steps(list):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Colour.RED, "3"),
        (Word.HELLO, '"hello"'),
        (Shout("quiet"), '"quiet"'),
        (Half(0.5), "0.5"),
        (Point(1, 2), "[1, 2]"),
        (Steps([1]), "[1]"),
        (collections.OrderedDict(b=1, a=2), '{"b": 1, "a": 2}'),
        (collections.defaultdict(list, a=[1]), '{"a": [1]}'),
        (collections.Counter("aa"), '{"a": 2}'),
        ({Word.HELLO: 1}, '{"hello": 1}'),
        ({Shout("quiet"): 1}, '{"quiet": 1}'),
    ],
)
def test_subclasses_are_what_they_descend_from(value: object, text: str) -> None:
    assert encode(value) == text
    assert encode([value, Decimal(0)]) == f"[{text}, 0]"  # by the slower functions as well


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"a", "bytes"),
        ({1}, "set"),
        (frozenset(), "frozenset"),
        (range(3), "range"),
        (1j, "complex"),
        (object(), "object"),
        (object, "type"),
        (print, "builtin_function_or_method"),
        (dt.date(2025, 1, 1), "date"),
        (iter(()), "tuple_iterator"),
        ({}.items(), "dict_items"),
        (NotImplemented, "NotImplementedType"),
        (..., "ellipsis"),
    ],
)
def test_values_that_json_does_not_have(value: object, name: str) -> None:
    assert str(refusal(value)) == f"$: {name} is not a JSON value"
    assert str(refusal({"a": [value]})) == f"$.a[0]: {name} is not a JSON value"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (1, "int 1"),
        (True, "bool True"),
        (1.5, "float 1.5"),
        (None, "NoneType"),
        (b"a", "bytes"),
        ((1, 2), "tuple"),
        (Colour.RED, "Colour <Colour.RED: 3>"),
    ],
)
def test_keys_are_text(key: object, shown: str) -> None:
    assert str(refusal({key: 1})) == f"$: a key is text, not {shown}"
    assert str(refusal([{"a": {"b": 0, key: 1}}])) == f"$[0].a: a key is text, not {shown}"


def test_a_key_with_more_digits_than_python_writes() -> None:
    assert str(refusal({10**5000: 1})).startswith("$: a key is text, not int")


# Texts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\x00b", "PostgreSQL's jsonb has no U+0000"),
        ("é\x00", "PostgreSQL's jsonb has no U+0000"),
        ("\ud800", "a lone surrogate, U+D800, is not text"),
        ("a\udfffb", "a lone surrogate, U+DFFF, is not text"),
        ("\ud83d\ude42", "a lone surrogate, U+D83D, is not text"),  # two of them are no pair here
    ],
)
def test_texts_that_jsonb_does_not_have(text: str, reason: str) -> None:
    key = json.dumps(text)
    assert str(refusal(text)) == f"$: {reason}"
    assert str(refusal(Shout(text))) == f"$: {reason}"
    assert str(refusal(["a", text])) == f"$[1]: {reason}"
    assert str(refusal({"a": {text: 1}})) == f"$.a[{key}]: {reason}"
    assert str(refusal({Shout(text): 1})) == f"$[{key}]: {reason}"


@pytest.mark.parametrize("letter", ["a", "é", "🙂"])
def test_the_longest_text(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json_contract._MAX_TEXT == 2**28 - 1
    monkeypatch.setattr(json_contract, "_MAX_TEXT", 12)
    size = len(letter.encode())
    fits, too_long = letter * (12 // size), letter * (12 // size + 1)
    assert decode(encode({fits: [fits]})) == {fits: [fits]}
    reason = "a text in jsonb has at most 12 bytes"
    assert str(refusal([too_long])) == f"$[0]: {reason}"
    assert str(refusal([Shout(too_long)])) == f"$[0]: {reason}"
    assert refusal({too_long: 1}).reason == reason


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"items": [{}, {"price": {1}}]}, "$.items[1].price"),
        ({"unit price": {1}}, '$["unit price"]'),
        ({"": {1}}, '$[""]'),
        ({"1st": {1}}, '$["1st"]'),
        ({"_a1": {1}}, "$._a1"),
        ({'a"b\\': {1}}, '$["a\\"b\\\\"]'),
        ({"é\n": {1}}, '$["\\u00e9\\n"]'),
        ({"a.b": {"c": ({1},)}}, '$["a.b"].c[0]'),
        ([[1, [2, {1}]]], "$[0][1][1]"),
        ([[[]], {"a": {}}, [{"b": []}], {1}], "$[3]"),
    ],
)
def test_paths(value: object, path: str) -> None:
    assert str(refusal(value)) == f"{path}: set is not a JSON value"


def test_the_path_to_a_deep_value() -> None:
    value: object = {1}
    for _ in range(DEEP):
        value = {"k": value}
    assert refusal(value).path == "$" + ".k" * DEEP


# Texts that are not JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "$: not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("nul", "$: not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1,]", "$: not JSON: "),
        ("[1] 2", "$: not JSON: Extra data: line 1 column 5 (char 4)"),
        ("{'a': 1}", "$: not JSON: "),
        ("01", "$: not JSON: "),
        ('"a\nb"', "$: not JSON: Invalid control character"),
        ("\ufeff1", "$: not JSON: Unexpected UTF-8 BOM"),
        ("NaN", "$: not JSON: NaN is not a JSON number"),
        ("[Infinity]", "$: not JSON: Infinity is not a JSON number"),
        ("-Infinity", "$: not JSON: -Infinity is not a JSON number"),
    ],
)
def test_what_is_not_json(text: str, message: str) -> None:
    with pytest.raises(NotJson) as caught:
        decode(text)
    assert str(caught.value).startswith(message)


BROKEN = ["oops", "NaN", "-Infinity", "1 2", "1,", "[}", "{1: 2}", '{"a"}', '"a']


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_not_json_is_noticed_after_a_long_integer(text: str) -> None:
    with pytest.raises(NotJson):
        decode(f"[{'1' * 5_000}, {text}]")


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_not_json_is_noticed_in_a_deep_text(text: str) -> None:
    with pytest.raises(NotJson):
        decode("[" * DEEP + text + "]" * DEEP)


TOKENS = st.sampled_from([*'[]{},: \n"-01.e', '"a"', "null", "true", "NaN", "1.5", "\u2003", "\\u"])


@settings(patient, max_examples=1_000)
@given(st.lists(TOKENS, max_size=12).map("".join))
def test_what_is_json_is_the_same_for_both_readers(text: str) -> None:
    try:
        value = decode(text)
    except NotJson:
        with pytest.raises(NotJson):
            json_slow.read(text)
    else:
        assert repr(json_slow.read(text)) == repr(value)


@pytest.mark.parametrize(
    ("opened", "closed"), [("[", ""), ("[", "]" * (DEEP + 1)), ("[", "}" * DEEP), ('{"k":', "")]
)
def test_a_deep_text_is_closed_as_it_was_opened(opened: str, closed: str) -> None:
    with pytest.raises(NotJson):
        decode(opened * DEEP + closed)


@pytest.mark.parametrize("text", ["1e99999999999999999999", "[1e-99999999999999999999]"])
def test_exponents_beyond_all_measure(text: str) -> None:
    """Nobody can hold such a number, so a caller sees the error of this library."""
    with pytest.raises(NotJson):
        decode(text)


# printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("fine: é🙂\n", "fine: é🙂\n"),
        ("a\x00b\x00", "a\\u0000b\\u0000"),
        ("\ud800a\udfff", "\\ud800a\\udfff"),
        ("\x00\udabc", "\\u0000\\udabc"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@patient
@given(st.text(st.characters(exclude_categories=[])))
def test_what_is_printable_can_be_stored(text: str) -> None:
    shown = printable(text)
    assert "\x00" not in shown
    shown.encode()
    assert printable(shown) == shown
