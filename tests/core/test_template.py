"""Templates: what is wrong is named, and prompts are filled once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.strictjson import dump_json
from consumer.core.template import (
    MAX_CALL_S,
    MAX_EXECUTIONS,
    Candidate,
    Limits,
    Route,
    Stage,
    Template,
    check_prompt,
    render,
)
from consumer.store.sql import PER_TASK

AI = {"kind": "ai", "candidates": [{"profile": "model"}]}
PERSON = {"kind": "human", "candidates": [{"profile": "inbox"}]}
REVIEW = {"kind": "review", "candidates": [{"profile": "inbox"}]}
GOOD: dict[str, Any] = {
    "name": "Summary",
    "prompt": "Sum up {{input.text}}",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
    "output_schema": {"type": "object"},
    "route": {"stages": [AI, REVIEW]},
    "limits": {"attempts": 2},
}


def problems(model: type[Any], value: object, field: str = "") -> dict[str, str]:
    with pytest.raises(BadInput) as refused:
        parse(model, value, field)
    return {problem.field: problem.message for problem in refused.value.problems}


# ---------------------------------------------------------------------------------------------- what is wrong is named


def test_a_template_is_read_with_its_defaults() -> None:
    template = parse(Template, GOOD)
    assert template.route.stages[0].candidates == (Candidate(profile="model"),)
    assert template.limits == Limits(attempts=2)
    assert (template.id, template.organization_id, template.description) == (None, None, None)


def test_an_input_needs_no_schema() -> None:
    assert (
        parse(Template, {name: GOOD[name] for name in ("name", "output_schema", "route")}).input_schema
        is None
    )


WRONG = {
    "id": 2**53,
    "name": "",
    "description": 5,
    "estimated_duration": -1,
    "prompt": "x" * 50_001,
    "input_schema": [],
    "output_schema": None,
    "surprise": 1,
    "route": {
        "stages": [
            {"kind": "robot", "candidates": []},
            {
                "kind": "ai",
                "candidates": [
                    {"profile": "Model 5"},
                    {"profile": "m", "settings": []},
                    {"profile": "m", "max_cost": "NaN"},
                    {"profile": "m", "base_url": "https://example.com"},
                    {},
                ],
            },
        ]
    },
    "limits": {
        "attempts": 0,
        "repairs": 3,
        "call_s": MAX_CALL_S + 1,
        "unknown": "guess",
        "task_s": "soon",
    },
}


def test_every_wrong_field_is_named() -> None:
    named = problems(Template, WRONG)
    assert set(named) >= {
        "id",
        "name",
        "description",
        "estimated_duration",
        "prompt",
        "input_schema",
        "output_schema",
        "surprise",
        "route.stages[0].kind",
        "route.stages[0].candidates",
        "route.stages[1].candidates[0].profile",
        "route.stages[1].candidates[1].settings",
        "route.stages[1].candidates[2].max_cost",
        "route.stages[1].candidates[3].base_url",
        "route.stages[1].candidates[4].profile",
        "limits.attempts",
        "limits.repairs",
        "limits.call_s",
        "limits.unknown",
        "limits.task_s",
    }
    assert all(named.values())


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"output_schema": {"type": "array"}}, "output_schema.type"),
        (
            {"output_schema": {"type": "object", "properties": {"a": {"$ref": "x"}}}},
            "output_schema.properties.a.$ref",
        ),
        ({"input_schema": {"type": "object", "$id": "x"}}, "input_schema.$id"),
        ({"prompt": "Sum up {{inputs}}"}, "prompt"),
        ({"route": {"stages": [REVIEW]}}, "route"),
        ({"route": {"stages": []}}, "route.stages"),
        ({"route": {"stages": [AI] * 9}}, "route.stages"),
        ({"route": None}, "route"),
    ],
)
def test_the_field_is_seen_from_where_the_value_stands(part: dict[str, Any], field: str) -> None:
    assert list(problems(Template, GOOD | part)) == [field]
    assert list(problems(Template, GOOD | part, "templates[3]")) == [f"templates[3].{field}"]


@pytest.mark.parametrize("value", [None, 5, "x", []])
def test_what_is_no_object_is_named_by_its_place(value: object) -> None:
    assert list(problems(Template, value, "templates[0]")) == ["templates[0]"]
    assert list(problems(Template, value)) == [""]


def test_a_message_says_what_would_be_right() -> None:
    message = problems(Template, GOOD | {"route": {"stages": [REVIEW]}})["route"]
    assert message == "the first stage has nothing to review: put an ai or human stage before it"


def test_absurd_nesting_is_an_error_and_not_a_crash() -> None:
    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"properties": value}
    assert "nested deeper" in str(problems(Template, GOOD | {"output_schema": {"type": "object"} | value}))


def test_a_check_that_nests_too_deeply_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Limits, "model_validate", overflow)
    assert problems(Limits, {}, "limits") == {"limits": "nested too deeply"}


def test_a_template_does_not_change_after_its_check() -> None:
    template = parse(Template, GOOD)
    with pytest.raises(ValidationError):
        template.name = "Other"


# ---------------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("stages", "kind"),
    [
        ([AI], "ai"),
        ([AI, AI], "ai"),
        ([PERSON], "human"),
        ([PERSON, REVIEW], "human"),
        ([AI, REVIEW], "hybrid"),
        ([PERSON, AI], "hybrid"),
    ],
)
def test_a_route_is_done_by_models_by_people_or_by_both(stages: list[Any], kind: str) -> None:
    assert parse(Route, {"stages": stages}).kind == kind


@pytest.mark.parametrize(
    ("stage", "execution_type", "provider_kind"),
    [(AI, "ai", "ai"), (PERSON, "human", "human"), (REVIEW, "hybrid", "human")],
)
def test_a_review_is_a_hybrid_execution_by_a_person(
    stage: Any, execution_type: str, provider_kind: str
) -> None:
    read = parse(Stage, stage)
    assert (read.execution_type, read.provider_kind) == (execution_type, provider_kind)


def test_a_vouched_cost_is_exact() -> None:
    assert parse(Candidate, {"profile": "m", "max_cost": "0.10"}).max_cost == Decimal("0.10")
    assert list(problems(Candidate, {"profile": "m", "max_cost": -1})) == ["max_cost"]


def test_a_tasks_executions_fit_into_its_range_of_ids() -> None:
    assert MAX_EXECUTIONS < PER_TASK - 1


# ---------------------------------------------------------------------------------------------- prompts

VALUE = {"text": "a {{title}} b", "n": 5, "list": [1, "é"], "none": None, "a_b2": "x"}


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", ""),
        ("no placeholder { } {{{{", "no placeholder { } {{{{"),
        ("{{title}}: {{description}}", "T: D"),
        ("{{ title }}|{{\ttitle\n}}", "T|T"),
        ("{{input.text}}", "a {{title}} b"),
        ("{{input.n}} {{input.list}} {{input.none}}", '5 [1,"é"] null'),
        ("{{input.a_b2}}{{input.missing}}!", "x!"),
        ("{{input}}", dump_json(VALUE)),
        ("{{{title}}}", "{T}"),
        ("$1 \\1 \\g<0> {{title}}", "$1 \\1 \\g<0> T"),
    ],
)
def test_placeholders_are_filled(prompt: str, text: str) -> None:
    check_prompt(prompt)
    assert render(prompt, "T", "D", VALUE) == text


@pytest.mark.parametrize("value", ["text", ["a"], 5, None])
def test_an_input_that_is_no_object_has_no_fields(value: object) -> None:
    whole = value if isinstance(value, str) else dump_json(value)
    assert render("{{input}}|{{input.text}}", "T", "D", value) == f"{whole}|"


@pytest.mark.parametrize(
    "prompt",
    [
        "{{}}",
        "{{ }}",
        "{{input.}}",
        "{{input.a.b}}",
        "{{input a}}",
        "{{Title}}",
        "{{titel}}",
        "{{title|upper}}",
        "{{input.é}}",
    ],
)
def test_a_placeholder_that_nothing_fills_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match=r"^prompt: unknown placeholder \{\{.*\}\}: title, description, input"):
        check_prompt(f"{{{{title}}}} {prompt}")


parts = st.lists(
    st.sampled_from(["{{title}}", "{{description}}", "{{input}}", "{{input.a}}", "{{", "}}", "{", "x", "\\1"])
).map("".join)


@given(parts, parts, parts, parts)
def test_what_is_filled_in_is_never_read_again(prompt: str, title: str, description: str, a: str) -> None:
    """Whatever a task says, it cannot make the prompt show another of its fields."""
    marks = {"title": "<t>", "description": "<d>", "a": "<a>"}
    marked = render(prompt, marks["title"], marks["description"], {"a": marks["a"]})
    whole = dump_json({"a": marks["a"]})
    expected = (
        marked.replace(whole, "<whole>")
        .replace("<t>", title)
        .replace("<d>", description)
        .replace("<a>", a)
        .replace("<whole>", dump_json({"a": a}))
    )
    assert render(prompt, title, description, {"a": a}) == expected
