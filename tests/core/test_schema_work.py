"""Checks against schemas of tenants: they end in bounded time, and can collect every mismatch."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import checker
from consumer.core.errors import Problem
from consumer.core.schema import check_schema, mismatch, mismatches
from tests.core.values import values

LONG: Final = 100_000


@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(a*)*b", "([a-z]+)*1", "(.*)*x", "(.*a){12}b", "(a+a+)+y"],
)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "both"])
def test_every_pattern_is_searched_for_in_bounded_time(pattern: str, keyword: str) -> None:
    """Python's own engine would need longer than a lifetime for each of these."""
    text = "a" * LONG + "!"
    part: dict[str, Any] = {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
    value: Any = {text: 1}
    if keyword == "pattern":
        part, value = {"pattern": pattern}, text
    if keyword == "both":
        part["required"] = ["a" * 200 + "!"]
    accepted = check_schema({"type": "object", "properties": {"a": part}}, "")
    began = time.process_time()
    assert mismatch(accepted, {"a": value}) is not None
    assert time.process_time() - began < 1


def doubling(levels: int) -> dict[str, Any]:
    """A small schema whose check doubles its work at each level."""
    parts: dict[str, Any] = {
        f"p{number}": {"anyOf": [{"$ref": f"#/definitions/p{number + 1}"}] * 2} for number in range(levels)
    }
    parts[f"p{levels}"] = {"type": "null"}
    return {"type": "object", "properties": {"a": {"$ref": "#/definitions/p0"}}, "definitions": parts}


def test_a_check_that_doubles_at_each_level_is_given_up() -> None:
    assert mismatch(check_schema(doubling(8), ""), {"a": None}) is None
    accepted = check_schema(doubling(30), "")
    began = time.process_time()
    assert mismatch(accepted, {"a": 1}) == Problem(
        "", "needs more work than a check against a schema may take"
    )
    assert time.process_time() - began < 1
    assert mismatch(accepted, {"a": None}) is None, "each check has a budget of its own"


def test_a_large_answer_is_checked() -> None:
    person = {"properties": {"name": {"pattern": "^[A-Z]"}}, "required": ["name"]}
    schema = {"type": "object", "properties": {"a": {"items": person, "uniqueItems": True}}}
    people = [{"name": f"Ada {number}", "friend": None} for number in range(10_000)]
    assert mismatch(schema, {"a": people}) is None
    assert mismatch(schema, {"a": [*people, {"name": "ada"}]}) == Problem(
        "a[10000].name", "must have the form that the template asks for"
    )


@pytest.mark.parametrize("form", ["email", "hostname", "uri-template", "idn-email", "json-pointer", "uri"])
def test_every_format_is_checked_in_bounded_time(form: str) -> None:
    schema = {"type": "object", "properties": {"a": {"format": form}}}
    for text in ("@" * LONG, "a." * LONG, "a@" + "." * LONG, "a" * LONG + "!", "{" * LONG, "/~" * LONG):
        began = time.process_time()
        assert mismatch(schema, {"a": text}) is not None
        assert time.process_time() - began < 1


def test_a_reference_to_another_document_is_never_followed() -> None:
    """Not even when another application wrote the row."""
    for address in ("http://127.0.0.1:1/", "file:///etc/passwd", "//127.0.0.1:1/x", "x.json"):
        assert "BadInput" in str(
            mismatch({"type": "object", "properties": {"a": {"$ref": address}}}, {"a": 1})
        )


def test_encoded_text_is_not_decoded() -> None:
    """Nothing limits how deep the decoded value would nest."""
    media = {"contentMediaType": "application/json", "contentEncoding": "base64", "type": "string"}
    assert mismatch({"type": "object", "properties": {"a": media}}, {"a": "[" * LONG}) is None


# ---------------------------------------------------------------------------------------------- all mismatches


def test_all_mismatches_of_a_value_are_found() -> None:
    wanted = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 2, "pattern": "^x"},
            "b": {"items": {"$ref": "#/properties/a"}},
            "c d.e": {"properties": {"{f}": {"type": "null"}}},
            "g": {"anyOf": [{"$ref": "#/properties/a"}, {"type": "null"}]},
        },
        "required": ["h"],
    }
    value = {"a": "abc", "b": ["x", 5], "c d.e": {"{f}": 1}, "g": 5}
    assert mismatches(wanted, value) == [
        Problem("", "must also have h"),
        Problem("a", "must have at most 2 characters"),
        Problem("a", "must have the form that the template asks for"),
        Problem("b[1]", "must be text"),
        Problem("c d.e.{f}", "must be null"),
        Problem("g", "must fit one of the forms that the template allows"),
    ]
    assert mismatches(wanted, {"a": "x", "g": None, "h": 1}) == []


def test_of_too_many_mismatches_only_the_first_is_found() -> None:
    numbers = {"type": "object", "properties": {"a": {"items": {"type": "null"}}}}
    few, many = [1] * (checker.MAX_FOUND - 2), [1] * (checker.MAX_FOUND + 1)
    assert len(mismatches(numbers, {"a": few})) == len(few)
    assert mismatches(numbers, {"a": many}) == [Problem("a[0]", "must be null")]


def test_a_value_that_cannot_be_checked_has_one_mismatch() -> None:
    assert mismatches(doubling(30), {"a": 1}) == [mismatch(doubling(30), {"a": 1})]


@given(st.dictionaries(st.sampled_from(["properties", "required", "enum", "not", "anyOf"]), values), values)
def test_all_mismatches_are_found_exactly_when_there_is_a_first(part: dict[str, Any], value: Any) -> None:
    found, first = mismatches(part, value), mismatch(part, value)
    assert found[:1] == ([] if first is None else [first])
