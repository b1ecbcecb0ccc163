"""What the API answers, as JSON Schemas: the half of the document that no model of ours describes."""

from __future__ import annotations

from typing import Any, Final

from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.web.problems import MAX_ERRORS

Shape = dict[str, Any]

_ANY: Final[Shape] = {}
_TEXT: Final[Shape] = {"type": "string"}
_INTEGER: Final[Shape] = {"type": "integer"}
_BOOLEAN: Final[Shape] = {"type": "boolean"}
_OR_NULL: Final[Shape] = {"type": ["string", "null"]}
_NUMBER_OR_NULL: Final[Shape] = {"type": ["integer", "null"]}
_MICRO: Final[Shape] = {"type": "integer", "description": "Millionths of a US dollar"}
_MICRO_OR_NULL: Final[Shape] = {
    "type": ["integer", "null"],
    "description": "Millionths of a US dollar; null: not known, which is not zero",
}
_TASK_STATE: Final[Shape] = {"enum": [state.value for state in TaskState]}
_EXECUTION_STATE: Final[Shape] = {"enum": [state.value for state in ExecutionState]}
_WHEN: Final[Shape] = {"type": "string", "description": "ISO-8601, UTC"}
_MS: Final[Shape] = {"type": "integer", "description": "Milliseconds since 1970, UTC"}
_MS_OR_NULL: Final[Shape] = {"type": ["integer", "null"], "description": "Milliseconds since 1970, UTC"}


def _shape(**properties: Shape) -> Shape:
    """An object with these properties, all of them always there; there may be more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: str) -> Shape:
    return {"type": "array", "items": _named(of)}


def _named(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


_LISTED_TASK: Final = {
    "id": _INTEGER,
    "template_id": _NUMBER_OR_NULL,
    "organization_id": _NUMBER_OR_NULL,
    "title": _TEXT,
    "status": _TASK_STATE,
    "priority": _OR_NULL,
    "due_date": _OR_NULL,
    "created_at": _WHEN,
    "updated_at": _WHEN,
    "version": _INTEGER,
    "stage": _INTEGER,
    "attempt": _INTEGER,
    "blocked_by": _OR_NULL,
    "reason": _OR_NULL,
    "run_at_ms": _MS,
}
_BUDGET: Final = {
    "id": _INTEGER,
    "organization_id": _INTEGER,
    "scope": _TEXT,
    "scope_id": _INTEGER,
    "period": _TEXT,
    "cap_micro": _MICRO,
    "refused": _TEXT,
    "current": {
        "type": ["string", "null"],
        "description": "The current period, once something was reserved in it",
    },
    "spent_micro": _MICRO_OR_NULL,
    "reserved_micro": _MICRO_OR_NULL,
    "ends_ms": _MS_OR_NULL,
}

SHAPES: Final[dict[str, Shape]] = {
    "NewTasks": {"anyOf": [_named("NewTask"), {**_list("NewTask"), "minItems": 1, "maxItems": 1000}]},
    "Submission": _shape(
        id=_INTEGER,
        status=_TASK_STATE,
        created={**_BOOLEAN, "description": "false: the same key had made it before"},
    ),
    "Submissions": {"anyOf": [_named("Submission"), _shape(tasks=_list("Submission"))]},
    "ListedTask": _shape(**_LISTED_TASK),
    "TaskPage": _shape(
        tasks=_list("ListedTask"),
        cursor={**_NUMBER_OR_NULL, "description": "For the next page; null on the last one"},
    ),
    "Task": _shape(
        **_LISTED_TASK,
        description=_OR_NULL,
        template_name=_OR_NULL,
        assigned_to=_NUMBER_OR_NULL,
        deadline_ms=_MS_OR_NULL,
        retry_of=_NUMBER_OR_NULL,
        input={"type": ["object", "null"]},
        outcome={**_ANY, "description": "The answer of the last stage, once the task is completed"},
        cost_micro=_MICRO_OR_NULL,
    ),
    "Execution": _shape(
        id=_INTEGER,
        execution_type=_TEXT,
        provider=_OR_NULL,
        profile=_OR_NULL,
        status=_EXECUTION_STATE,
        stage=_INTEGER,
        candidate=_INTEGER,
        attempt=_INTEGER,
        started_at=_OR_NULL,
        completed_at=_OR_NULL,
        cost_micro=_MICRO_OR_NULL,
        cost_source=_OR_NULL,
        reserved_micro=_MICRO,
        overrun={**_BOOLEAN, "description": "It cost more than was reserved for it under a budget"},
        usage=_ANY,
        external_id=_OR_NULL,
        assigned_to=_NUMBER_OR_NULL,
        reason=_OR_NULL,
        note=_OR_NULL,
        result=_ANY,
    ),
    "History": _shape(
        task=_named("Task"),
        why={**_TEXT, "description": "One sentence on how it stands"},
        executions=_list("Execution"),
        audit={"type": "array", "items": _shape(at=_WHEN, actor=_TEXT, event=_TEXT, detail=_OR_NULL)},
    ),
    "Status": _shape(
        task=_INTEGER,
        organization=_NUMBER_OR_NULL,
        status=_TASK_STATE,
        version={
            **_INTEGER,
            "description": "Goes up with each transition: drop an older one than you have seen",
        },
        stage=_INTEGER,
        provider={**_OR_NULL, "description": "The profile that does it"},
        attempt=_INTEGER,
        cost_micro=_MICRO_OR_NULL,
        reason=_OR_NULL,
        updated_at=_WHEN,
    ),
    "Counts": _shape(
        total=_INTEGER, tasks={"type": "object", "additionalProperties": _INTEGER, "description": "By state"}
    ),
    "Adopted": _shape(
        adopted=_INTEGER,
        lacking={**_INTEGER, "description": "Without a route or an organization"},
        more={**_BOOLEAN, "description": "true: some may be left"},
    ),
    "Organization": _shape(id=_INTEGER, name=_TEXT),
    "Organizations": _shape(organizations=_list("Organization")),
    "User": _shape(id=_INTEGER, organization=_INTEGER, email=_TEXT),
    "Cancelled": _shape(id=_INTEGER, status={"const": "cancelled"}),
    "Costs": _shape(
        by=_TEXT,
        costs={
            "type": "array",
            "items": _shape(
                key=_OR_NULL,
                executions=_INTEGER,
                cost_micro=_MICRO,
                bound_micro={
                    **_MICRO,
                    "description": "How much of cost_micro is a bound, because nobody knows more",
                },
                overrun_micro={**_MICRO, "description": "How much of it was more than had been reserved"},
                unknown={**_INTEGER, "description": "Executions that ended at a price not known yet"},
                reserved_micro=_MICRO,
            ),
        },
    ),
    "Inbox": _shape(
        assignments={
            "type": "array",
            "items": _shape(
                id={**_INTEGER, "description": "The execution that waits"},
                task_id=_INTEGER,
                kind={"enum": ["human", "review", "question"]},
                assigned_to=_NUMBER_OR_NULL,
                started_at=_OR_NULL,
                resolve_by_ms=_MS_OR_NULL,
                profile=_OR_NULL,
                organization_id=_NUMBER_OR_NULL,
                title=_TEXT,
                priority=_OR_NULL,
                due_date=_OR_NULL,
                template_name=_OR_NULL,
            ),
        }
    ),
    "StoredTemplate": _shape(
        id=_INTEGER,
        organization_id=_NUMBER_OR_NULL,
        name=_TEXT,
        description=_OR_NULL,
        category=_OR_NULL,
        estimated_duration=_NUMBER_OR_NULL,
        prompt=_TEXT,
        input_schema=_ANY,
        output_schema=_ANY,
        route=_ANY,
        limits=_ANY,
    ),
    "Templates": _shape(
        templates={
            "type": "array",
            "items": _shape(
                id=_INTEGER,
                organization_id=_NUMBER_OR_NULL,
                name=_TEXT,
                description=_OR_NULL,
                category=_OR_NULL,
                version=_INTEGER,
                usable={**_BOOLEAN, "description": "Whether it has a route"},
            ),
        }
    ),
    "StoredBudget": _shape(**_BUDGET),
    "Budgets": _shape(budgets=_list("StoredBudget")),
    "Swept": _shape(
        leases=_INTEGER,
        raised=_INTEGER,
        ended=_INTEGER,
        unblocked=_INTEGER,
        alerts=_INTEGER,
        due=_INTEGER,
        rung=_INTEGER,
    ),
    "Stopped": _shape(
        stop={
            "anyOf": [_shape(at_ms=_INTEGER, actor=_TEXT, reason=_TEXT), {"type": "null"}],
            "description": "null while nothing is stopped",
        }
    ),
    "Resumed": _shape(resumed={**_BOOLEAN, "description": "Whether there was a stop"}),
    "Findings": _shape(
        findings={
            "type": "array",
            "items": _shape(level={"enum": ["ok", "warning", "error"]}, what=_TEXT, advice=_TEXT),
        }
    ),
    "Health": _shape(status={"const": "ok"}),
    "Received": _shape(status={"const": "received"}),
    "Event": {"description": "Whatever the provider of the profile sends"},
    "Answer": {
        "type": "object",
        "properties": {
            "action": {"enum": ["submit", "accept", "decline"]},
            "reason": {**_TEXT, "description": "Why it is declined"},
            "decision": {"enum": ["approve", "edit", "reject"], "description": "Of a review"},
            "note": {**_TEXT, "description": "Of a review"},
            "redo": {"const": "yes", "description": "Of a review that rejects: have it done again"},
        },
        "required": ["action"],
        "additionalProperties": {
            "type": ["string", "array"],
            "description": "`output.<property>` for each property, as it is typed; `output`: all of it as JSON",
        },
    },
    "Assignment": _shape(
        execution=_INTEGER,
        task=_INTEGER,
        state={"enum": ["open", "answered", "ended"]},
        kind={"enum": ["human", "review", "question"]},
        title=_TEXT,
        description=_TEXT,
        instructions=_TEXT,
        value=_ANY,
        draft=_ANY,
        output_schema={"type": "object"},
        deadline_ms=_MS_OR_NULL,
        reason=_OR_NULL,
        accepted=_BOOLEAN,
        answer=_ANY,
        feedback=_OR_NULL,
        profile=_TEXT,
    ),
    "Receipt": _shape(
        execution=_INTEGER,
        task=_INTEGER,
        used={**_BOOLEAN, "description": "Whether it is the task's answer for this stage"},
        answer=_ANY,
        message=_TEXT,
    ),
    "AnswerResult": {"anyOf": [_named("Receipt"), _named("Assignment")]},
    "OpenAPI": {"type": "object"},
    "Problem": {
        "type": "object",
        "description": "A problem document (RFC 9457)",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": _INTEGER,
            "detail": _TEXT,
            "errors": {"type": "array", "maxItems": MAX_ERRORS, "items": _shape(field=_TEXT, message=_TEXT)},
        },
        "required": ["type", "title", "status", "detail"],
    },
}
