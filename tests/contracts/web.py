"""What the API must do on every host: roles, tasks, costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.ports import MAX_INTEGER
from consumer.service import admin
from consumer.service.keys import revoke_key
from consumer.web.app import OPERATIONS
from tests.support.deployment import ROLES, Deployment, DeploymentSuite, budget, refused, template

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
    """An address of an operation, with the id of a missing row."""
    return operation.path.replace("{id}", "999999")


class KeysContract(DeploymentSuite):
    """Roles of keys."""

    async def test_a_request_without_a_key_is_refused(self, deployment: Deployment) -> None:
        for operation in GUARDED:
            response = await deployment.ask(operation.method, place(operation), key=None)
            refused(response, 401)
            assert response.headers["www-authenticate"] == 'Bearer realm="bizq"'

    async def test_each_lower_role_is_refused(self, deployment: Deployment) -> None:
        for operation in GUARDED:
            for role in ROLES[: ROLES.index(str(operation.role))]:
                refused(await deployment.ask(operation.method, place(operation), {}, key=role), 403)

    async def test_each_sufficient_role_is_accepted(self, deployment: Deployment) -> None:
        for operation in GUARDED:
            for role in ROLES[ROLES.index(str(operation.role)) :]:
                response = await deployment.ask(operation.method, place(operation), {}, key=role)
                assert response.status_code in (200, 404, 422), (operation.path, role, response.text)

    async def test_a_malformed_key_is_refused(self, deployment: Deployment) -> None:
        for authorization in NO_KEYS:
            headers = {"Authorization": authorization.encode("latin-1")}
            refused(await deployment.ask("GET", "/v1/tasks", key=None, headers=headers), 401)

    async def test_a_wrong_secret_and_a_revoked_key_are_refused(self, deployment: Deployment) -> None:
        key = deployment.keys["reader"]
        wrong = key[:-1] + ("1" if key[-1] == "0" else "0")
        refused(await deployment.ask("GET", "/v1/tasks", key=wrong), 401)

        await revoke_key(deployment.world, key)

        refused(await deployment.ask("GET", "/v1/tasks", key=key), 401)

    async def test_the_authorization_scheme_ignores_case(self, deployment: Deployment) -> None:
        headers = {"Authorization": f"bEARER {deployment.keys['reader']}"}

        assert (await deployment.ask("GET", "/v1/tasks", key=None, headers=headers)).status_code == 200

    async def test_another_organization_s_row_is_answered_exactly_as_a_missing_one(
        self, deployment: Deployment
    ) -> None:
        task = await deployment.submit()
        own = await admin.put_budget(deployment.world, deployment.ours, budget(deployment.ours), "test")
        requests: list[tuple[str, str, int, Any]] = [
            *(("GET", f"/v1/tasks/{{}}{rest}", task, None) for rest in ("", "/history", "/status")),
            *(("POST", f"/v1/tasks/{{}}/{what}", task, None) for what in ("cancel", "retry")),
            ("GET", "/v1/templates/{}", deployment.template, None),
            ("PUT", "/v1/templates/{}", deployment.template, template()),
            ("GET", "/v1/budgets/{}", own, None),
        ]
        for method, path, number, body in requests:
            foreign = refused(await deployment.ask(method, path.format(number), body, key="foreign"), 404)
            missing = refused(await deployment.ask(method, path.format(987654), body, key="foreign"), 404)
            assert json.dumps(foreign).replace(f" {number}", " 987654") == json.dumps(missing)
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "pending"

    async def test_another_organization_s_budget_is_not_changed(self, deployment: Deployment) -> None:
        own = await admin.put_budget(deployment.world, deployment.ours, budget(deployment.ours), "test")

        for scope in (deployment.ours, deployment.theirs):
            response = await deployment.ask(
                "PUT", f"/v1/budgets/{own}", budget(scope, cap="9"), key="foreign"
            )
            assert response.status_code in (404, 422)

        assert (await deployment.ask("GET", f"/v1/budgets/{own}")).json()["cap_micro"] == 1_500_000

    async def test_lists_show_only_rows_of_the_callers_organization(self, deployment: Deployment) -> None:
        await deployment.submit()
        counted = {
            key: (await deployment.ask("GET", "/v1/counts", key=key)).json()
            for key in ("operator", "reader", "foreign")
        }
        assert counted["reader"] == counted["operator"] == {
            "total": 1, "tasks": {"pending": 1}, "more": False,
        }  # fmt: skip
        assert counted["foreign"] == {"total": 0, "tasks": {}, "more": False}
        await admin.put_budget(deployment.world, deployment.ours, budget(deployment.ours), "test")

        assert (await deployment.ask("GET", "/v1/tasks", key="foreign")).json()["tasks"] == []
        assert (await deployment.ask("GET", "/v1/budgets", key="foreign")).json()["budgets"] == []
        assert len((await deployment.ask("GET", "/v1/tasks", key="operator")).json()["tasks"]) == 1
        for organization, count in ((deployment.ours, 1), (deployment.theirs, 0)):
            response = await deployment.ask("GET", f"/v1/tasks?organization={organization}", key="operator")
            assert len(response.json()["tasks"]) == count

    async def test_only_an_operator_names_another_organization(self, deployment: Deployment) -> None:
        for other in (deployment.theirs, 999, MAX_INTEGER):
            refused(await deployment.ask("GET", f"/v1/tasks?organization={other}"), 403)
        assert (await deployment.ask("GET", f"/v1/tasks?organization={deployment.ours}")).status_code == 200

    @pytest.mark.parametrize("path", ["/v1/tasks", "/v1/templates", "/v1/budgets"])
    async def test_an_operator_must_name_the_organization_to_write(
        self, deployment: Deployment, path: str
    ) -> None:
        for query in ("", "?organization=999", "?organization=0", "?organization=x", "?organization="):
            refused(await deployment.ask("POST", path + query, {}, key="operator"), 422, "organization")

    async def test_an_operator_names_the_organization_of_each_task(self, deployment: Deployment) -> None:
        """By id or by name, in one submission that is accepted or refused as a whole."""
        tasks = [
            {"template": "echo", "title": "x", "organization": name} for name in ("theirs", deployment.ours)
        ]
        wrong = [*tasks, {**tasks[0], "organization": "missing"}, {"template": "echo", "title": "x"}]

        refused(
            await deployment.ask("POST", "/v1/tasks", wrong, key="operator"),
            422,
            "tasks[3].organization",
            "tasks[2].organization",
        )
        assert await deployment.rows("SELECT id FROM tasks") == []
        made = (await deployment.ask("POST", "/v1/tasks", tasks, key="operator")).json()["tasks"]

        rows = await deployment.rows("SELECT id, organization_id, template_id FROM tasks ORDER BY id")
        assert {row["id"]: row["organization_id"] for row in rows} == {
            made[0]["id"]: deployment.theirs,
            made[1]["id"]: deployment.ours,
        }
        assert {row["template_id"] for row in rows} == {deployment.template, deployment.foreign_template}

    async def test_a_key_writes_for_no_other_organization(self, deployment: Deployment) -> None:
        """A caller cannot distinguish an organization of others from a missing one."""
        value = {"template": "echo", "title": "x"}
        answers = [
            refused(
                await deployment.ask("POST", "/v1/tasks", {**value, "organization": other}),
                422,
                "organization",
            )
            for other in ("theirs", "missing", deployment.theirs, 999)
        ]
        assert len({json.dumps(answer) for answer in answers}) == 1
        for own in ("ours", deployment.ours):
            made = await deployment.ask("POST", "/v1/tasks", {**value, "organization": own})
            assert made.status_code == 201

    async def test_the_same_key_of_two_organizations_makes_two_tasks(self, deployment: Deployment) -> None:
        tasks = [
            {"template": "echo", "title": "x", "organization": name, "idempotency_key": "same"}
            for name in ("theirs", "ours")
        ]
        for created in (True, False):
            made = (await deployment.ask("POST", "/v1/tasks", tasks, key="operator")).json()["tasks"]
            assert [one["created"] for one in made] == [created] * 2
            assert made[0]["id"] != made[1]["id"]

    async def test_an_operator_writes_for_the_organization_that_it_names(
        self, deployment: Deployment
    ) -> None:
        value = {"template": deployment.template, "title": "for them"}
        made = await deployment.ask(
            "POST", f"/v1/tasks?organization={deployment.ours}", value, key="operator"
        )

        shown = await deployment.ask("GET", f"/v1/tasks/{made.json()['id']}", key="operator")

        assert shown.json()["organization_id"] == deployment.ours


class TasksContract(DeploymentSuite):
    """Submitting, reading, cancelling, retrying, and costs."""

    async def test_one_task_is_made(self, deployment: Deployment) -> None:
        value = {"template": "echo", "title": "a task", "input": {"title": "x"}, "priority": "high"}

        response = await deployment.ask("POST", "/v1/tasks", value)

        number = response.json()["id"]
        assert response.status_code == 201
        assert response.json() == {"id": number, "status": "pending", "created": True}
        assert response.headers["location"] == f"/v1/tasks/{number}"
        shown = (await deployment.ask("GET", f"/v1/tasks/{number}", key="reader")).json()
        expected = {"title": "a task", "input": {"title": "x"}, "priority": "high", "status": "pending"}
        assert {name: shown[name] for name in expected} == expected

    async def test_several_tasks_are_made_together_or_not_at_all(self, deployment: Deployment) -> None:
        good = {"template": deployment.template, "title": "good"}
        bad = [
            {"template": deployment.template},
            {"template": 999, "title": "x"},
            good,
            {**good, "colour": "red"},
        ]

        problem = refused(await deployment.ask("POST", "/v1/tasks", [good, *bad]), 422)

        named = {error["field"] for error in problem["errors"]}
        assert named == {"tasks[1].title", "tasks[2].template", "tasks[4].colour"}
        assert (await deployment.ask("GET", "/v1/tasks")).json()["tasks"] == []
        response = await deployment.ask("POST", "/v1/tasks", [good, good])
        assert response.status_code == 201
        assert len({task["id"] for task in response.json()["tasks"]}) == 2

    async def test_a_key_makes_a_task_once(self, deployment: Deployment) -> None:
        value = {"template": deployment.template, "title": "a task", "idempotency_key": "k"}

        first, again = [await deployment.ask("POST", "/v1/tasks", value) for _ in range(2)]
        both = await deployment.ask("POST", "/v1/tasks", [value, {**value, "idempotency_key": "l"}])

        assert (first.status_code, again.status_code, both.status_code) == (201, 200, 201)
        assert again.json() == {**first.json(), "created": False}
        assert [task["created"] for task in both.json()["tasks"]] == [False, True]

    async def test_a_list_has_pages(self, deployment: Deployment) -> None:
        value = {"template": deployment.template, "title": "a task"}
        made = (await deployment.ask("POST", "/v1/tasks", [value] * 120)).json()["tasks"]

        found: list[int] = []
        query: str | None = ""
        pages = 0
        while query is not None:
            page = (await deployment.ask("GET", f"/v1/tasks{query}")).json()
            found += [task["id"] for task in page["tasks"]]
            query = f"?cursor={page['cursor']}" if page["cursor"] else None
            pages += 1

        assert found == sorted((task["id"] for task in made), reverse=True)
        assert pages == 3

    async def test_a_list_can_be_filtered_by_status(self, deployment: Deployment) -> None:
        task = await deployment.submit()
        await deployment.ask("POST", f"/v1/tasks/{await deployment.submit()}/cancel")

        for status, count in (("pending", 1), ("cancelled", 1), ("running", 0)):
            page = (await deployment.ask("GET", f"/v1/tasks?status={status}")).json()
            assert len(page["tasks"]) == count, status
        assert (await deployment.ask("GET", "/v1/tasks?status=pending")).json()["tasks"][0]["id"] == task

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
    async def test_an_invalid_query_for_tasks_is_refused(
        self, deployment: Deployment, query: str, field: str
    ) -> None:
        refused(await deployment.ask("GET", f"/v1/tasks?{query}"), 422, field)

    async def test_a_task_can_be_made_done_and_read(self, deployment: Deployment) -> None:
        task = await deployment.submit(input={"title": "hello"})
        await deployment.work()

        shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
        story = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()

        assert (shown["status"], shown["result"], shown["cost_micro"]) == (
            "completed",
            {"title": "hello"},
            10_000,
        )
        assert story["why"] == "It is completed; its cost is $0.010000."
        assert [execution["status"] for execution in story["executions"]] == ["succeeded"]

    async def test_an_unchanged_live_status_is_not_sent_again(self, deployment: Deployment) -> None:
        task = await deployment.submit()
        first = await deployment.ask("GET", f"/v1/tasks/{task}/status")
        tag = first.headers["etag"]
        for header in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
            same = await deployment.ask("GET", f"/v1/tasks/{task}/status", headers={"If-None-Match": header})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)

        await deployment.work()

        moved = await deployment.ask("GET", f"/v1/tasks/{task}/status", headers={"If-None-Match": tag})
        assert (moved.status_code, moved.json()["status"]) == (200, "completed")
        assert moved.headers["etag"] != tag
        assert moved.headers["cache-control"] == "private, no-cache"

    async def test_a_second_cancel_changes_nothing(self, deployment: Deployment) -> None:
        task = await deployment.submit()

        for _ in range(2):
            response = await deployment.ask("POST", f"/v1/tasks/{task}/cancel")
            assert response.json() == {"id": task, "status": "cancelled"}

        audit = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()["audit"]
        assert [(each["event"], each["actor"]) for each in audit] == [
            ("cancelled", f"key {key_id(deployment, 'member')}")
        ]

    async def test_ended_tasks_are_not_cancelled_and_open_ones_not_retried(
        self, deployment: Deployment
    ) -> None:
        task = await deployment.submit()
        refused(await deployment.ask("POST", f"/v1/tasks/{task}/retry"), 409)
        await deployment.work()

        refused(await deployment.ask("POST", f"/v1/tasks/{task}/cancel"), 409)
        again = await deployment.ask("POST", f"/v1/tasks/{task}/retry")

        assert again.status_code == 201
        assert again.headers["location"] == f"/v1/tasks/{again.json()['id']}"
        assert (await deployment.ask("GET", f"/v1/tasks/{again.json()['id']}")).json()["retry_of"] == task

    async def test_two_requests_for_a_retry_make_one_task_until_it_has_ended(
        self, deployment: Deployment
    ) -> None:
        """The response to the first request may have been lost, and both tasks would be paid for."""
        task = await deployment.submit()
        await deployment.work()

        first = await deployment.ask("POST", f"/v1/tasks/{task}/retry")
        second = await deployment.ask("POST", f"/v1/tasks/{task}/retry")
        await deployment.work()
        third = await deployment.ask("POST", f"/v1/tasks/{task}/retry")

        assert [each.status_code for each in (first, second, third)] == [201, 200, 201]
        assert second.json() == first.json() | {"created": False}
        assert third.json()["id"] != first.json()["id"]

    async def test_an_operator_cancels_and_retries_for_every_organization(
        self, deployment: Deployment
    ) -> None:
        task = await deployment.submit()

        assert (await deployment.ask("POST", f"/v1/tasks/{task}/cancel", key="operator")).status_code == 200
        assert (await deployment.ask("POST", f"/v1/tasks/{task}/retry", key="operator")).status_code == 201

    @pytest.mark.parametrize("by", ["org", "profile", "provider", "template", "day"])
    async def test_costs_are_summed_by_key(self, deployment: Deployment, by: str) -> None:
        await deployment.submit()
        await deployment.work()

        (ours,) = (await deployment.ask("GET", f"/v1/costs?by={by}")).json()["costs"]
        foreign = (await deployment.ask("GET", f"/v1/costs?by={by}", key="foreign")).json()["costs"]
        later = (await deployment.ask("GET", f"/v1/costs?by={by}&since=2099-01-01")).json()["costs"]

        assert (ours["executions"], ours["cost_micro"]) == (1, 10_000)
        assert (foreign, later) == ([], [])

    @pytest.mark.parametrize(
        ("query", "field"), [("by=colour", "by"), ("since=yesterday", "since"), ("since=", "since")]
    )
    async def test_an_invalid_query_for_costs_is_refused(
        self, deployment: Deployment, query: str, field: str
    ) -> None:
        refused(await deployment.ask("GET", f"/v1/costs?{query}"), 422, field)


def key_id(deployment: Deployment, role: str) -> str:
    return deployment.keys[role].split("_")[1]
