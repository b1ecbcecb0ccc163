"""Forms from schemas, and answers from forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.schema import check_schema, mismatch
from consumer.web.pages import answers
from consumer.web.pages.controls import control, hint
from consumer.web.pages.fields import Field, Widget, fields
from consumer.web.request import Form


def field_of(part: Any, given_: object = None, *, required: bool = True, root: Any = None) -> Field:
    """The one field of a schema with one property."""
    schema = {
        "type": "object",
        "properties": {"p": part},
        "required": ["p"] if required else [],
        **(root or {}),
    }
    (field,) = fields(schema, None if given_ is None else {"p": given_})
    return field


def form_of(wanted: list[Field]) -> Form:
    """What a browser sends when nothing is touched."""
    return Form(
        [(field.control, each.replace("\n", "\r\n")) for field in wanted for each in field.typed or ("",)]
    )


@pytest.mark.parametrize(
    ("part", "widget"),
    [
        ({"type": "string"}, Widget.AREA),
        ({"type": "string", "maxLength": 200}, Widget.LINE),
        ({"type": "string", "maxLength": 201}, Widget.AREA),
        ({"type": "string", "format": "date"}, Widget.LINE),
        ({"type": "string", "pattern": "^a"}, Widget.LINE),
        ({"type": "integer"}, Widget.INTEGER),
        ({"type": "number"}, Widget.NUMBER),
        ({"type": "boolean"}, Widget.CHOICE),
        ({"enum": ["a", 1, None, {"x": 1}]}, Widget.CHOICE),
        ({"const": "a"}, Widget.CHOICE),
        ({"type": "string", "enum": [f"v{n}" for n in range(201)]}, Widget.AREA),
        ({"type": "array", "items": {"type": "string"}}, Widget.LINES),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, Widget.CHECKS),
        ({"type": "array", "items": {"type": "integer"}}, Widget.JSON),
        ({"type": "array", "items": [{"type": "string"}]}, Widget.JSON),
        ({"type": "array"}, Widget.JSON),
        ({"type": "object"}, Widget.JSON),
        ({"type": ["string", "integer"]}, Widget.JSON),
        ({"type": ["string", "null"]}, Widget.AREA),
        ({"type": ["null", "integer"]}, Widget.INTEGER),
        ({"type": "null"}, Widget.JSON),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "T"}, Widget.INTEGER),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, Widget.JSON),
        ({"$ref": "#/$defs/a"}, Widget.INTEGER),
        ({"$ref": "#/$defs/loop"}, Widget.JSON),
        ({"$ref": "#/nowhere/at/all"}, Widget.JSON),
        ({"$ref": "#"}, Widget.JSON),
        ({}, Widget.JSON),
        (True, Widget.JSON),
    ],
    ids=str,
)
def test_each_kind_of_property_has_its_control(part: Any, widget: Widget) -> None:
    shared = {"a": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}}
    field = field_of(part, root={"$defs": shared})

    assert field.widget is widget
    assert control(field, "field-0", field.typed, "wrong").count("field-0-error") == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": True}, "required": ["b"]},
        {"$ref": "#/$defs/a", "type": "object", "properties": {"a": True}, "$defs": {"a": {}}},
    ],
)
def test_what_has_no_names_is_typed_as_json(schema: dict[str, Any]) -> None:
    (field,) = fields(schema)

    assert (field.name, field.control, field.widget) == (None, "output", Widget.JSON)
    assert answers.read(schema, [field], Form([("output", '{"b": [1]}')])) == {"b": [1]}


@pytest.mark.parametrize("draft", [{"other": 1}, [1], "text", 3, {"a": 1, "other": None}])
def test_a_draft_with_more_than_the_schema_knows_is_typed_as_json(draft: Any) -> None:
    (field,) = fields({"type": "object", "properties": {"a": True}}, draft)

    assert field.name is None


@pytest.mark.parametrize(
    ("part", "draft"),
    [
        ({"type": "string"}, 5),
        ({"type": "string"}, "a\rb"),
        ({"type": "string"}, "\ud800"),
        ({"type": "integer"}, "5"),
        ({"type": "integer"}, 3.0),
        ({"type": "integer"}, 2**53),
        ({"type": "number"}, True),
        ({"type": "boolean"}, "true"),
        ({"enum": ["a", "b"]}, "c"),
        ({"type": "array", "items": {"type": "string"}}, ["a\nb"]),
        ({"type": "array", "items": {"type": "string"}}, ["", "a"]),
        ({"type": "array", "items": {"type": "string"}}, [" a"]),
        ({"type": "array", "items": {"type": "string"}}, "a"),
        ({"type": "array", "items": {"enum": ["a"]}}, ["a", "a"]),
        ({"type": "array", "items": {"enum": ["a"]}}, ["b"]),
        ({"type": "array", "items": {"enum": ["a"]}}, "a"),
    ],
    ids=str,
)
def test_a_draft_that_its_control_cannot_show_is_shown_as_json(part: Any, draft: Any) -> None:
    schema = {"type": "object", "properties": {"p": part}}
    wanted = fields(schema, {"p": draft})

    assert wanted[0].widget is Widget.JSON
    assert answers.read({"type": "object"}, wanted, form_of(wanted)) == {"p": draft}


@pytest.mark.parametrize(
    ("part", "required", "empty"),
    [
        ({"type": "string"}, True, BadInput),
        ({"type": "string"}, False, {}),
        ({"type": "string", "minLength": 0}, True, {"p": ""}),
        ({"type": ["string", "null"]}, True, {"p": None}),
        ({"type": ["string", "null"]}, False, {}),
        ({"type": "integer"}, True, BadInput),
        ({"enum": ["a", None]}, True, {"p": None}),
        ({"enum": ["a"]}, True, BadInput),
        ({"type": "array", "items": {"type": "string"}}, True, {"p": []}),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, True, BadInput),
        ({"type": "array", "items": {"type": "string"}}, False, {}),
        ({"type": "array", "items": {"enum": ["a"]}}, True, {"p": []}),
        ({"type": "array", "items": {"enum": ["a"]}}, False, {}),
        ({"type": "boolean"}, False, {}),
        ({}, True, BadInput),
    ],
    ids=str,
)
def test_what_it_means_to_type_nothing(part: Any, empty: Any, *, required: bool) -> None:
    schema = {"type": "object", "properties": {"p": part}, "required": ["p"] if required else []}
    wanted = fields(schema)
    for form in (
        Form([]),
        Form([("output.p", " ")] if wanted[0].widget is Widget.INTEGER else [("output.p", "")]),
    ):
        if empty is BadInput:
            with pytest.raises(BadInput) as error:
                answers.read(schema, wanted, form)
            assert [problem.field for problem in error.value.problems] == ["output.p"]
        else:
            assert answers.read(schema, wanted, form) == empty


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        ("number", ".5", 0.5),
        ("number", "-.5e1", -5.0),
        ("number", "1e3", 1000.0),
        ("number", "+1", 1),
        ("number", "1.", 1.0),
        ("number", "0." + "1" * 60, float("0." + "1" * 60)),
        ("integer", "1e3", 1000),
        ("integer", "+1", 1),
        ("integer", "2.0", 2),
        ("integer", "25e-1", BadInput),
        ("integer", "1e999", BadInput),
        ("integer", "9007199254740992", BadInput),
        ("number", "1e999", BadInput),
        ("number", ".", BadInput),
        ("number", "e5", BadInput),
        ("number", "0x10", BadInput),
        ("number", "Infinity", BadInput),
        ("number", "1_000", BadInput),
    ],
)
def test_a_number_is_read_in_every_form_that_a_browser_sends(kind: str, typed: str, value: Any) -> None:
    schema = {"type": "object", "properties": {"p": {"type": kind}}}
    form = Form([("output.p", typed)])
    if value is BadInput:
        with pytest.raises(BadInput):
            answers.read(schema, fields(schema), form)
    else:
        assert repr(answers.read(schema, fields(schema), form)) == repr({"p": value})


def test_a_default_stands_in_the_form() -> None:
    assert field_of({"type": "integer", "default": 3}).typed == ("3",)
    assert field_of({"type": "integer", "default": 3}, 4).typed == ("4",)


def test_every_misfit_is_said_of_its_own_property() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 2},
            "b": {"type": "array", "items": {"type": "string", "maxLength": 1}},
            "c d.e": {"type": "integer", "multipleOf": 2},
            "f": {"$ref": "#/$defs/f"},
            "g": {"enum": ["x"]},
        },
        "$defs": {"f": {"type": "integer", "maximum": 1}},
    }
    typed = {"a": "abc", "b": "a\nbc", "c d.e": "3", "f": "2", "g": "x"}
    wanted = fields(schema)

    with pytest.raises(BadInput) as error:
        answers.read(schema, wanted, Form([(f"output.{name}", each) for name, each in typed.items()]))

    assert [str(problem) for problem in error.value.problems] == [
        "output.a: must have at most 2 characters",
        "output.b[1]: must have at most 1 character",
        "output.c d.e: must be a multiple of 2",
        "output.f: must be at most 1",
    ]


def test_a_misfit_belongs_to_the_property_with_the_longest_name_that_fits() -> None:
    """A property may share the schema of another one, and its name may hold a dot."""
    short = {"type": "string", "maxLength": 2}
    schema = {
        "type": "object",
        "properties": {"a": short, "a.b": {"$ref": "#/properties/a"}, "c": {"$ref": "#/properties/a"}},
    }
    typed = [("output.a", "ab"), ("output.a.b", "abc"), ("output.c", "ab")]

    with pytest.raises(BadInput) as error:
        answers.read(schema, fields(schema), Form(typed))

    assert [str(problem) for problem in error.value.problems] == [
        "output.a.b: must have at most 2 characters"
    ]


def test_what_is_wrong_with_the_whole_is_said_of_the_whole() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "minProperties": 1,
    }

    with pytest.raises(BadInput) as error:
        answers.read(schema, fields(schema), Form([]))

    assert [(problem.field, problem.message) for problem in error.value.problems] == [
        ("output", "must have at least 1 field")
    ]


def test_the_name_of_a_control_follows_its_property() -> None:
    names = ["plain", "", " a ", "a\nb", "a\0b", "\ud800", "ü ñ", "output", '"><script>', "a" * 300]
    wanted = fields(
        {"type": "object", "properties": {name: {"type": "string", "maxLength": 5} for name in names}}
    )

    sent = Form([(field.control, "x") for field in wanted])

    assert len({field.control for field in wanted}) == len(names)
    assert answers.read({"type": "object"}, wanted, sent) == dict.fromkeys(names, "x")
    assert "<script>" not in control(wanted[8], "field-8", ["<script>"], "<script>")


def test_hints() -> None:
    assert (
        hint(field_of({"type": "string", "description": "Why.", "maxLength": 5}))
        == "Why. At most 5 characters."
    )
    assert (
        hint(field_of({"type": "integer", "description": "How many", "minimum": 0}))
        == "How many. At least 0."
    )
    assert hint(field_of({"type": "integer", "description": "How many"})) == "How many"
    assert hint(field_of({"type": "integer", "minimum": 0, "maximum": 5})) == "At least 0 and at most 5."
    assert (
        hint(field_of({"type": "array", "items": {"type": "string"}, "minItems": 1}))
        == "One entry per line. At least 1 entry."
    )
    assert (
        hint(field_of({"type": "string", "minLength": 1, "maxLength": 2}))
        == "At least 1 and at most 2 characters."
    )


# --- what stands in a form is what is read from it ------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORD = st.text("abc ü🧠'\"<&", min_size=1, max_size=5).filter(lambda word: word.strip() == word)


def part_and_value() -> st.SearchStrategy[tuple[dict[str, Any], Any]]:
    """A schema of a property, and a value that fits it."""
    json_value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=5,
    )
    choices = st.lists(WORD | st.integers() | st.booleans(), min_size=1, max_size=8, unique_by=repr)
    return st.one_of(
        st.tuples(st.sampled_from([{"type": "string"}, {"type": "string", "maxLength": 100}]), TEXT),
        st.tuples(st.just({"type": "integer"}), st.integers()),
        st.tuples(
            st.just({"type": "number"}), st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        ),
        st.tuples(st.just({"type": "boolean"}), st.booleans()),
        choices.flatmap(lambda known: st.tuples(st.just({"enum": known}), st.sampled_from(known))),
        st.tuples(st.just({"type": "array", "items": {"type": "string"}}), st.lists(TEXT, max_size=4)),
        choices.flatmap(
            lambda known: st.tuples(
                st.just({"type": "array", "items": {"enum": known}}),
                st.lists(st.sampled_from(known), max_size=4),
            )
        ),
        st.tuples(st.just({}), json_value.filter(lambda value: value is not None)),
    )


@given(st.dictionaries(TEXT, part_and_value(), min_size=1, max_size=4))
def test_an_untouched_draft_is_the_answer(properties: dict[str, tuple[dict[str, Any], Any]]) -> None:
    schema = {
        "type": "object",
        "properties": {name: part for name, (part, _) in properties.items()},
        "required": list(properties),
    }
    draft = {name: value for name, (_, value) in properties.items()}
    check_schema(schema, "schema")
    if mismatch(schema, draft) is not None:  # 1 is true and 1.0 is 1, for this library
        return
    wanted = fields(schema, draft)
    form = form_of(wanted)

    expected = repr(draft)

    assert answers.unchanged(wanted, form)
    assert repr(sort(answers.read(schema, wanted, form), draft)) == expected


def sort(answer: Any, draft: dict[str, Any]) -> Any:
    """Boxes that are ticked come in the order of the schema."""
    return {
        name: draft[name]
        if isinstance(value, list) and sorted(map(repr, value)) == sorted(map(repr, draft[name]))
        else value
        for name, value in answer.items()
    }
