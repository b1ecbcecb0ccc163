"""Templates: each wrong field is named, and a route has the kinds of its stages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.template import (
    MAX_CALL_S,
    MAX_EXECUTIONS,
    Candidate,
    Limits,
    Route,
    Stage,
    Template,
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


# ---------------------------------------------------------------------------------------------- wrong fields


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


WRONG: dict[str, Any] = {
    "id": 2**53,
    "name": "",
    "description": 5,
    "estimated_duration": -1,
    "prompt": "x" * 50_001,
    "input_schema": [],
    "output_schema": None,
    "surprise": 1,
}
WRONG_LIMITS: dict[str, Any] = {
    "attempts": 0,
    "repairs": 3,
    "call_s": MAX_CALL_S + 1,
    "unknown": "guess",
    "task_s": "soon",
}


@pytest.mark.parametrize(("field", "value"), WRONG.items())
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    found = problems(Template, GOOD | {field: value})
    assert list(found) == [field]
    assert all(found.values())


def test_every_wrong_field_is_named_together() -> None:
    assert set(problems(Template, GOOD | WRONG)) == set(WRONG)
    limits = problems(Template, GOOD | {"limits": WRONG_LIMITS})
    assert set(limits) == {f"limits.{name}" for name in WRONG_LIMITS}
    assert all(limits.values())


def test_every_wrong_field_of_a_route_is_named() -> None:
    candidates = [
        {"profile": "Model 5"},
        {"profile": "m", "settings": []},
        {"profile": "m", "max_cost": "NaN"},
        {"profile": "m", "base_url": "https://example.com"},
        {},
    ]
    stages = [{"kind": "robot", "candidates": []}, {"kind": "ai", "candidates": candidates}]
    found = problems(Template, GOOD | WRONG | {"route": {"stages": stages}})
    assert set(found) == set(WRONG) | {
        "route.stages[0].kind",
        "route.stages[0].candidates",
        "route.stages[1].candidates[0].profile",
        "route.stages[1].candidates[1].settings",
        "route.stages[1].candidates[2].max_cost",
        "route.stages[1].candidates[3].base_url",
        "route.stages[1].candidates[4].profile",
    }
    assert all(found.values())


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
def test_a_field_is_named_by_its_path_from_the_outermost_value(part: dict[str, Any], field: str) -> None:
    assert list(problems(Template, GOOD | part)) == [field]
    assert list(problems(Template, GOOD | part, "templates[3]")) == [f"templates[3].{field}"]


@pytest.mark.parametrize("value", [None, 5, "x", []])
def test_a_value_that_is_not_an_object_is_named_by_its_place(value: object) -> None:
    assert list(problems(Template, value, "templates[0]")) == ["templates[0]"]
    assert list(problems(Template, value)) == [""]


def test_a_message_says_how_to_correct_the_value() -> None:
    message = problems(Template, GOOD | {"route": {"stages": [REVIEW]}})["route"]
    assert message == "the first stage has nothing to review: put an ai or human stage before it"


def test_absurd_nesting_is_an_error_and_not_a_crash() -> None:
    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"properties": value}
    assert "nested at most" in str(problems(Template, GOOD | {"output_schema": {"type": "object"} | value}))


def test_a_check_that_nests_too_deeply_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Limits, "model_validate", overflow)
    assert problems(Limits, {}, "limits") == {"limits": "must not be nested so deeply"}


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
def test_the_kind_of_a_route_follows_from_its_stages(stages: list[Any], kind: str) -> None:
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


def test_a_maximum_cost_is_an_exact_decimal() -> None:
    assert parse(Candidate, {"profile": "m", "max_cost": "0.10"}).max_cost == Decimal("0.10")
    assert list(problems(Candidate, {"profile": "m", "max_cost": -1})) == ["max_cost"]


def test_the_executions_of_a_task_fit_into_its_range_of_ids() -> None:
    assert MAX_EXECUTIONS < PER_TASK - 1
