"""Strict JSON: text from outside is read strictly, and every text that is written can be stored and read again."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import pytest
from hypothesis import given

from consumer.core import strictjson
from consumer.core.errors import BadInput
from consumer.core.strictjson import MAX_JSON_DEPTH, clean, dump_json, nests_too_deeply, parse_json
from tests.core.values import any_text, values

DEEP: Final = 10_000
HALF: Final = "\ud83d"
"""The first half of a surrogate pair: JSON can express it, UTF-8 cannot."""


@given(values)
def test_a_value_that_was_written_is_read_again(value: Any) -> None:
    text = dump_json(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@given(values)
def test_a_text_that_was_written_can_be_stored(value: Any) -> None:
    """UTF-8 without NUL, and the same text again for the same value."""
    text = dump_json(value)
    assert clean(text) == text
    assert "\0" not in text.encode().decode()


def test_json_is_written_without_spaces() -> None:
    assert dump_json({"a": [1, "é", None, True, 1.5]}) == '{"a":[1,"é",null,true,1.5]}'


@pytest.mark.parametrize(
    ("value", "text"),
    [(f"a{HALF}é", '"a\\ud83d\\u00e9"'), ("a\0é", '"a\\u0000é"'), ("\ud83d\ude00", '"\\ud83d\\ude00"')],
)
def test_text_that_no_database_holds_stays_an_escape(value: str, text: str) -> None:
    assert dump_json(value) == text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        dump_json({"a": [number]})


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "1e999", "[-1e400]"])
def test_nan_and_infinity_are_not_read(text: str) -> None:
    with pytest.raises(BadInput, match=r"^input: not valid JSON: .+ is not JSON$"):
        parse_json(text, "input")


@pytest.mark.parametrize(
    "text", ["", "{", "{'a':1}", "[1,]", "nil", "\ufeff{}x", b"\xff", b'"\xed\xa0\xbd"', "1" * 5_000]
)
def test_the_error_for_invalid_json_names_the_field(text: str | bytes) -> None:
    with pytest.raises(BadInput, match=r"^input: not valid JSON: "):
        parse_json(text, "input")


def test_a_byte_order_mark_is_allowed() -> None:
    assert parse_json(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize("text", ["[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_absurd_nesting_is_an_error_and_not_a_crash(text: str) -> None:
    assert nests_too_deeply(text)
    for given_as in (text, text.encode()):
        with pytest.raises(BadInput, match=r"^input: JSON nested too deeply$"):
            parse_json(given_as, "input")


def test_the_recursion_limit_of_the_parser_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strictjson, "MAX_JSON_DEPTH", 10**9)
    text = "[" * 200_000
    with pytest.raises(BadInput, match=r"^input: JSON nested too deeply$"):
        parse_json(text, "input")


def test_absurd_nesting_is_not_written() -> None:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(BadInput, match="nested too deeply"):
        dump_json(value)
    while value:  # otherwise the interpreter frees it by recursion
        value = value.pop()


def test_a_value_that_could_not_be_read_again_is_not_written() -> None:
    value: Any = 1
    for _ in range(MAX_JSON_DEPTH):
        value = [value] if isinstance(value, dict) else {"a": value}
    assert parse_json(dump_json(value)) == value
    with pytest.raises(BadInput, match="nested too deeply"):
        dump_json([value])


def test_nesting_is_counted_in_levels() -> None:
    deepest = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH
    assert not nests_too_deeply(deepest)
    assert nests_too_deeply(f"[{deepest}]")
    assert not nests_too_deeply("[" + "[{}]," * MAX_JSON_DEPTH + "1]")


@pytest.mark.parametrize("text", ["[" * 300, '"' + "[" * 300, "\\" + "{" * 300 + "\\", '\\"[' * 300])
def test_brackets_in_a_string_do_not_nest(text: str) -> None:
    written = json.dumps({"a": text, "b": [text]})
    assert not nests_too_deeply(written)
    assert parse_json(written) == {"a": text, "b": [text]}


def test_a_repeated_name_in_an_object_is_refused_if_names_must_be_unique() -> None:
    assert parse_json('{"a":1,"a":2}') == {"a": 2}
    assert parse_json('{"a":{"b":1},"b":2}', unique=True) == {"a": {"b": 1}, "b": 2}
    with pytest.raises(BadInput, match="twice"):
        parse_json('{"a":{"b":1,"b":1}}', unique=True)


@given(any_text)
def test_cleaning_changes_only_text_that_no_database_holds(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert len(cleaned) == len(text)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned
    if text.isprintable():
        assert cleaned == text


def test_characters_that_no_database_holds_are_replaced() -> None:
    assert clean(f"a{HALF}b\0c😀") == "a?b\ufffdc😀"


@pytest.mark.parametrize("text", ['\ufeff{"a":1}', '\ufeff{"a":1}'.encode(), b'\xef\xbb\xbf{"a":1}'])
def test_a_byte_order_mark_in_front_is_left_out(text: str | bytes) -> None:
    assert parse_json(text) == {"a": 1}
    assert parse_json(text, unique=True) == {"a": 1}
