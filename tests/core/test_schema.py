"""JSON Schema from strangers."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import schema
from consumer.core.errors import BadInput
from consumer.core.schema import MAX_BYTES, MAX_DEPTH, MAX_PATTERN, check_schema, mismatch
from tests.core.json_values import values

DEEP = 10_000


def deep_dict(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"properties": value}
    return value


# ---------------------------------------------------------------------------------------------- schemas when written

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "friend": {"$ref": "#/definitions/n"}},
    "definitions": {"n": {"type": ["string", "null"]}},
    "required": ["name"],
}


def test_a_schema_is_accepted_as_it_is() -> None:
    assert check_schema(PERSON, "output_schema") is PERSON


@pytest.mark.parametrize("value", [None, [], "object", True])
def test_a_schema_is_an_object(value: object) -> None:
    with pytest.raises(BadInput, match=r"^output_schema: a JSON Schema is an object$"):
        check_schema(value, "output_schema")


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "string"}, "type"),
        ({"type": ["object"]}, "type"),
        ({"$ref": "https://example.com/schema.json"}, "$ref"),
        ({"$ref": "file:///etc/passwd"}, "$ref"),
        ({"$ref": "other.json#/a"}, "$ref"),
        ({"$ref": ""}, "$ref"),
        ({"$dynamicRef": "//example.com"}, "$dynamicRef"),
        ({"properties": {"a": {"items": [{}, {"$ref": "x"}]}}}, "properties.a.items[1].$ref"),
        ({"$id": "https://example.com/"}, "$id"),
        ({"id": "x"}, "id"),
        ({"definitions": {"a": {"$id": "#a"}}}, "definitions.a.$id"),
        ({"properties": {"a": {"pattern": "x" * (MAX_PATTERN + 1)}}}, "properties.a.pattern"),
        ({"minProperties": math.nan}, ""),
        ({"minProperties": math.inf}, ""),
        ({"description": "x" * MAX_BYTES}, ""),
        ({"description": "é" * (MAX_BYTES // 2)}, ""),
        ({"properties": {"a": {"type": "nothing"}}}, ""),
        ({"properties": {"a": {"minimum": "one"}}}, ""),
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "properties.a.pattern"),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "properties.a.pattern"),
        ({"patternProperties": {"(a)\\1": {}}}, "patternProperties"),
        ({"patternProperties": {"x" * (MAX_PATTERN + 1): {}}}, "patternProperties"),
        ({"required": ["a", None]}, ""),
        ({"properties": {"a": {"pattern": 5}}}, ""),
        ({"properties": {"a": {"$ref": "#/definitions/nowhere"}}}, ""),
        ({"properties": {"a": 5}}, ""),
        ({"properties": []}, ""),
        ({"properties": ["a"]}, ""),
        ({"required": "a"}, ""),
        ({"allOf": 5}, ""),
    ],
)
def test_what_is_wrong_is_named(part: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_schema({"type": "object"} | part, "output_schema")
    assert [problem.field for problem in refused.value.problems] == [
        f"output_schema.{field}" if field else "output_schema"
    ]


def test_fields_may_have_the_names_of_keywords() -> None:
    names = {"id": {"type": "integer"}, "$ref": {"type": "string"}, "pattern": {"type": "string"}}
    check = check_schema({"type": "object", "properties": names}, "")
    assert mismatch(check, {"id": 1, "$ref": "x", "pattern": "("}) is None
    assert mismatch(check, {"id": "1"}) is not None


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, DEEP])
def test_a_schema_of_absurd_depth_is_refused(levels: int) -> None:
    with pytest.raises(BadInput, match=f"nested deeper than {MAX_DEPTH}"):
        check_schema({"type": "object"} | deep_dict(levels), "output_schema")


def test_depth_is_counted_through_lists() -> None:
    value: Any = {}
    for _ in range(MAX_DEPTH // 2 + 1):
        value = {"allOf": [value]}
    with pytest.raises(BadInput, match=f"nested deeper than {MAX_DEPTH}"):
        check_schema({"type": "object"} | value, "")
    check_schema({"type": "object"} | value["allOf"][0]["allOf"][0], "")


@given(
    st.dictionaries(st.sampled_from([*PERSON, "items", "anyOf", "not", "enum", "const", "format"]), values)
)
def test_whatever_is_accepted_can_be_asked(part: dict[str, Any]) -> None:
    """Nothing that a template may hold stops the one who judges an answer."""
    try:
        accepted = check_schema(part | {"type": "object"}, "output_schema")
    except BadInput:
        return
    assert isinstance(mismatch(accepted, {"name": "x", "friend": [1.5, {}]}), str | None)


# ---------------------------------------------------------------------------------------------- schemas when used


@pytest.mark.parametrize("part", [{"required": [None, False]}, {"properties": 5}, {"$ref": "#/nowhere"}])
def test_a_schema_that_no_check_has_seen_stops_nobody(part: dict[str, Any]) -> None:
    """Templates are rows, which other applications write too."""
    assert mismatch({"type": "object"} | part, {}) is not None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"name": "Ada", "friend": None}, None),
        ({"name": "Ada", "more": 1}, None),
        ({}, "data must contain ['name'] properties"),
        ({"name": 5}, "data.name must be string"),
        ({"name": "ada"}, "data.name must match pattern ^[A-Z]"),
        ({"name": "Ada", "friend": 5}, "data.friend must be string or null"),
        ([], "data must be object"),
        (None, "data must be object"),
    ],
)
def test_a_mismatch_names_the_field(value: Any, why: str | None) -> None:
    assert mismatch(PERSON, value) == why


def test_defaults_are_not_filled_in() -> None:
    """An answer is stored as it was given."""
    value: dict[str, Any] = {}
    assert mismatch({"type": "object", "properties": {"a": {"default": 5}}}, value) is None
    assert value == {}


def test_a_value_of_absurd_depth_does_not_fit_a_schema_that_follows_it() -> None:
    tree = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    value: dict[str, Any] = {}
    for _ in range(DEEP):
        value = {"a": value}
    assert mismatch(tree, value) == "nested too deeply"
    assert mismatch(PERSON, {"name": "Ada", "more": value}) is None


def test_a_number_that_no_float_holds_does_not_stop_the_check() -> None:
    by_half = {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.5}}}
    assert mismatch(by_half, {"a": 1.5}) is None
    assert mismatch(by_half, {"a": 10**400}) == "a number too large to be checked"


LONG = 100_000


@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(a*)*b", "([a-z]+)*1", "(.*)*x", "(.*a){12}b", "(a+a+)+y"],
)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "both"])
def test_no_pattern_takes_long(pattern: str, keyword: str) -> None:
    """Python's own engine would not be done with any of these in our lifetime."""
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
    """A small schema that asks 2 to the power of its levels questions."""
    parts: dict[str, Any] = {
        f"p{number}": {"anyOf": [{"$ref": f"#/definitions/p{number + 1}"}] * 2} for number in range(levels)
    }
    parts[f"p{levels}"] = {"type": "null"}
    return {"type": "object", "properties": {"a": {"$ref": "#/definitions/p0"}}, "definitions": parts}


def test_a_check_that_doubles_at_each_level_is_given_up() -> None:
    assert mismatch(check_schema(doubling(8), ""), {"a": None}) is None
    accepted = check_schema(doubling(30), "")
    began = time.process_time()
    assert mismatch(accepted, {"a": 1}) == "more than can be checked against its schema"
    assert time.process_time() - began < 1
    assert mismatch(accepted, {"a": None}) is None, "giving up once is not for good"


def test_a_large_answer_is_checked() -> None:
    person = {"properties": {"name": {"pattern": "^[A-Z]"}}, "required": ["name"]}
    schema = {"type": "object", "properties": {"a": {"items": person, "uniqueItems": True}}}
    people = [{"name": f"Ada {number}", "friend": None} for number in range(10_000)]
    assert mismatch(schema, {"a": people}) is None
    assert (
        mismatch(schema, {"a": [*people, {"name": "ada"}]}) == "data.a[10000].name must match pattern ^[A-Z]"
    )


@pytest.mark.parametrize("form", ["email", "hostname", "uri-template", "idn-email", "json-pointer", "uri"])
def test_no_format_takes_long(form: str) -> None:
    schema = {"type": "object", "properties": {"a": {"format": form}}}
    for text in ("@" * LONG, "a." * LONG, "a@" + "." * LONG, "a" * LONG + "!", "{" * LONG, "/~" * LONG):
        began = time.process_time()
        assert mismatch(schema, {"a": text}) is not None
        assert time.process_time() - began < 1


def test_a_reference_to_elsewhere_is_followed_by_nobody() -> None:
    """Whoever wrote the row."""
    for address in ("http://127.0.0.1:1/", "file:///etc/passwd", "//127.0.0.1:1/x", "x.json"):
        assert "BadInput" in str(
            mismatch({"type": "object", "properties": {"a": {"$ref": address}}}, {"a": 1})
        )


def test_text_that_holds_other_things_is_text() -> None:
    """It is not decoded: nothing limits how deep it nests."""
    media = {"contentMediaType": "application/json", "contentEncoding": "base64", "type": "string"}
    assert mismatch({"type": "object", "properties": {"a": media}}, {"a": "[" * LONG}) is None


def test_a_schema_that_takes_the_identity_of_a_dead_one_is_its_own() -> None:
    """Checks are remembered by identity: each schema here dies at once, and its place in memory is used again."""
    identities = set()
    for number in range(3 * schema._KNOWN_AT_MOST):
        wanted: dict[str, Any] = {"type": "object", "properties": {"a": {"const": number % 300}}}
        identities.add(id(wanted))
        assert mismatch(wanted, {"a": number % 300}) is None
        assert mismatch(wanted, {"a": number % 300 + 1}) is not None
        assert len(schema._KNOWN) <= schema._KNOWN_AT_MOST
        del wanted
    assert len(identities) < 3 * schema._KNOWN_AT_MOST, "no identity was used again: nothing was tested"


def test_equal_schemas_are_compiled_once() -> None:
    schema._compiled.cache_clear()
    for _ in range(5):
        assert mismatch({"type": "object", "title": "compiled once"}, {}) is None
    assert schema._compiled.cache_info().misses == 1
