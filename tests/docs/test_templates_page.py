"""docs/templates.md says what the code does: every field, default and bound, every keyword, every placeholder."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.core.checker import BUDGET, MAX_FORMATTED
from consumer.core.errors import BadInput
from consumer.core.keywords import ANNOTATIONS, KNOWN, MAX_DEPTH, MAX_PATTERN
from consumer.core.model import parse
from consumer.core.pattern import MAX_PLACES
from consumer.core.prompt import check_prompt, render
from consumer.core.schema import MAX_BYTES, check_schema, mismatch
from consumer.core.strict import allows_strict
from consumer.core.template import MAX_EXECUTIONS, Candidate, Limits, Route, Stage, Template
from consumer.service.new_tasks import REQUEST_WORK
from scripts.stage import ROOT
from tests.support.documents import sections, tables

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE: Final = ROOT / "docs" / "templates.md"
SECTIONS: Final = sections(PAGE)


def named(rows: list[dict[str, str]], column: str) -> dict[str, dict[str, str]]:
    """The rows of a table by the code in one of its columns."""
    return {row[column].strip("`"): row for row in rows}


def bounds(model: type[BaseModel], field: str) -> set[int]:
    """Every bound that the model has for a field: of a number, of a text's length, of a list's length."""
    schema = model.model_json_schema()["properties"][field]
    words = "minimum maximum minLength maxLength minItems maxItems".split()
    parts = [schema, *schema.get("anyOf", ())]
    return {int(part[word]) for part in parts for word in words if word in part}


def numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\b\d+\b", text)}


def default(model: type[BaseModel], field: str) -> str:
    """The default of a field, as the page writes it."""
    info = model.model_fields[field]
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, Limits):
        return "all defaults"
    return f"`{value}`" if value == "default" else str(value or "empty") if value != 0 else "0"


# --------------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize(
    ("section", "model", "column", "number"),
    [
        ("Template", Template, "field", 0),
        ("Route", Stage, "stage", 0),
        ("Route", Candidate, "candidate", 1),
        ("Limits", Limits, "limit", 0),
    ],
)
def test_every_field_has_a_row_with_its_default(
    section: str, model: type[BaseModel], column: str, number: int
) -> None:
    rows = named(tables(PAGE, section)[number], column)

    assert list(rows) == list(model.model_fields)
    assert {name: row["default"] for name, row in rows.items()} == {
        name: default(model, name) for name in model.model_fields
    }


def test_the_bounds_of_a_template_are_those_of_the_page() -> None:
    fields = named(tables(PAGE, "Template")[0], "field")
    for name in ("id", "organization_id", "name", "description", "category", "estimated_duration", "prompt"):
        assert numbers(fields[name]["limits"]) == bounds(Template, name), name
    assert numbers(fields["route"]["limits"]) == bounds(Route, "stages")
    stages, candidates = tables(PAGE, "Route")
    assert numbers(named(stages, "stage")["candidates"]["limits"]) == bounds(Stage, "candidates")
    assert numbers(named(candidates, "candidate")["max_cost"]["limits"]) == {0, 1_000_000}
    kinds = Stage.model_json_schema()["properties"]["kind"]["enum"]
    assert re.findall(r"`(\w+)`", named(stages, "stage")["kind"]["limits"]) == kinds


def test_the_bounds_of_the_limits_are_those_of_the_page() -> None:
    for name, row in named(tables(PAGE, "Limits")[0], "limit").items():
        assert numbers(f"{row['from']} {row['to']}") == bounds(Limits, name), name
        assert (row["unit"] == "seconds") == name.endswith("_s")


def test_every_answer_to_an_unknown_outcome_has_a_row() -> None:
    rows = named(tables(PAGE, "Limits")[1], "`unknown`")
    assert set(rows) == set(Limits.model_json_schema()["properties"]["unknown"]["enum"])


def test_the_fixed_numbers_are_those_of_the_code() -> None:
    assert numbers(SECTIONS["Schemas"]) >= {
        MAX_BYTES,
        MAX_DEPTH,
        MAX_PATTERN,
        MAX_PLACES,
        MAX_FORMATTED,
        BUDGET,
        REQUEST_WORK,
    }
    assert MAX_EXECUTIONS in numbers(SECTIONS["Limits"])


def test_the_complete_example_is_a_template() -> None:
    (text,) = re.findall(r"```json template\n(.*?)```", SECTIONS["A complete example"], re.DOTALL)
    example = json.loads(text)

    template = parse(Template, example)

    assert template.route.kind == "hybrid"
    optional = {"id", "organization_id"}
    assert set(example) == set(Template.model_fields) - optional, "the example is complete"


# --------------------------------------------------------------------------------------------- placeholders

TASK: Final[dict[str, Any]] = {
    "message": "Hi",
    "count": 2,
    "name": "Ada",
    "order number": "A-1",
    "deep": {"er": "z"},
}


def test_every_placeholder_of_the_page_is_filled_and_no_other_is_taken() -> None:
    rows = named(tables(PAGE, "Prompt")[0], "placeholder")
    known = {"title": "T", "description": "D", "input": TASK, "previous": {"answer": "yes"}}
    filled = {name: render(name, known) for name in rows}
    assert filled == {
        "{{title}}": "T",
        "{{description}}": "D",
        "{{input}}": '{"message":"Hi","count":2,"name":"Ada","order number":"A-1","deep":{"er":"z"}}',
        "{{input.name}}": "Ada",
        "{{input.deep.er}}": "z",
        '{{input["order number"]}}': "A-1",
        "{{previous}}": '{"answer":"yes"}',
        "{{previous.answer}}": "yes",
        "{{input.absent|nothing}}": "nothing",
        '{{"{{"}}': "{{",
    }
    for name in rows:
        check_prompt(name, has_previous=True)
    for other in ("{{name}}", "{{title.a}}", "{{output}}", "{{input"):
        with pytest.raises(BadInput, match="unknown placeholder"):
            check_prompt(other)


# -------------------------------------------------------------------------------------------------- schemas

KEYWORDS: Final = tables(PAGE, "Schemas")[0]


def inside(part: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object whose only property has this part; closed, so that strict mode could take it."""
    return {"type": "object", "properties": {"x": part}, "required": ["x"], "additionalProperties": False}


@pytest.mark.parametrize("row", KEYWORDS, ids=lambda row: str(row["keyword"]))
def test_every_keyword_is_checked_as_its_row_says(row: dict[str, str]) -> None:
    part, fits, other = (json.loads(row[name].strip("`")) for name in ("example", "fits", "does not fit"))
    schema = check_schema(inside(part), "schema")

    assert re.findall(r"`(\w+)`", row["keyword"])[0] in part
    assert mismatch(schema, {"x": fits}) is None
    assert mismatch(schema, {"x": other}) is not None
    assert allows_strict(schema) is (row["strict"] == "yes")


def paragraph(start: str) -> list[str]:
    """The code words of the paragraph that begins with a bold word."""
    (text,) = re.findall(rf"^\*\*{start}\*\*(.*?)\n\n", SECTIONS["Schemas"], re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", text)


def test_every_format_of_the_page_is_checked() -> None:
    fits = {
        "date-time": "2026-11-28T10:00:00Z",
        "date": "2026-11-28",
        "time": "10:00:00Z",
        "duration": "P1D",
        "email": "a@example.com",
        "hostname": "example.com",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "uri": "https://example.com/",
        "uri-reference": "/a",
        "uri-template": "/{a}",
        "iri": "https://example.com/",
        "uuid": "123e4567-e89b-12d3-a456-426614174000",
        "json-pointer": "/a",
        "relative-json-pointer": "1/a",
    }
    assert paragraph("Formats") == list(fits)
    for name, text in fits.items():
        schema = inside({"type": "string", "format": name})
        assert mismatch(schema, {"x": text}) is None, name
        assert mismatch(schema, {"x": "{ \\ x"}) is not None, name
        assert mismatch(schema, {"x": text * MAX_FORMATTED}) is not None, name
    assert mismatch(inside({"type": "string", "format": "postcode"}), {"x": "x"}) is None


def test_the_keywords_that_only_describe_are_those_of_the_page() -> None:
    assert set(paragraph("Not checked")) == ANNOTATIONS


def test_every_keyword_that_is_checked_has_a_row_or_a_sentence() -> None:
    rows = {word for row in KEYWORDS for word in re.findall(r"`(\w+)`", row["keyword"])}
    assert KNOWN - ANNOTATIONS - rows == {"$ref", "$defs", "definitions"}
    assert rows <= KNOWN


@pytest.mark.parametrize(
    "word",
    "minContains maxContains unevaluatedProperties unevaluatedItems nullable $id $anchor propertise".split(),
)
def test_any_other_keyword_is_refused_by_its_name(word: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_schema(inside({"type": "array", word: 1}), "output_schema")
    assert [problem.field for problem in refused.value.problems] == [f"output_schema.properties.x.{word}"]


def test_keywords_beside_a_reference_are_checked() -> None:
    reference = inside({"$ref": "#/$defs/a", "minimum": 5}) | {"$defs": {"a": {"type": "integer"}}}
    schema = check_schema(reference, "schema")
    assert mismatch(schema, {"x": 5}) is None
    assert mismatch(schema, {"x": 1}) is not None
    assert mismatch(schema, {"x": 5.5}) is not None


@pytest.mark.parametrize("reference", ["#/$defs/a", "#/definitions/a"])
def test_a_reference_stays_inside(reference: str) -> None:
    place = reference.split("/")[1]
    schema = check_schema(inside({"$ref": reference}) | {place: {"a": {"type": "integer"}}}, "schema")
    assert mismatch(schema, {"x": "a"}) is not None
    assert allows_strict(schema)
    for outside in ({"$ref": "https://example.com/a.json"}, {"$id": "https://example.com/a.json"}):
        with pytest.raises(BadInput):
            check_schema(inside(outside), "schema")


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)", r"\ba", "(?i)a", "(?>a)", "a" * (MAX_PATTERN + 1)])
def test_a_pattern_that_cannot_be_searched_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(BadInput):
        check_schema(inside({"pattern": pattern}), "schema")
