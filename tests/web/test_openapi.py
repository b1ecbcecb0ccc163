"""The document of the API is enough for a generator of typed clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.service.new_tasks import NewTask
from consumer.web import openapi
from consumer.web.app import OPERATIONS

DOCUMENT = openapi.document(OPERATIONS, "http://bizq.test")
SCHEMAS = DOCUMENT["components"]["schemas"]

ANY_JSON = {
    *("Task.result", "Task.outcome", "Execution.result", "Execution.usage"),
    *(
        "Assignment.value",
        "Assignment.previous",
        "Assignment.draft",
        "Assignment.answer",
        "Receipt.answer",
        "Receipt.sent",
    ),
}
"""Fields that hold what a template or a provider decides."""


def nodes(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the document with its path."""
    if isinstance(node, dict):
        yield place, node
        for name, inner in node.items():
            yield from nodes(inner, f"{place}/{name}")
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from nodes(inner, f"{place}/{number}")


def _types(node: dict[str, Any]) -> list[object]:
    kind = node.get("type")
    return kind if isinstance(kind, list) else [kind]


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in SCHEMAS.items():
        for field, part in schema.get("properties", {}).items():
            yield f"{name}.{field}", part


def field(name: str) -> dict[str, Any]:
    """The schema of a field, without null."""
    part = dict(properties())[name]
    return next((one for one in part.get("anyOf", ()) if one != {"type": "null"}), part)


def test_every_array_says_what_it_holds() -> None:
    bare = [
        place
        for place, node in nodes(DOCUMENT)
        if "array" in _types(node) and not {"items", "prefixItems"} & node.keys()
    ]
    assert bare == []


def test_every_field_has_a_type() -> None:
    known = {"type", "anyOf", "oneOf", "$ref", "enum", "const"}
    untyped = {name for name, part in properties() if not known & part.keys()}
    assert untyped == ANY_JSON


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_valid(name: str) -> None:
    resolved = {**SCHEMAS[name], "components": DOCUMENT["components"]}
    jsonschema_rs.meta.validate(resolved)


def test_times_have_a_format() -> None:
    for name in (
        "ListedTask.created_at",
        "ListedTask.updated_at",
        "Execution.started_at",
        "Execution.completed_at",
        "AuditEntry.at",
        "LiveStatus.updated_at",
        "InboxEntry.started_at",
    ):
        assert field(name)["format"] == "date-time", name


@pytest.mark.parametrize(
    "name",
    [
        *("Execution.cost_source", "Execution.execution_type", "Execution.status", "ListedTask.status"),
        *("StoredBudget.scope", "StoredBudget.period", "StoredBudget.refused", "InboxEntry.kind"),
    ],
)
def test_closed_sets_are_listed(name: str) -> None:
    assert len(field(name)["enum"]) >= 2


def test_stored_routes_have_the_schema_of_routes() -> None:
    assert field("StoredTemplate.route") == {"$ref": "#/components/schemas/Route"}
    assert field("StoredTemplate.limits") == {"$ref": "#/components/schemas/Limits"}


def test_the_inbox_declares_its_links_and_pages() -> None:
    assert "link" in SCHEMAS["InboxEntry"]["properties"]
    assert {"assignments", "total", "cursor"} == SCHEMAS["Inbox"]["properties"].keys()


def test_headers_are_described() -> None:
    status = DOCUMENT["paths"]["/v1/tasks/{id}/status"]["get"]
    assert "ETag" in status["responses"]["200"]["headers"]
    assert "ETag" in status["responses"]["304"]["headers"]
    named = {(one["in"], one["name"]) for one in status["parameters"]}
    assert ("header", "If-None-Match") in named
    submit = DOCUMENT["paths"]["/v1/tasks"]["post"]
    assert "Idempotency-Key" in [one["name"] for one in submit["parameters"]]
    for method in ("get", "put"):
        template = DOCUMENT["paths"]["/v1/templates/{id}"][method]
        assert "ETag" in template["responses"]["200"]["headers"]


@pytest.mark.parametrize(
    ("title", "why"), [("", "at least 1 character"), ("x" * 501, "at most 500 characters")]
)
def test_the_length_of_a_text_is_counted_in_characters(title: str, why: str) -> None:
    with pytest.raises(BadInput, match=f"title: must have {why}$"):
        parse(NewTask, {"template": 1, "title": title})
