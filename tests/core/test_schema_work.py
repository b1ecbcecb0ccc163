"""Checks against schemas of tenants: they end in bounded time, and can collect every mismatch."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import checker, schema
from consumer.core.checker import Work
from consumer.core.errors import BadInput, Problem
from consumer.core.keywords import LISTS, ONE, VALUES
from consumer.core.pattern import MAX_KEPT, MAX_PLACES, MAX_REMEMBERED, Memory, compile_pattern, places
from consumer.core.schema import SchemaCheck, check_schema, mismatch, mismatches
from consumer.core.sentences import sentence
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


# ---------------------------------------------------------------------------------------------- counted and bounded


@pytest.mark.parametrize("count", [3, 100])
def test_the_places_of_all_patterns_of_a_schema_are_counted_before_one_is_built(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(schema, "compile_pattern", built.append)
    patterns = {f"[ab]{{{2450 - number}}}": {"type": "null"} for number in range(count)}
    with pytest.raises(BadInput) as refused:
        check_schema({"type": "object", "patternProperties": patterns}, "output_schema")
    assert refused.value.problems[0].field == "output_schema.patternProperties"
    assert "at most 5000 places" in refused.value.problems[0].message
    assert len(built) <= 2


@given(
    st.sampled_from(
        ["a", "(a|b)", "[ab]{3,7}", "(a{2}){3,}", "(?:x|y*){0,4}", "^a$", "(a?b)+?", "(){5}", "[^a]*"]
    ),
    st.sampled_from(["", "b{9}", "(c|d|)", "(e{2}|f){2,5}"]),
)
def test_the_count_of_places_is_the_size_of_the_pattern(first: str, second: str) -> None:
    compiled = compile_pattern(first + second)
    assert places(first + second) == len(compiled.places) - 1  # the end is a place too


def test_what_a_pattern_remembers_is_bounded() -> None:
    memory = Memory()
    pattern = compile_pattern(".*a.{2400}", memory=memory)
    most = 0
    for number in range(3):
        pattern.search(f"{number}ab" * 5_000)
        most = max(most, memory.size)
        memory.end_check()
        assert memory.size <= MAX_KEPT
    assert most <= MAX_REMEMBERED + 2 * MAX_PLACES


def test_compiled_checks_are_bounded_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    schema._CHECKS.clear()
    monkeypatch.setattr(schema._CHECKS, "max_bytes", 300_000)
    for number in range(12):
        properties = {f"p{number}_{name}": {"type": "string", "maxLength": 9} for name in range(10)}
        mismatch({"type": "object", "properties": properties}, {})
        assert 0 < schema._CHECKS.size <= 300_000
    assert schema._CHECKS.made == 12
    assert len(schema._CHECKS._known) < 12


def test_the_checks_of_a_request_share_their_work() -> None:
    check, work = SchemaCheck(doubling(30)), Work(3 * checker.BUDGET)
    found = [check.mismatch({"a": 1}, work) for _ in range(1_000)]
    assert all(problem is not None for problem in found)
    assert work.left >= -checker.BUDGET
    assert "together with the others of this request" in str(found[-1])


def test_every_answer_of_a_run_is_checked_although_its_work_is_used_up() -> None:
    work = Work(0, cuts=False)
    assert SchemaCheck(doubling(8)).mismatch({"a": None}, work) is None
    assert work.left < 0


def test_many_short_texts_with_a_format_count_by_their_square() -> None:
    wanted = {"type": "object", "properties": {"a": {"items": {"format": "email"}}}}
    hostile = ["a@" + "." * (checker.MAX_FORMATTED - 2)] * 10_000
    assert mismatch(wanted, {"a": ["a@example.com"] * 10_000}) is None
    assert mismatch(wanted, {"a": hostile}) is not None


# ---------------------------------------------------------------------------------------------- schema and data


@pytest.mark.parametrize("word", ["examples", "enum", "const", "default"])
def test_data_in_a_schema_is_not_read_as_a_schema(word: str) -> None:
    data: Any = {"$id": "A-17", "id": 5, "$ref": "x", "pattern": "(", "minimum": "one"}
    part = {word: data if word in ("const", "default") else [data]}
    accepted = check_schema({"type": "object", "properties": {"a": part}}, "")
    assert mismatch(accepted, {"a": data}) is None
    assert (mismatch(accepted, {"a": 1}) is None) == (word in ("examples", "default"))


def test_references_whose_names_look_alike_are_different() -> None:
    defs = {
        "a": {"type": "string"},
        "A": {"type": "integer"},
        "a-b": {"type": "null"},
        "a_b": {"type": "boolean"},
    }
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in defs}
    accepted = check_schema({"type": "object", "properties": properties, "$defs": defs}, "")
    assert mismatch(accepted, {"a": "x", "A": 1, "a-b": None, "a_b": True}) is None
    assert [problem.field for problem in mismatches(accepted, {"a": 1, "A": "x", "a-b": 1, "a_b": 1})] == [
        *defs
    ]


def test_prefix_items_are_checked() -> None:
    part = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False}
    accepted = check_schema({"type": "object", "properties": {"a": part}}, "")
    assert mismatch(accepted, {"a": ["a", 1]}) is None
    assert mismatch(accepted, {"a": [1, "a"]}) == Problem("a[0]", "must be text")
    assert mismatch(accepted, {"a": ["a", 1, 2]}) == Problem("a", "must have at most 2 entries")


def test_a_pattern_is_described_in_the_words_of_its_template() -> None:
    for words in ({"description": "Two letters"}, {"title": "Two letters"}):
        part = {"type": "string", "pattern": "^[a-z]{2}$", **words}
        found = mismatch({"type": "object", "properties": {"a": part}}, {"a": "1"})
        assert found == Problem("a", "must have the form that the template asks for: Two letters")


@pytest.mark.parametrize("word", sorted(VALUES | ONE | LISTS))
def test_every_keyword_has_a_sentence_without_a_pattern(word: str) -> None:
    said = sentence(word, {word: "^x" if word == "pattern" else ["x"] if word in ("enum", "items") else 2})
    assert said.startswith("must ")
    assert "^x" not in said
