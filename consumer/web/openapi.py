"""The document of the API (OpenAPI 3.1), made from the table that routes it and the classes that check and show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, TypeAdapter, WithJsonSchema

from consumer.core.lifecycle import TaskState
from consumer.core.template import Template
from consumer.ports import MAX_INTEGER
from consumer.run.sweep import Swept
from consumer.service import queries, views
from consumer.service.admin import Budget, NewOrganization, NewStop, NewUser
from consumer.service.bulk import BulkAction, BulkResult
from consumer.service.commands import Adopted, Submitted
from consumer.service.new_tasks import MAX_TASKS, NewTask
from consumer.service.people import Assignment
from consumer.service.receipts import Receipt
from consumer.service.releases import Released
from consumer.service.restore import NewRestore, Restored
from consumer.web.problems import MEDIA_TYPE, ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumer.web.operation import Operation

_ID: Final = {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER}

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "id": {"schema": _ID},
    "profile": {"schema": {"type": "string", "minLength": 1, "maxLength": 64}},
    "token": {"schema": {"type": "string"}, "description": "Signed by the worker; it expires"},
    "organization": {
        "schema": _ID,
        "description": "Required where an operator's key writes; another key can name its own organization only",
    },
    "name": {"schema": {"type": "string"}, "description": "Only rows with exactly this name"},
    "status": {"schema": {"enum": [state.value for state in TaskState]}},
    "template": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        "description": "An id or a name",
    },
    "reason": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": "The code at the beginning of the task's reason, or of what blocks it",
    },
    "submitted_after": {
        "schema": {"type": "string", "format": "date-time"},
        "description": "ISO-8601: only tasks that were submitted at this time or later",
    },
    "submitted_before": {
        "schema": {"type": "string", "format": "date-time"},
        "description": "ISO-8601: only tasks that were submitted before this time",
    },
    "key_prefix": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        "description": "How the idempotency key begins",
    },
    "probe": {
        "schema": {"enum": ["true", "false"], "default": "false"},
        "description": "Whether to send one cheap request to the provider of each profile",
    },
    "questions": {
        "schema": {"enum": ["true", "false"], "default": "false"},
        "description": "Whether to end questions that people were asked about calls, too",
    },
    "cursor": {"schema": _ID, "description": "From the page before"},
    "by": {
        "schema": {"enum": list(queries.COSTS_KEYS), "default": queries.COSTS_BY},
        "description": "`profile` is an account with a provider, `provider` the name of an adapter",
    },
    "since": {
        "schema": {"type": "string", "format": "date-time"},
        "description": "ISO-8601: only executions that began at this time or later",
    },
    "user": {"schema": _ID, "description": "Only assignments that this user may answer"},
}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        "description": "The idempotency_key of the task; a task of a list gets it with its place in the list",
    },
    "If-None-Match": {"schema": {"type": "string"}, "description": "The ETag of the last answer"},
}

ANSWER_FORM: Final = {
    "type": "object",
    "properties": {
        "action": {"enum": ["submit", "accept", "decline"]},
        "reason": {"type": "string", "description": "Why it is declined"},
        "sure": {
            "const": "yes",
            "description": "Confirms on the page that it is declined; a program need not send it",
        },
        "by": {"type": "string", "description": "Who answers, where no user is asked by name"},
        "decision": {"enum": ["approve", "edit", "reject"], "description": "Of a review"},
        "note": {"type": "string", "description": "Of a review"},
        "redo": {"const": "yes", "description": "Of a review that rejects: have the work done again"},
    },
    "required": ["action"],
    "additionalProperties": {
        "type": ["string", "array"],
        "items": {"type": "string"},
        "description": "`output.<property>` for each property, as it is typed; `output`: the whole answer as JSON",
    },
}
"""The names of the other fields follow from the template's output schema."""

BODIES: Final[Mapping[str, Any]] = {
    "NewTasks": NewTask | Annotated[list[NewTask], Field(min_length=1, max_length=MAX_TASKS)],
    "Template": Template,
    "Budget": Budget,
    "NewOrganization": NewOrganization,
    "NewStop": NewStop,
    "NewRestore": NewRestore,
    "NewUser": NewUser,
    "BulkAction": BulkAction,
    "Answer": Annotated[dict[str, Any], WithJsonSchema(ANSWER_FORM)],
    "Event": Annotated[Any, Field(description="Any event of the profile's provider")],
}
"""The schemas of requests, by the names that operations use."""

_VIEWS: Final = (
    *(views.Task, views.TaskPage, views.History, views.Cancelled, views.Counts, views.Costs, views.Inbox),
    *(views.Organization, views.Organizations, views.User, views.StoredTemplate, views.Templates),
    *(
        views.StoredBudget,
        views.Budgets,
        views.Stopped,
        views.Resumed,
        Restored,
        views.Findings,
        views.Health,
    ),
    *(
        views.Received,
        views.LiveStatus,
        BulkResult,
        Released,
        Submitted,
        Adopted,
        Swept,
        ProblemDocument,
    ),
)
ANSWERS: Final[Mapping[str, Any]] = {
    **{view.__name__: view for view in _VIEWS},
    "Submissions": Submitted | views.SubmittedTasks,
    "AnswerResult": Receipt | Assignment,
    "OpenAPI": dict[str, Any],
}
"""The schemas of answers, by the names that operations use."""

_STORED: Final = {
    "input_schema": {"type": "object", "additionalProperties": True},
    "output_schema": {"type": "object", "additionalProperties": True},
    "route": {"$ref": "#/components/schemas/Route"},
    "limits": {"$ref": "#/components/schemas/Limits"},
}
"""Parts of a stored template, which are JSON in their rows.  `views` imports no pydantic, so it names no class of them.
"""

_PART: Final = re.compile(r"\{(\w+)\}")
_FORMS: Final = {"Answer": "application/x-www-form-urlencoded"}
_PAGE: Final[dict[str, Any]] = {"text/html": {}}
_TAG: Final[dict[str, Any]] = {
    "headers": {"ETag": {"schema": {"type": "string"}, "description": "The version, as a weak tag"}}
}
_PAGES: Final = frozenset({"AnswerResult"})
"""Answers that a browser gets as a page, and a program as JSON."""


def document(operations: Iterable[Operation], server: str) -> dict[str, Any]:
    """All operations, with the schemas that they name."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BizQ Task Worker",
            "version": "1",
            "description": "Every refusal is a problem document (RFC 9457); the page /problems lists their types.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def schemas() -> dict[str, Any]:
    """The schemas of all requests and answers, by name.  This takes long, and nothing but the document needs it."""
    found, shared = TypeAdapter.json_schemas(
        [
            *((name, "validation", TypeAdapter(body)) for name, body in BODIES.items()),
            *((name, "serialization", TypeAdapter(answer)) for name, answer in ANSWERS.items()),
        ],
        ref_template="#/components/schemas/{model}",
    )
    # In `found`, the schema of a class only refers to itself; `shared` holds it under the same name.
    components: dict[str, Any] = {name: schema for (name, _), schema in found.items()} | shared["$defs"]
    components["StoredTemplate"]["properties"] |= {
        name: {"anyOf": [schema, {"type": "null"}]} for name, schema in _STORED.items()
    }
    return components


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, **PARAMETERS[name]}
                for name in _PART.findall(operation.path)
            ),
            *({"name": name, "in": "query", **_query(operation, name)} for name in operation.query or ()),
            *({"name": name, "in": "header", **HEADERS[name]} for name in operation.headers),
        ],
        "responses": {
            **{
                str(status): _answer(status, schema) | (_TAG if operation.tagged else {})
                for status, schema in operation.answers.items()
            },
            "default": {
                "description": "Refused",
                "content": {
                    MEDIA_TYPE: _schema("ProblemDocument"),
                    **(_PAGE if _PAGES & {*operation.answers.values()} else {}),
                },
            },
        },
        "security": [{"key": []}] if operation.role else [],
    }
    if operation.role:
        described["description"] = f"Needs a key with the role {operation.role}, or a higher one."
    if operation.body:
        media_type = _FORMS.get(operation.body, "application/json")
        described["requestBody"] = {
            "required": operation.body != "Event",
            "content": {media_type: _schema(operation.body)},
        }
    return described


def _query(operation: Operation, name: str) -> dict[str, Any]:
    """A parameter.  The cursor of the inbox is no id."""
    if name == "cursor" and operation.answers.get(200) == "Inbox":
        return {
            "schema": {"type": "string", "pattern": "^[0-9]{1,15}-[0-9]{1,15}$"},
            "description": "From the page before",
        }
    return PARAMETERS[name]


def _answer(status: int, schema: str) -> dict[str, Any]:
    if status == 304:
        return {"description": "Not modified"}
    if not schema:
        return {"description": "A page", "content": _PAGE}
    page = _PAGE if schema in _PAGES else {}
    return {"description": schema, "content": {"application/json": _schema(schema), **page}}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
