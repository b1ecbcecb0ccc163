"""How tasks of a kind are done: prompt, schemas, route, limits.  Checked when a template is written.

A route is a list of stages; each lists candidates, tried in order until one succeeds; a stage's output feeds
the next.  A candidate names a profile of the deployment and settings from its provider's schema: base URLs and
keys never stand in a row that a tenant can write.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    WithJsonSchema,
    model_validator,
)

from consumer.core.errors import BadInput
from consumer.core.model import WHOLE, Id, Model, Name, Text, dollars
from consumer.core.schema import check_schema
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_S: Final = 86_400
MAX_EXECUTIONS: Final = 1000
"""Executions that one task may have: below the 1,024 that its range of ids has room for."""
MAX_CALL_S: Final = 240
"""A call's deadline ends 30 s before a lease of 300 s, with as much again to spare."""

ANSWER_ONLY: Final[dict[str, Any]] = {"type": "object"}


Schema = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"type": {"const": "object"}},
            "required": ["type"],
            "description": "A JSON Schema of an object, without `$id`; `$ref` stays inside of it",
        }
    ),
]


class Candidate(Model):
    """One way to do a stage: a profile and settings for it.

    `max_cost`: an upper bound in dollars that you vouch for, where none can be computed."""

    profile: Name
    settings: dict[str, Any] = Field(default_factory=dict)
    max_cost: Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False), dollars(6)] | None = None


class Stage(Model):
    """`review` is a person judging the stage before: approve, edit, or reject (and ask for a redo)."""

    kind: Literal["ai", "human", "review"]
    candidates: tuple[Candidate, ...] = Field(min_length=1, max_length=8)

    @property
    def execution_type(self) -> str:
        """What the public column `task_executions.execution_type` says."""
        return "hybrid" if self.kind == "review" else self.kind

    @property
    def provider_kind(self) -> str:
        return "ai" if self.kind == "ai" else "human"


class Route(Model):
    """The stages, in order."""

    stages: tuple[Stage, ...] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _review_follows_something(self) -> Self:
        if self.stages[0].kind == "review":
            msg = "the first stage has nothing to review: put an ai or human stage before it"
            raise ValueError(msg)
        return self

    @property
    def kind(self) -> str:
        """`ai`, `human` or `hybrid`."""
        kinds = {stage.provider_kind for stage in self.stages}
        return kinds.pop() if len(kinds) == 1 else "hybrid"


class Limits(Model):
    """Bounds for each task of the template.  Times in seconds."""

    attempts: Annotated[int, Field(ge=1, le=20, strict=True), WHOLE] = 4
    """Calls of one candidate before the next one is tried."""
    repairs: Annotated[int, Field(ge=0, le=2, strict=True), WHOLE] = 2
    """Extra calls of one candidate whose answer did not fit the output schema."""
    redos: Annotated[int, Field(ge=0, le=2, strict=True), WHOLE] = 2
    """Times that a reviewer may send a draft back."""
    call_s: Annotated[int, Field(ge=1, le=MAX_CALL_S, strict=True), WHOLE] = 60
    job_s: Annotated[int, Field(ge=1, le=30 * DAY_S, strict=True), WHOLE] = DAY_S
    """How long a provider may work on what it accepted."""
    person_s: Annotated[int, Field(ge=1, le=90 * DAY_S, strict=True), WHOLE] = 7 * DAY_S
    """How long a person has for an answer."""
    task_s: Annotated[int, Field(ge=1, le=365 * DAY_S, strict=True), WHOLE] | None = None
    """From submission to the end, whatever happens in between."""
    unknown: Literal["default", "retry", "wait", "ask"] = "default"
    """What to do when nobody knows whether a call was done: `retry` once at the price of a duplicate, `wait` for
    evidence and charge the bound when none comes, or wait and then `ask` a person, who has `person_s` to say.
    The default retries a model, and for a person or a job that was accepted it waits and asks."""


class Template(Model):
    """What `template put` and `PUT /v1/templates/{id}` accept."""

    id: Id | None = None
    organization_id: Id | None = None
    name: Text = Field(min_length=1, max_length=200)
    description: Text | None = Field(default=None, max_length=10_000)
    category: Text | None = Field(default=None, max_length=100)
    estimated_duration: Annotated[int, Field(ge=0, le=2**31, strict=True), WHOLE] | None = None
    prompt: Text = Field(default="", max_length=50_000)
    input_schema: Schema | None = None
    output_schema: Schema
    route: Route
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _schemas_are_schemas(self) -> Self:
        if self.input_schema is not None:
            check_schema(self.input_schema, "input_schema")
        check_schema(self.output_schema, "output_schema")
        check_prompt(self.prompt)
        return self


class Plan(Model):
    """What a claimed task needs of its template."""

    prompt: str = ""
    output_schema: dict[str, Any]
    route: Route
    limits: Limits


PLACEHOLDER: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_KNOWN: Final = re.compile(r"^(title|description|input|input\.[A-Za-z0-9_]+)$")


def check_prompt(prompt: str) -> None:
    """Raises BadInput on a placeholder that nothing will fill."""
    for found in PLACEHOLDER.finditer(prompt):
        if not _KNOWN.match(found[1]):
            raise BadInput(
                "prompt", f"unknown placeholder {{{{{found[1]}}}}}: title, description, input, input.<field>"
            )


def render(prompt: str, title: str, description: str, value: object) -> str:
    """Fill the placeholders.  What is filled in is never read as a placeholder again."""
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        if name == "title":
            return title
        if name == "description":
            return description
        chosen = value if name == "input" else fields.get(name.removeprefix("input."), "")
        return chosen if isinstance(chosen, str) else dump_json(chosen)

    return PLACEHOLDER.sub(fill, prompt)
