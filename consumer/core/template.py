"""How tasks of one kind are done: prompt, schemas, route and limits.  Checked when a template is written.

A route is a list of stages.  Each stage lists candidates, which are tried in order until one succeeds, and the output
of a stage is the input of the next.  A candidate names a profile of the deployment, and settings that fit the schema of
its provider.  Base URLs and keys are in profiles, because a tenant can write the rows of templates.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from consumer.core.errors import BadInput
from consumer.core.model import WHOLE, Id, Model, Name, Text, dollars
from consumer.core.prompt import check_prompt
from consumer.core.schema import SchemaCheck, check_schema

if TYPE_CHECKING:
    from consumer.core.checker import Work
    from consumer.core.errors import Problem

DAY_S: Final = 86_400
"""Seconds in a day."""
MAX_EXECUTIONS: Final = 1000
"""Executions that one task may have: fewer than the 1,024 ids that are reserved for each task."""
MAX_PROMPT: Final = 50_000
"""Characters of a prompt."""
MAX_CALL_S: Final = 240
"""The longest time limit of a call, in seconds.  It ends 60 s before a lease of 300 s does: 30 s for the difference
between the clocks of two workers, and 30 s to spare."""

Schema = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"type": {"const": "object"}},
            "required": ["type"],
            "description": "A JSON Schema of an object, without `$id`; every `$ref` points inside the schema",
        }
    ),
]


class Candidate(Model):
    """One way to do a stage: a profile, and settings for the adapter of its provider.

    `max_cost`: the most that a call can cost, in dollars.  The author of the template vouches for it where the worker
    cannot compute it."""

    profile: Name
    settings: dict[str, Any] = Field(default_factory=dict)
    max_cost: Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False), dollars(6)] | None = None


class Stage(Model):
    """One step of a route.

    In a `review` stage a person judges the draft of the stage before: approves it, edits it, or rejects it, perhaps
    asking for a redo.  `prompt`: the instructions of this stage, instead of those of the template."""

    kind: Literal["ai", "human", "review"]
    candidates: tuple[Candidate, ...] = Field(min_length=1, max_length=8)
    prompt: Annotated[Text, Field(max_length=MAX_PROMPT)] | None = None

    @property
    def execution_type(self) -> str:
        """What the public column `task_executions.execution_type` says."""
        return "hybrid" if self.kind == "review" else self.kind

    @property
    def provider_kind(self) -> str:
        """The `kind` that the adapters of its candidates must have."""
        return "ai" if self.kind == "ai" else "human"


class Route(Model):
    """The stages of a task, in order."""

    stages: tuple[Stage, ...] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _review_follows_something(self) -> Self:
        if self.stages[0].kind == "review":
            msg = "the first stage has nothing to review: put an ai or human stage before it"
            raise ValueError(msg)
        return self

    @property
    def kind(self) -> str:
        """The kind of provider that all stages need, `ai` or `human`; `hybrid` if they need both."""
        kinds = {stage.provider_kind for stage in self.stages}
        return kinds.pop() if len(kinds) == 1 else "hybrid"


class Limits(Model):
    """Bounds for each task of the template.  Names that end in `_s` are times in seconds."""

    attempts: Annotated[int, Field(ge=1, le=20, strict=True), WHOLE] = 4
    """Calls of one candidate before the next one is tried."""
    repairs: Annotated[int, Field(ge=0, le=2, strict=True), WHOLE] = 2
    """Extra calls of one candidate after answers that did not fit the output schema."""
    redos: Annotated[int, Field(ge=0, le=2, strict=True), WHOLE] = 2
    """How often reviewers may send a draft back to the stage before."""
    call_s: Annotated[int, Field(ge=1, le=MAX_CALL_S, strict=True), WHOLE] = 60
    """How long one call may take, from sending the request to the end of the reply."""
    job_s: Annotated[int, Field(ge=1, le=30 * DAY_S, strict=True), WHOLE] = DAY_S
    """How long a provider may work on a job that it accepted, from the start of the execution."""
    person_s: Annotated[int, Field(ge=1, le=90 * DAY_S, strict=True), WHOLE] = 7 * DAY_S
    """How long a person has for an answer, from the start of the execution."""
    task_s: Annotated[int, Field(ge=1, le=365 * DAY_S, strict=True), WHOLE] | None = None
    """The time from submission to the deadline of the task.  None: it has no deadline."""
    unknown: Literal["default", "retry", "wait", "ask"] = "default"
    """What to do when the outcome of a call is unknown.

    `retry`: repeat the call once, at the price of a possible duplicate.
    `wait`: wait for evidence; if none comes, the execution fails and its bound is charged.
    `ask`: wait, and then ask a person, who has `person_s` to answer.
    `default`: `ask` for a person and for a job that was accepted, `retry` for a call whose provider honours no key and
    offers no evidence, else `wait`."""


class Template(Model):
    """The template that `bizq template put` and `PUT /v1/templates/{id}` accept."""

    id: Id | None = None
    organization_id: Id | None = None
    name: Text = Field(min_length=1, max_length=200)
    description: Text | None = Field(default=None, max_length=10_000)
    category: Text | None = Field(default=None, max_length=100)
    estimated_duration: Annotated[int, Field(ge=0, le=2**31, strict=True), WHOLE] | None = None
    prompt: Text = Field(default="", max_length=MAX_PROMPT)
    input_schema: Schema | None = None
    output_schema: Schema
    route: Route
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _schemas_are_schemas(self) -> Self:
        if self.input_schema is not None:
            check_schema(self.input_schema, "input_schema")
        check_schema(self.output_schema, "output_schema")
        check_prompt(self.prompt, has_previous=self.route.stages[0].prompt is not None)
        for index, stage in enumerate(self.route.stages):
            check_prompt(stage.prompt or "", f"route.stages[{index}].prompt", has_previous=index > 0)
        return self


class Plan(Model):
    """The part of a template that a claimed task needs.  The worker builds it once for each text of a template."""

    prompt: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any]
    route: Route
    limits: Limits

    def prompt_of(self, stage: int) -> str:
        """The instructions of a stage: its own, or those of the template."""
        stages = self.route.stages
        own = stages[stage].prompt if stage < len(stages) else None
        return self.prompt if own is None else own

    def misfit(self, value: object) -> BadInput | None:
        """Why a task's input does not fit the input schema; None when it fits.

        The API has checked a task that it took.  Another application inserts any task, and an invented answer to an
        input without the field that matters would be paid."""
        if self._input_check is None or (problem := self._input_check.mismatch(value)) is None:
            return None
        return BadInput.of([problem]).within("input")

    @cached_property
    def _input_check(self) -> SchemaCheck | None:
        return None if self.input_schema is None else SchemaCheck(self.input_schema)

    @cached_property
    def _answer_check(self) -> SchemaCheck:
        return SchemaCheck(self.output_schema)

    def mismatch(self, answer: object, work: Work | None = None) -> Problem | None:
        """The first place where an answer does not fit the output schema; None when it fits."""
        return self._answer_check.mismatch(answer, work)
