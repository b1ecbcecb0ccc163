"""The document of the API (OpenAPI 3.1), made from the table that routes it and the models that check it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from consumer.core.lifecycle import TaskState
from consumer.core.template import Template
from consumer.ports import MAX_INTEGER
from consumer.service.admin import Budget, NewOrganization, NewStop, NewUser
from consumer.service.new_tasks import NewTask
from consumer.store.queries import COSTS
from consumer.web.problems import MEDIA_TYPE
from consumer.web.shapes import SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.web.api import Operation

_ID: Final = {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER}

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "id": {"schema": _ID},
    "profile": {"schema": {"type": "string"}},
    "token": {"schema": {"type": "string"}, "description": "Signed by us; it expires"},
    "organization": {
        "schema": _ID,
        "description": "Whose: only an operator's key may name another than its own, and has to where it writes",
    },
    "name": {"schema": {"type": "string"}, "description": "Only what has exactly this name"},
    "status": {"schema": {"enum": [state.value for state in TaskState]}},
    "cursor": {"schema": _ID, "description": "From the page before"},
    "by": {"schema": {"enum": list(COSTS), "default": "provider"}},
    "since": {
        "schema": {"type": "string", "format": "date-time"},
        "description": "ISO-8601; by the time an execution began",
    },
    "user": {"schema": _ID, "description": "Only what this user or everybody may answer"},
}
_PART: Final = re.compile(r"\{(\w+)\}")
_FORMS: Final = {"Answer": "application/x-www-form-urlencoded"}
_PAGE: Final[dict[str, Any]] = {"text/html": {}}
_PAGES: Final = frozenset({"Assignment", "Receipt", "AnswerResult"})
"""What is a page for people, and JSON for who asks for it."""


def document(operations: Iterable[Operation], server: str) -> dict[str, Any]:
    """All operations, with the schemas that they name."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    _, models = models_json_schema(
        [(model, "validation") for model in (NewTask, Template, Budget, NewOrganization, NewStop, NewUser)],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BizQ Task Worker",
            "version": "1",
            "description": "Every refusal is a problem document (RFC 9457); /problems lists them.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {**SHAPES, **models["$defs"]},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, **PARAMETERS[name]}
                for name in _PART.findall(operation.path)
            ),
            *({"name": name, "in": "query", **PARAMETERS[name]} for name in operation.query or ()),
        ],
        "responses": {
            **{str(status): _answer(status, schema) for status, schema in operation.answers.items()},
            "default": {
                "description": "Refused",
                "content": {
                    MEDIA_TYPE: _schema("Problem"),
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


def _answer(status: int, schema: str) -> dict[str, Any]:
    if status == 304:
        return {"description": "Not modified"}
    if not schema:
        return {"description": "A page", "content": _PAGE}
    page = _PAGE if schema in _PAGES else {}
    return {"description": schema, "content": {"application/json": _schema(schema), **page}}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
