"""The API shows the fields of its views, and no others; its document describes each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from consumer.core.snapshot import key
from consumer.core.strictjson import dump_json, parse_json
from consumer.execution import publish
from consumer.ports import Blobs, Database, KeyValue
from consumer.service import queries
from consumer.web.app import OPERATIONS
from tests.local import host
from tests.support.browsing import PERSON
from tests.support.deployment import Deployment, budget, deployed, described, stage

migrated, database, kv, blobs = host.migrated, host.database, host.kv, host.blobs

LEAK: Final = "not-for-callers"
READS: Final = (
    "/v1/tasks",
    "/v1/tasks/{task}",
    "/v1/tasks/{review}",
    "/v1/tasks/{task}/history",
    "/v1/tasks/{review}/history",
    "/v1/tasks/{task}/status",
    "/v1/tasks/{review}/status",
    "/v1/counts",
    *(f"/v1/costs?by={by}" for by in queries.COSTS_KEYS),
    "/v1/inbox",
    "/v1/organizations",
    "/v1/templates",
    "/v1/templates/{template}",
    "/v1/budgets",
    "/v1/budgets/{budget}",
    "/v1/stop",
    "/v1/doctor",
    "/healthz",
)
"""Every address that shows rows."""


@pytest.fixture
async def deployment(database: Database, kv: KeyValue, blobs: Blobs) -> AsyncIterator[Deployment]:
    async with deployed(database, kv, blobs) as made:
        yield made


async def replies(deployment: Deployment) -> dict[str, Any]:
    """The reply of every address that shows rows, where each of them has some."""
    names = {"task": await deployment.submit(input={"title": "x"}), "template": deployment.template}
    names["review"] = await deployment.submit(
        await deployment.put(stage("ai", "echo"), stage("review", "inbox"), name="r")
    )
    await deployment.submit(await deployment.put(PERSON, name="person"))
    made = await deployment.ask("POST", "/v1/budgets", budget(deployment.ours), key="admin")
    names["budget"] = made.json()["id"]
    await deployment.work()
    await deployment.ask("POST", f"/v1/tasks/{await deployment.submit()}/cancel")
    await deployment.ask("PUT", "/v1/stop", {"reason": "a test"}, key="operator")
    tables = await deployment.rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    for table in tables:
        await deployment.rows(f"ALTER TABLE {table['name']} ADD COLUMN added TEXT DEFAULT '{LEAK}'")
    assert (await deployment.rows("SELECT added FROM tasks"))[0]["added"] == LEAK
    found = {}
    for path in READS:
        response = await deployment.ask("GET", path.format(**names), key="operator")
        assert response.status_code == 200, response.text
        found[path] = response.json()
    return found


def undocumented(schema: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """The fields of a value that its schema does not name."""
    if "$ref" in schema:
        schema = described()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return min((undocumented(part, value, place) for part in schema["anyOf"]), key=len)
    if isinstance(value, list):
        return [name for item in value for name in undocumented(schema.get("items", {}), item, place)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    return [f"{place}.{name}" for name in value.keys() - known.keys()] + [
        found
        for name in value.keys() & known.keys()
        for found in undocumented(known[name], value[name], f"{place}.{name}")
    ]


def answer_schema(path: str) -> dict[str, Any]:
    """The schema of a successful GET, from the document."""
    for name in ("{task}", "{review}", "{template}", "{budget}"):
        path = path.replace(name, "{id}")
    responses = described()["paths"][path.partition("?")[0]]["get"]["responses"]
    found: dict[str, Any] = responses["200"]["content"]["application/json"]["schema"]
    return found


async def test_a_new_column_of_any_table_does_not_reach_the_api(deployment: Deployment) -> None:
    found = await replies(deployment)

    assert [path for path, value in found.items() if LEAK in dump_json(value)] == []
    assert [path for path, value in found.items() if "added" in names_of(value)] == []


def names_of(value: Any) -> set[str]:
    """Every name in a JSON value."""
    if isinstance(value, list):
        return {name for item in value for name in names_of(item)}
    if isinstance(value, dict):
        return {*value}.union(*(names_of(part) for part in value.values()))
    return set()


async def test_the_document_describes_every_field_that_is_shown(deployment: Deployment) -> None:
    found = await replies(deployment)

    assert [
        name for path, value in found.items() for name in undocumented(answer_schema(path), value, path)
    ] == []


def test_every_address_that_shows_rows_is_among_those_that_are_tested() -> None:
    tested = {path.partition("?")[0] for path in READS}
    tested = {path.replace("{template}", "{id}").replace("{budget}", "{id}") for path in tested}
    tested = {path.replace("{task}", "{id}").replace("{review}", "{id}") for path in tested}
    reads = {
        operation.path
        for operation in OPERATIONS
        if operation.method == "GET"
        and set(operation.answers.values()).isdisjoint({"", "OpenAPI", "AnswerResult"} - {""})
    }
    assert reads - tested == {"/", "/problems"}


async def test_the_result_has_its_old_name_too_which_the_document_calls_deprecated(
    deployment: Deployment,
) -> None:
    task = await deployment.submit(input={"title": "x"})
    await deployment.work()

    shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
    inside = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()["task"]

    assert shown["result"] == shown["outcome"] == inside["result"] == inside["outcome"] == {"title": "x"}
    properties = described()["components"]["schemas"]["Task"]["properties"]
    assert [name for name, schema in properties.items() if schema.get("deprecated")] == ["outcome"]


async def test_the_live_status_names_the_profile_and_its_provider(deployment: Deployment) -> None:
    made = await deployment.put(stage("ai", "other"), name="other")
    task = await deployment.submit(made)
    await deployment.work()

    status = (await deployment.ask("GET", f"/v1/tasks/{task}/status")).json()
    stored = parse_json((await deployment.kv.get(key(task, status["identity"]))) or "")
    (from_database,) = await publish.current(deployment.world, [task])

    assert (status["profile"], status["provider"]) == ("other", "echo")
    assert stored == status == from_database


async def test_the_api_shows_no_status_that_the_database_does_not_have(deployment: Deployment) -> None:
    task = await deployment.submit()
    await deployment.work()
    status = (await deployment.ask("GET", f"/v1/tasks/{task}/status")).json()

    await deployment.kv.put(
        key(task, status["identity"]), dump_json(status | {"status": "failed", "version": 99})
    )

    assert (await deployment.ask("GET", f"/v1/tasks/{task}/status")).json() == status


@pytest.mark.parametrize(("by", "keys"), [("profile", ["echo", "other"]), ("provider", ["echo"])])
async def test_costs_by_profile_and_by_provider(deployment: Deployment, by: str, keys: list[str]) -> None:
    await deployment.submit()
    await deployment.submit(await deployment.put(stage("ai", "other"), name="other"))
    await deployment.work()

    lines = (await deployment.ask("GET", f"/v1/costs?by={by}")).json()["costs"]

    assert [line["key"] for line in lines] == keys
    assert sum(line["cost_micro"] for line in lines) == 20_000
