"""JSON Schemas of templates: a wrong one is refused with its place, a value is checked in bounded time."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import schema
from consumer.core.errors import BadInput, Problem
from consumer.core.keywords import MAX_DEPTH, MAX_PATTERN
from consumer.core.model import parse
from consumer.core.schema import MAX_BYTES, check_schema, mismatch
from consumer.core.strictjson import dump_json
from consumer.core.template import Plan
from tests.core.values import values

DEEP: Final = 10_000


# ---------------------------------------------------------------------------------------------- schemas when written

PERSON: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "friend": {"$ref": "#/definitions/n"}},
    "definitions": {"n": {"type": ["string", "null"]}},
    "required": ["name"],
}


def test_a_schema_is_accepted_as_it_is() -> None:
    assert check_schema(PERSON, "output_schema") is PERSON


@pytest.mark.parametrize("value", [None, [], "object", True])
def test_a_schema_must_be_an_object(value: object) -> None:
    with pytest.raises(BadInput, match=r"^output_schema: must be a JSON object: a JSON Schema$"):
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
        ({"properties": {"a": {"pattern": 5}}}, "properties.a.pattern"),
        ({"properties": {"a": {"$ref": "#/definitions/nowhere"}}}, "properties.a.$ref"),
        ({"properties": {"a": {"$ref": "#/enum/0"}}, "enum": [{"a": 1}]}, "properties.a.$ref"),
        ({"properties": {"a": 5}}, "properties.a"),
        ({"properties": []}, "properties"),
        ({"properties": ["a"]}, "properties"),
        ({"required": "a"}, ""),
        ({"allOf": 5}, "allOf"),
    ],
)
def test_the_error_for_a_schema_names_the_place_that_is_wrong(part: dict[str, Any], field: str) -> None:
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
    node: dict[str, Any] = {}
    for _ in range(levels):
        node = {"not": node}
    with pytest.raises(BadInput, match=f"nested at most {MAX_DEPTH} levels"):
        check_schema({"type": "object"} | node, "output_schema")


def test_depth_is_counted_through_lists() -> None:
    value: Any = {}
    for _ in range(MAX_DEPTH // 2 + 1):
        value = {"allOf": [value]}
    with pytest.raises(BadInput, match=f"nested at most {MAX_DEPTH} levels"):
        check_schema({"type": "object"} | value, "")
    check_schema({"type": "object"} | value["allOf"][0]["allOf"][0], "")


@given(
    st.dictionaries(st.sampled_from([*PERSON, "items", "anyOf", "not", "enum", "const", "format"]), values)
)
def test_every_accepted_schema_can_be_used(part: dict[str, Any]) -> None:
    """No schema that a template may hold makes the check of an answer raise."""
    try:
        accepted = check_schema(part | {"type": "object"}, "output_schema")
    except BadInput:
        return
    assert isinstance(mismatch(accepted, {"name": "x", "friend": [1.5, {}]}), Problem | None)


# ---------------------------------------------------------------------------------------------- schemas when used


@pytest.mark.parametrize("part", [{"required": [None, False]}, {"properties": 5}, {"$ref": "#/nowhere"}])
def test_a_schema_that_was_never_accepted_is_a_mismatch_and_no_error(part: dict[str, Any]) -> None:
    """Templates are rows, and other applications write rows too."""
    assert mismatch({"type": "object"} | part, {}) is not None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"name": "Ada", "friend": None}, None),
        ({"name": "Ada", "more": 1}, None),
        ({}, Problem("", "must also have name")),
        ({"name": 5}, Problem("name", "must be text")),
        ({"name": "ada"}, Problem("name", "must have the form that the template asks for")),
        ({"name": "Ada", "friend": 5}, Problem("friend", "must be text or null")),
        ([], Problem("", "must be an object")),
        (None, Problem("", "must be an object")),
    ],
)
def test_a_mismatch_names_the_field(value: Any, problem: Problem | None) -> None:
    assert mismatch(PERSON, value) == problem


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        (
            {"properties": {"a": {"items": {"properties": {"b": {"type": "null"}}}}}},
            {"a": [{}, {"b": 1}]},
            "a[1].b",
        ),
        ({"properties": {"a.b": {"type": "null"}}}, {"a.b": 1}, "a.b"),
        ({"properties": {"{a}": {"type": "null"}}}, {"{a}": 1}, "{a}"),
        ({"properties": {'é"\n': {"type": "null"}}}, {'é"\n': 1}, 'é"\n'),
        ({"patternProperties": {"^x{1}y": {"type": "null"}}}, {"xy{}": 1}, "xy{}"),
        ({"additionalProperties": {"type": "null"}}, {"data.": 1}, "data."),
        ({"properties": {"a": {"$ref": "#/definitions/n"}}}, {"a": {"b": 1}}, "a.b"),
    ],
)
def test_a_field_is_a_path_in_the_value(part: dict[str, Any], value: Any, field: str) -> None:
    shared = {"definitions": {"n": {"properties": {"b": {"type": "null"}}}}}
    assert mismatch({"type": "object"} | part | shared, value) == Problem(field, "must be null")


def test_a_dependency_is_a_problem_of_the_object() -> None:
    wanted = {"type": "object", "properties": {"x": {"dependencies": {"a": False, "b": ["c"]}}}}
    assert mismatch(wanted, {"x": {"a": 1}}) == Problem("x", "must not have a")
    assert mismatch(wanted, {"x": {"b": 1}}) == Problem("x", "must also have c, because it has b")


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
    assert mismatch(tree, value) == Problem("", "is nested too deeply")
    assert mismatch(PERSON, {"name": "Ada", "more": value}) is None


def test_a_number_that_no_float_holds_does_not_stop_the_check() -> None:
    by_half = {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.5}}}
    assert mismatch(by_half, {"a": 1.5}) is None
    assert mismatch(by_half, {"a": 10**400}) == Problem("", "has a number that is too large to be checked")


def test_equal_schemas_are_compiled_once() -> None:
    schema._CHECKS.clear()
    for _ in range(5):
        assert mismatch({"type": "object", "title": "compiled once"}, {}) is None
    assert schema._CHECKS.made == 1


def test_the_compiled_check_of_a_plan_is_kept_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer costs one check, and never the writing or the compiling of its schema."""
    schema._CHECKS.clear()
    stages = {"stages": [{"kind": "ai", "candidates": [{"profile": "m"}]}]}
    plan = parse(Plan, {"output_schema": PERSON, "route": stages, "limits": {}})
    assert plan.mismatch({"name": "Ada"}) is None
    kept = schema._compiled(dump_json(PERSON))
    written: list[object] = []
    monkeypatch.setattr(schema, "dump_json", written.append)
    for _ in range(5):
        assert plan.mismatch({"name": "Ada"}) is None
        assert plan.mismatch({"name": "ada"}) is not None
    assert (schema._CHECKS.made, written) == (1, [])
    assert schema._compiled(dump_json(PERSON)) is kept
