"""Templates, budgets, organizations, the doctor, the stop and the documents, on every host."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.web.app import OPERATIONS
from tests.support.deployment import Deployment, DeploymentSuite, budget, described, refused, stage, template


class TemplatesContract(DeploymentSuite):
    """Templates and budgets."""

    async def test_a_shown_template_can_be_put_again(self, deployment: Deployment) -> None:
        made = await deployment.ask(
            "POST", "/v1/templates", template(name="new", prompt="{{title}}"), key="admin"
        )
        place = made.headers["location"]
        assert (made.status_code, place) == (201, f"/v1/templates/{made.json()['id']}")

        shown = await deployment.ask("GET", place, key="reader")
        written = await deployment.ask("PUT", place, {**shown.json(), "name": "newer"}, key="admin")

        assert written.json() == {**shown.json(), "name": "newer"}
        assert written.headers["etag"] != shown.headers["etag"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"id": 1}, "id"),
            ({"organization_id": 999}, "organization_id"),
            ({"colour": "red"}, "colour"),
            ({"output_schema": {"type": "array"}}, "output_schema.type"),
            ({"route": {"stages": []}}, "route.stages"),
            ({"route": {"stages": [stage("ai", "missing")]}}, "route.stages[0].candidates[0].profile"),
            ({"route": {"stages": [stage("human", "echo")]}}, "route.stages[0].candidates[0].profile"),
            (
                {"route": {"stages": [stage("ai", "echo", colour=1)]}},
                "route.stages[0].candidates[0].settings.colour",
            ),
            ({"limits": {"attempts": 0}}, "limits.attempts"),
            ({"name": ""}, "name"),
        ],
    )
    async def test_an_invalid_template_is_refused(
        self, deployment: Deployment, change: dict[str, Any], field: str
    ) -> None:
        refused(await deployment.ask("POST", "/v1/templates", template(**change), key="admin"), 422, field)

    @pytest.mark.parametrize("value", [[], "x", 1, True])
    async def test_a_body_that_is_not_an_object_is_refused(
        self, deployment: Deployment, value: object
    ) -> None:
        refused(await deployment.ask("POST", "/v1/templates", value, key="admin"), 422)
        refused(await deployment.ask("POST", "/v1/budgets", value, key="admin"), 422)
        if not isinstance(value, list):
            refused(await deployment.ask("POST", "/v1/tasks", value), 422)

    async def test_a_template_is_put_at_its_own_address(self, deployment: Deployment) -> None:
        path = f"/v1/templates/{deployment.template}"
        refused(
            await deployment.ask("PUT", path, template(id=deployment.foreign_template), key="admin"),
            422,
            "id",
        )
        refused(
            await deployment.ask(
                "PUT", f"/v1/templates/{deployment.foreign_template}", template(), key="admin"
            ),
            404,
        )
        refused(await deployment.ask("PUT", "/v1/templates/999", template(), key="admin"), 404)
        assert (
            await deployment.ask("PUT", path, template(id=deployment.template), key="admin")
        ).status_code == 200

    async def test_templates_are_listed_and_found_by_name(self, deployment: Deployment) -> None:
        await deployment.put(name="new")

        async def listed(query: str, key: str) -> list[str]:
            response = await deployment.ask("GET", f"/v1/templates{query}", key=key)
            return [one["name"] for one in response.json()["templates"]]

        assert await listed("", "reader") == ["echo", "new"]
        assert await listed("?name=new", "reader") == ["new"]
        assert await listed("?name=new", "foreign") == []
        assert await listed("", "operator") == ["echo", "echo", "new"]
        assert await listed(f"?organization={deployment.ours}", "operator") == ["echo", "new"]

    async def test_a_budget_is_set_shown_and_changed(self, deployment: Deployment) -> None:
        made = await deployment.ask("POST", "/v1/budgets", budget(deployment.ours, cap=0.1), key="admin")
        place = made.headers["location"]
        assert (made.status_code, made.json()["cap_micro"]) == (200, 100_000)

        changed = await deployment.ask(
            "PUT", place, budget(deployment.ours, cap="2", refused="fail"), key="admin"
        )
        listed = (await deployment.ask("GET", "/v1/budgets", key="reader")).json()["budgets"]

        assert (changed.json()["cap_micro"], changed.json()["refused"]) == (2_000_000, "fail")
        assert listed == [(await deployment.ask("GET", place, key="reader")).json()] == [changed.json()]
        again = await deployment.ask("POST", "/v1/budgets", budget(deployment.ours, cap="3"), key="admin")
        assert (again.json()["id"], again.json()["cap_micro"]) == (made.json()["id"], 3_000_000)

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"scope_id": 999}, "scope_id"),
            ({"scope": "template"}, "scope_id"),
            ({"scope": "planet"}, "scope"),
            ({"period": "week"}, "period"),
            ({"cap": "-1"}, "cap"),
            ({"cap": "NaN"}, "cap"),
            ({"cap": "Infinity"}, "cap"),
            ({"cap": "1e12"}, "cap"),
            ({"cap": None}, "cap"),
            ({"refused": "shrug"}, "refused"),
        ],
    )
    async def test_an_invalid_budget_body_is_refused(
        self, deployment: Deployment, change: dict[str, Any], field: str
    ) -> None:
        scope_id = deployment.foreign_template if change.get("scope") == "template" else deployment.ours
        value = {**budget(scope_id), **change}

        refused(await deployment.ask("POST", "/v1/budgets", value, key="admin"), 422, field)


class OrganizationsContract(DeploymentSuite):
    """Organizations and their people."""

    async def test_an_operator_adds_an_organization(self, deployment: Deployment) -> None:
        made = await deployment.ask("POST", "/v1/organizations", {"name": "new"}, key="operator")

        assert (made.status_code, made.json()) == (201, {"id": made.json()["id"], "name": "new"})
        for query, key, names in (
            ("", "operator", ["ours", "theirs", "new"]),
            ("?name=new", "operator", ["new"]),
            ("?name=missing", "operator", []),
            (f"?organization={deployment.theirs}", "operator", ["theirs"]),
            ("", "reader", ["ours"]),
            ("?name=theirs", "reader", []),
        ):
            response = await deployment.ask("GET", f"/v1/organizations{query}", key=key)
            assert [one["name"] for one in response.json()["organizations"]] == names

    async def test_a_person_gets_tasks_by_their_address(self, deployment: Deployment) -> None:
        person = {"email": "ada@ours.example", "name": "Ada"}
        made = await deployment.ask("POST", "/v1/users", person, key="admin")
        ada = {"id": made.json()["id"], "organization": deployment.ours, "email": "ada@ours.example"}
        assert (made.status_code, made.json()) == (201, ada)
        await deployment.ask("POST", f"/v1/users?organization={deployment.theirs}", person, key="operator")

        for whom in ("ada@ours.example", ada["id"]):
            task = await deployment.submit(assigned_to=whom)
            assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["assigned_to"] == ada["id"]
        for stranger in ("eve@ours.example", 999):
            value = {"template": "echo", "title": "x", "assigned_to": stranger}
            refused(await deployment.ask("POST", "/v1/tasks", value), 422, "assigned_to")

    async def test_a_name_and_an_address_belong_to_one(self, deployment: Deployment) -> None:
        person = {"email": "ada@ours.example", "name": "Ada"}
        made = await deployment.ask("POST", "/v1/users", person, key="admin")

        again = refused(
            await deployment.ask("POST", "/v1/users", {**person, "email": "Ada@ours.example"}, key="admin"),
            409,
        )
        same = refused(
            await deployment.ask("POST", "/v1/organizations", {"name": "ours"}, key="operator"), 409
        )

        assert again["detail"].startswith(f"user {made.json()['id']} of this organization has the address")
        assert same["detail"] == f"organization {deployment.ours} has the name 'ours' already"

    async def test_a_name_that_two_rows_share_names_none_of_them(self, deployment: Deployment) -> None:
        """Another application may have made both, or an earlier version of the worker.  They stay readable."""
        for _ in range(2):
            await deployment.rows("INSERT INTO organizations (name) VALUES ('twice')")
            await deployment.rows(
                "INSERT INTO users (organization_id, email) VALUES (?1, 'twice@ours.example')",
                deployment.ours,
            )

        listed = await deployment.ask("GET", "/v1/organizations?name=twice", key="operator")
        assert len(listed.json()["organizations"]) == 2
        for key, field, value in (
            ("member", "assigned_to", "twice@ours.example"),
            ("operator", "organization", "twice"),
        ):
            task = {"template": "echo", "title": "x", "organization": deployment.ours, field: value}
            problem = refused(await deployment.ask("POST", "/v1/tasks", task, key=key), 422, field)
            assert "share the name" in problem["detail"]

    @pytest.mark.parametrize("name", ["", " ", "\0", "x" * 201, None, 7, ["x"]])
    async def test_an_invalid_name_is_refused(self, deployment: Deployment, name: object) -> None:
        value = {"name": name}
        refused(await deployment.ask("POST", "/v1/organizations", value, key="operator"), 422, "name")
        refused(await deployment.ask("POST", "/v1/users", {**value, "email": "a"}, key="admin"), 422, "name")

    async def test_old_tasks_are_adopted_by_their_own_organization(self, deployment: Deployment) -> None:
        task = await deployment.submit()
        await deployment.rows("UPDATE tasks SET blocked_by = 'adopt', run_at_ms = 9007199254740990")

        adopted = [
            (await deployment.ask("POST", "/v1/adopt", key=key)).json() for key in ("foreign", "admin")
        ]

        assert [one["adopted"] for one in adopted] == [0, 1]
        await deployment.work()
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"


class OperationContract(DeploymentSuite):
    """Operations of the operator, and documents about the API."""

    async def test_the_doctor_shows_an_operator_every_finding(self, deployment: Deployment) -> None:
        await deployment.rows("DROP TRIGGER tasks_finished")

        findings = (await deployment.ask("GET", "/v1/doctor", key="operator")).json()["findings"]

        (error,) = [one["what"] for one in findings if one["level"] == "error"]
        assert error.startswith("trigger tasks_finished is missing")
        assert len(findings) > 5

    async def test_the_doctor_probes_each_profile_if_it_is_asked_to(self, deployment: Deployment) -> None:
        async def found(query: str) -> list[str]:
            response = await deployment.ask("GET", f"/v1/doctor{query}", key="operator")
            return [one["what"] for one in response.json()["findings"] if one["what"].startswith("profile ")]

        assert await found("") == await found("?probe=false") == []
        assert await found("?probe=true") == [
            f"profile {name} is not probed: {adapter} sends no requests"
            for name, adapter in (("echo", "echo"), ("inbox", "inbox"), ("other", "echo"))
        ]
        refused(await deployment.ask("GET", "/v1/doctor?probe=yes", key="operator"), 422, "probe")
        refused(await deployment.ask("GET", "/v1/doctor?probe=true", key="admin"), 403)

    async def test_an_operator_finishes_a_restore(self, deployment: Deployment) -> None:
        await deployment.put(name="greeting")

        async def ask(value: object, key: str = "operator") -> Any:
            return await deployment.ask("POST", "/v1/restore", value, key=key)

        assert (await ask({"revoke": "none"}, "admin")).status_code == 403
        refused(await ask({}), 422, "revoke")
        refused(await ask({"revoke": "some"}), 422, "revoke")
        refused(await ask({"revoke": "none", "above": 0}), 422, "above")
        done = (await ask({"revoke": "all", "above": 70})).json()
        assert (done["next"], [key["role"] for key in done["keys"]]) == (None, ["operator"])
        assert {"table": "tasks", "next": 71, "reused": False} in done["ids"]
        assert (await deployment.ask("GET", "/v1/tasks")).status_code == 401
        held = (await deployment.ask("GET", "/v1/stop", key="operator")).json()
        assert held["stop"]["reason"] == "the database was restored"

    async def test_an_operator_stops_and_resumes_all_spending(self, deployment: Deployment) -> None:
        async def stop(method: str, value: object = None, key: str = "operator") -> Any:
            response = await deployment.ask(method, "/v1/stop", value, key=key)
            return response.json() if response.status_code == 200 else response.status_code

        assert await stop("GET") == {"stop": None}
        assert await stop("PUT", {"reason": "no"}, "admin") == 403
        assert await stop("PUT", {"reason": ""}) == 422
        held = await stop("PUT", {"reason": "a runaway loop"})
        assert held["stop"]["reason"] == "a runaway loop"
        assert await stop("PUT", {"reason": "again"}) == held == await stop("GET")
        task = await deployment.submit()
        await deployment.work()
        history = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()
        assert (history["task"]["status"], history["executions"]) == ("pending", [])
        assert "a runaway loop" in history["why"]
        findings = (await deployment.ask("GET", "/v1/doctor", key="operator")).json()["findings"]
        assert any("all spending is stopped" in one["what"] for one in findings)

        assert await stop("DELETE") == {"resumed": True}
        await deployment.work()

        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"
        assert await stop("DELETE") == {"resumed": False}

    async def test_a_tick_rings_for_due_work(self, deployment: Deployment) -> None:
        await deployment.submit()
        before = len(deployment.queue.sent)

        response = await deployment.ask("POST", "/tick", key="operator")

        assert (response.json()["due"], response.json()["rung"]) == (1, 1)
        assert len(deployment.queue.sent) == before + 1

    async def test_a_healthy_deployment_says_so(self, deployment: Deployment) -> None:
        response = await deployment.ask("GET", "/healthz", key=None)

        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    async def test_a_database_that_lost_a_trigger_is_not_healthy(self, deployment: Deployment) -> None:
        await deployment.rows("DROP TRIGGER tasks_finished")
        await deployment.rows("DROP INDEX tasks_due")

        problem = refused(await deployment.ask("GET", "/healthz", key=None), 503, "database", "database")
        swept = await deployment.ask("POST", "/tick", key="operator")

        assert "trigger tasks_finished is missing" in json.dumps(problem)
        assert "index tasks_due is missing" in json.dumps(problem)
        refused(swept, 503)
        assert swept.headers["retry-after"] == "5"

    async def test_the_document_names_every_address(self, deployment: Deployment) -> None:
        document = (await deployment.ask("GET", "/openapi.json", key=None)).json()

        assert document == described()
        described_ = {(method, path) for path, methods in document["paths"].items() for method in methods}
        assert described_ == {(operation.method.lower(), operation.path) for operation in OPERATIONS}
        names = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
        assert len(names) == len(set(names))
        for schemas in document["components"]["schemas"].values():
            for reference in json.dumps(schemas).split('"$ref": "')[1:]:
                assert reference.split('"')[0].split("/")[-1] in document["components"]["schemas"]

    async def test_the_start_page_and_the_page_of_errors_are_served(self, deployment: Deployment) -> None:
        home = await deployment.ask("GET", "/", key=None)
        problems = await deployment.ask("GET", "/problems", key=None)

        assert (home.status_code, problems.status_code) == (200, 200)
        assert "BizQ Task Worker" in home.text
        kind = (await deployment.ask("GET", "/v1/tasks", key=None)).json()["type"]
        assert f'id="{kind.partition("#")[2]}"' in problems.text
