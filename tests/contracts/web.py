"""The API of tasks on every host: the roles of keys, tasks and their costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.ports import MAX_INTEGER
from consumer.service import admin
from consumer.web.app import OPERATIONS
from tests.contracts.house import ROLES, Furnished, House, budget, refused, template

if TYPE_CHECKING:
    from consumer.web.operation import Operation

GUARDED: Final = [operation for operation in OPERATIONS if operation.role]
NO_KEYS: Final = (
    "",
    "Bearer",
    "Bearer ",
    "Basic dXNlcjpwYXNz",
    "Bearer bizq_",
    "Bearer bizq__",
    "Bearer bizq_0123456789ab_00000000000000000000000000000000",
    "Bearer ' OR 1=1 --",
    "Bearer bizq_' OR 1=1 --_x",
    "Bearer " + "x" * 4000,
    "Bearer bizq_\xe9\xff_\xe9",
)


def place(operation: Operation) -> str:
    """An address of an operation, with an id that does not exist."""
    return operation.path.replace("{id}", "999999")


class KeysContract(Furnished):
    """The roles of keys."""

    async def test_without_a_key(self, house: House) -> None:
        for operation in GUARDED:
            response = await house.ask(operation.method, place(operation), key=None)
            refused(response, 401)
            assert response.headers["www-authenticate"] == 'Bearer realm="bizq"'

    async def test_each_role_below_the_one_that_is_needed(self, house: House) -> None:
        for operation in GUARDED:
            for role in ROLES[: ROLES.index(str(operation.role))]:
                refused(await house.ask(operation.method, place(operation), {}, key=role), 403)

    async def test_each_role_from_the_one_that_is_needed(self, house: House) -> None:
        for operation in GUARDED:
            for role in ROLES[ROLES.index(str(operation.role)) :]:
                response = await house.ask(operation.method, place(operation), {}, key=role)
                assert response.status_code in (200, 404, 422), (operation.path, role, response.text)

    async def test_a_malformed_key(self, house: House) -> None:
        for authorization in NO_KEYS:
            headers = {"Authorization": authorization.encode("latin-1")}
            refused(await house.ask("GET", "/v1/tasks", key=None, headers=headers), 401)

    async def test_a_wrong_secret_and_a_revoked_key(self, house: House) -> None:
        key = house.keys["reader"]
        wrong = key[:-1] + ("1" if key[-1] == "0" else "0")
        refused(await house.ask("GET", "/v1/tasks", key=wrong), 401)

        await admin.revoke_key(house.world, key)

        refused(await house.ask("GET", "/v1/tasks", key=key), 401)

    async def test_the_scheme_has_no_case(self, house: House) -> None:
        headers = {"Authorization": f"bEARER {house.keys['reader']}"}

        assert (await house.ask("GET", "/v1/tasks", key=None, headers=headers)).status_code == 200

    async def test_another_organization_s_row_is_answered_exactly_as_a_missing_one(
        self, house: House
    ) -> None:
        task = await house.submit()
        own = await admin.put_budget(house.world, house.ours, budget(house.ours), "test")
        requests: list[tuple[str, str, int, Any]] = [
            *(("GET", f"/v1/tasks/{{}}{rest}", task, None) for rest in ("", "/history", "/status")),
            *(("POST", f"/v1/tasks/{{}}/{what}", task, None) for what in ("cancel", "retry")),
            ("GET", "/v1/templates/{}", house.template, None),
            ("PUT", "/v1/templates/{}", house.template, template()),
            ("GET", "/v1/budgets/{}", own, None),
        ]
        for method, path, number, body in requests:
            foreign = refused(await house.ask(method, path.format(number), body, key="foreign"), 404)
            missing = refused(await house.ask(method, path.format(987654), body, key="foreign"), 404)
            assert json.dumps(foreign).replace(f" {number}", " 987654") == json.dumps(missing)
        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "pending"

    async def test_another_organization_s_budget_is_not_changed(self, house: House) -> None:
        own = await admin.put_budget(house.world, house.ours, budget(house.ours), "test")

        for scope in (house.ours, house.theirs):
            response = await house.ask("PUT", f"/v1/budgets/{own}", budget(scope, cap="9"), key="foreign")
            assert response.status_code in (404, 422)

        assert (await house.ask("GET", f"/v1/budgets/{own}")).json()["cap_micro"] == 1_500_000

    async def test_lists_show_only_their_own(self, house: House) -> None:
        await house.submit()
        counted = {
            key: (await house.ask("GET", "/v1/counts", key=key)).json()
            for key in ("operator", "reader", "foreign")
        }
        assert counted["reader"] == counted["operator"] == {"total": 1, "tasks": {"pending": 1}}
        assert counted["foreign"] == {"total": 0, "tasks": {}}
        await admin.put_budget(house.world, house.ours, budget(house.ours), "test")

        assert (await house.ask("GET", "/v1/tasks", key="foreign")).json()["tasks"] == []
        assert (await house.ask("GET", "/v1/budgets", key="foreign")).json()["budgets"] == []
        assert len((await house.ask("GET", "/v1/tasks", key="operator")).json()["tasks"]) == 1
        for organization, count in ((house.ours, 1), (house.theirs, 0)):
            response = await house.ask("GET", f"/v1/tasks?organization={organization}", key="operator")
            assert len(response.json()["tasks"]) == count

    async def test_only_an_operator_names_another_organization(self, house: House) -> None:
        for other in (house.theirs, 999, MAX_INTEGER):
            refused(await house.ask("GET", f"/v1/tasks?organization={other}"), 403)
        assert (await house.ask("GET", f"/v1/tasks?organization={house.ours}")).status_code == 200

    @pytest.mark.parametrize("path", ["/v1/tasks", "/v1/templates", "/v1/budgets"])
    async def test_an_operator_who_writes_names_the_organization(self, house: House, path: str) -> None:
        for query in ("", "?organization=999", "?organization=0", "?organization=x", "?organization="):
            refused(await house.ask("POST", path + query, {}, key="operator"), 422, "organization")

    async def test_an_operator_names_the_organization_of_each_task(self, house: House) -> None:
        """By id or by name, in one submission that is done as a whole or not at all."""
        tasks = [{"template": "echo", "title": "x", "organization": name} for name in ("theirs", house.ours)]
        wrong = [*tasks, {**tasks[0], "organization": "unknown"}, {"template": "echo", "title": "x"}]

        refused(
            await house.ask("POST", "/v1/tasks", wrong, key="operator"),
            422,
            "tasks[3].organization",
            "tasks[2].organization",
        )
        assert await house.rows("SELECT id FROM tasks") == []
        made = (await house.ask("POST", "/v1/tasks", tasks, key="operator")).json()["tasks"]

        rows = await house.rows("SELECT id, organization_id, template_id FROM tasks ORDER BY id")
        assert {row["id"]: row["organization_id"] for row in rows} == {
            made[0]["id"]: house.theirs,
            made[1]["id"]: house.ours,
        }
        assert {row["template_id"] for row in rows} == {house.template, house.foreign_template}

    async def test_a_key_writes_for_no_other_organization(self, house: House) -> None:
        """The refusal does not show whether another organization exists."""
        value = {"template": "echo", "title": "x"}
        answers = [
            refused(
                await house.ask("POST", "/v1/tasks", {**value, "organization": other}), 422, "organization"
            )
            for other in ("theirs", "unknown", house.theirs, 999)
        ]
        assert len({json.dumps(answer) for answer in answers}) == 1
        for own in ("ours", house.ours):
            made = await house.ask("POST", "/v1/tasks", {**value, "organization": own})
            assert made.status_code == 201

    async def test_the_same_key_of_two_organizations_makes_two_tasks(self, house: House) -> None:
        tasks = [
            {"template": "echo", "title": "x", "organization": name, "idempotency_key": "same"}
            for name in ("theirs", "ours")
        ]
        for created in (True, False):
            made = (await house.ask("POST", "/v1/tasks", tasks, key="operator")).json()["tasks"]
            assert [one["created"] for one in made] == [created] * 2
            assert made[0]["id"] != made[1]["id"]

    async def test_an_operator_writes_for_the_organization_that_it_names(self, house: House) -> None:
        value = {"template": house.template, "title": "for them"}
        made = await house.ask("POST", f"/v1/tasks?organization={house.ours}", value, key="operator")

        shown = await house.ask("GET", f"/v1/tasks/{made.json()['id']}", key="operator")

        assert shown.json()["organization_id"] == house.ours


class TasksContract(Furnished):
    """Submitting, reading, cancelling, retrying, and costs."""

    async def test_one_task(self, house: House) -> None:
        value = {"template": "echo", "title": "a task", "input": {"title": "x"}, "priority": "high"}

        response = await house.ask("POST", "/v1/tasks", value)

        number = response.json()["id"]
        assert response.status_code == 201
        assert response.json() == {"id": number, "status": "pending", "created": True}
        assert response.headers["location"] == f"/v1/tasks/{number}"
        shown = (await house.ask("GET", f"/v1/tasks/{number}", key="reader")).json()
        expected = {"title": "a task", "input": {"title": "x"}, "priority": "high", "status": "pending"}
        assert {name: shown[name] for name in expected} == expected

    async def test_several_tasks_are_made_together_or_not_at_all(self, house: House) -> None:
        good = {"template": house.template, "title": "good"}
        bad = [{"template": house.template}, {"template": 999, "title": "x"}, good, {**good, "colour": "red"}]

        problem = refused(await house.ask("POST", "/v1/tasks", [good, *bad]), 422)

        named = {error["field"] for error in problem["errors"]}
        assert named == {"tasks[1].title", "tasks[2].template", "tasks[4].colour"}
        assert (await house.ask("GET", "/v1/tasks")).json()["tasks"] == []
        response = await house.ask("POST", "/v1/tasks", [good, good])
        assert response.status_code == 201
        assert len({task["id"] for task in response.json()["tasks"]}) == 2

    async def test_a_key_makes_a_task_once(self, house: House) -> None:
        value = {"template": house.template, "title": "a task", "idempotency_key": "k"}

        first, again = [await house.ask("POST", "/v1/tasks", value) for _ in range(2)]
        both = await house.ask("POST", "/v1/tasks", [value, {**value, "idempotency_key": "l"}])

        assert (first.status_code, again.status_code, both.status_code) == (201, 200, 201)
        assert again.json() == {**first.json(), "created": False}
        assert [task["created"] for task in both.json()["tasks"]] == [False, True]

    async def test_the_pages_of_a_list(self, house: House) -> None:
        value = {"template": house.template, "title": "a task"}
        made = (await house.ask("POST", "/v1/tasks", [value] * 120)).json()["tasks"]

        found: list[int] = []
        query: str | None = ""
        pages = 0
        while query is not None:
            page = (await house.ask("GET", f"/v1/tasks{query}")).json()
            found += [task["id"] for task in page["tasks"]]
            query = f"?cursor={page['cursor']}" if page["cursor"] else None
            pages += 1

        assert found == sorted((task["id"] for task in made), reverse=True)
        assert pages == 3

    async def test_a_list_by_status(self, house: House) -> None:
        task = await house.submit()
        await house.ask("POST", f"/v1/tasks/{await house.submit()}/cancel")

        for status, count in (("pending", 1), ("cancelled", 1), ("running", 0)):
            page = (await house.ask("GET", f"/v1/tasks?status={status}")).json()
            assert len(page["tasks"]) == count, status
        assert (await house.ask("GET", "/v1/tasks?status=pending")).json()["tasks"][0]["id"] == task

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("status=done", "status"),
            ("status=", "status"),
            ("cursor=0", "cursor"),
            ("cursor=-1", "cursor"),
            ("cursor=1e3", "cursor"),
            ("cursor=9007199254740991", "cursor"),
            ("cursor=%D9%A1", "cursor"),
            ("colour=red", "colour"),
            ("status=pending&status=failed", "status"),
            ("%00=1", "\ufffd"),
            ("status=%ff%fe", "status"),
            ("status=pending'--", "status"),
        ],
    )
    async def test_a_query_with_a_wrong_value(self, house: House, query: str, field: str) -> None:
        refused(await house.ask("GET", f"/v1/tasks?{query}"), 422, field)

    async def test_the_whole_life_of_a_task(self, house: House) -> None:
        task = await house.submit(input={"title": "hello"})
        await house.work()

        shown = (await house.ask("GET", f"/v1/tasks/{task}")).json()
        story = (await house.ask("GET", f"/v1/tasks/{task}/history")).json()

        assert (shown["status"], shown["result"], shown["cost_micro"]) == (
            "completed",
            {"title": "hello"},
            10_000,
        )
        assert story["why"] == "It is completed; its cost is $0.010000."
        assert [execution["status"] for execution in story["executions"]] == ["succeeded"]

    async def test_the_live_status_is_polled_by_its_tag(self, house: House) -> None:
        task = await house.submit()
        first = await house.ask("GET", f"/v1/tasks/{task}/status")
        tag = first.headers["etag"]
        for header in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
            same = await house.ask("GET", f"/v1/tasks/{task}/status", headers={"If-None-Match": header})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)

        await house.work()

        moved = await house.ask("GET", f"/v1/tasks/{task}/status", headers={"If-None-Match": tag})
        assert (moved.status_code, moved.json()["status"]) == (200, "completed")
        assert moved.headers["etag"] != tag
        assert moved.headers["cache-control"] == "private, no-cache"

    async def test_cancelling_twice_changes_nothing_more(self, house: House) -> None:
        task = await house.submit()

        for _ in range(2):
            response = await house.ask("POST", f"/v1/tasks/{task}/cancel")
            assert response.json() == {"id": task, "status": "cancelled"}

        audit = (await house.ask("GET", f"/v1/tasks/{task}/history")).json()["audit"]
        assert [(each["event"], each["actor"]) for each in audit] == [
            ("cancelled", f"key {key_id(house, 'member')}")
        ]

    async def test_a_finished_task_cannot_be_cancelled_and_an_open_one_cannot_be_retried(
        self, house: House
    ) -> None:
        task = await house.submit()
        refused(await house.ask("POST", f"/v1/tasks/{task}/retry"), 409)
        await house.work()

        refused(await house.ask("POST", f"/v1/tasks/{task}/cancel"), 409)
        again = await house.ask("POST", f"/v1/tasks/{task}/retry")

        assert again.status_code == 201
        assert again.headers["location"] == f"/v1/tasks/{again.json()['id']}"
        assert (await house.ask("GET", f"/v1/tasks/{again.json()['id']}")).json()["retry_of"] == task

    async def test_a_retry_that_is_asked_for_twice_is_one_task_until_it_has_ended(self, house: House) -> None:
        """The answer to the first may have been lost, and both would be paid for."""
        task = await house.submit()
        await house.work()

        first = await house.ask("POST", f"/v1/tasks/{task}/retry")
        second = await house.ask("POST", f"/v1/tasks/{task}/retry")
        await house.work()
        third = await house.ask("POST", f"/v1/tasks/{task}/retry")

        assert [each.status_code for each in (first, second, third)] == [201, 200, 201]
        assert second.json() == first.json() | {"created": False}
        assert third.json()["id"] != first.json()["id"]

    async def test_an_operator_cancels_and_retries_for_every_organization(self, house: House) -> None:
        task = await house.submit()

        assert (await house.ask("POST", f"/v1/tasks/{task}/cancel", key="operator")).status_code == 200
        assert (await house.ask("POST", f"/v1/tasks/{task}/retry", key="operator")).status_code == 201

    @pytest.mark.parametrize("by", ["org", "profile", "provider", "template", "day"])
    async def test_costs(self, house: House, by: str) -> None:
        await house.submit()
        await house.work()

        (ours,) = (await house.ask("GET", f"/v1/costs?by={by}")).json()["costs"]
        foreign = (await house.ask("GET", f"/v1/costs?by={by}", key="foreign")).json()["costs"]
        later = (await house.ask("GET", f"/v1/costs?by={by}&since=2099-01-01")).json()["costs"]

        assert (ours["executions"], ours["cost_micro"]) == (1, 10_000)
        assert (foreign, later) == ([], [])

    @pytest.mark.parametrize(
        ("query", "field"), [("by=colour", "by"), ("since=yesterday", "since"), ("since=", "since")]
    )
    async def test_costs_with_a_wrong_query(self, house: House, query: str, field: str) -> None:
        refused(await house.ask("GET", f"/v1/costs?{query}"), 422, field)


def key_id(house: House, role: str) -> str:
    return house.keys[role].split("_")[1]
