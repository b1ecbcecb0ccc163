"""The API of administration on every host: templates, budgets, organizations, the stop, the tick, the document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.web.app import OPERATIONS
from tests.contracts.house import Furnished, House, budget, described, refused, stage, template


class TemplatesContract(Furnished):
    """Templates and budgets."""

    async def test_a_template_can_be_put_as_it_is_shown(self, house: House) -> None:
        made = await house.ask("POST", "/v1/templates", template(name="new", prompt="{{title}}"), key="admin")
        place = made.headers["location"]
        assert (made.status_code, place) == (201, f"/v1/templates/{made.json()['id']}")

        shown = await house.ask("GET", place, key="reader")
        written = await house.ask("PUT", place, {**shown.json(), "name": "newer"}, key="admin")

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
            ({"route": {"stages": [stage("ai", "unknown")]}}, "route.stages[0].candidates[0].profile"),
            ({"route": {"stages": [stage("human", "echo")]}}, "route.stages[0].candidates[0].profile"),
            (
                {"route": {"stages": [stage("ai", "echo", colour=1)]}},
                "route.stages[0].candidates[0].settings.colour",
            ),
            ({"limits": {"attempts": 0}}, "limits.attempts"),
            ({"name": ""}, "name"),
        ],
    )
    async def test_a_wrong_template(self, house: House, change: dict[str, Any], field: str) -> None:
        refused(await house.ask("POST", "/v1/templates", template(**change), key="admin"), 422, field)

    @pytest.mark.parametrize("value", [[], "x", 1, True])
    async def test_a_body_that_is_not_an_object(self, house: House, value: object) -> None:
        refused(await house.ask("POST", "/v1/templates", value, key="admin"), 422)
        refused(await house.ask("POST", "/v1/budgets", value, key="admin"), 422)
        if not isinstance(value, list):
            refused(await house.ask("POST", "/v1/tasks", value), 422)

    async def test_a_template_is_put_where_it_stands(self, house: House) -> None:
        path = f"/v1/templates/{house.template}"
        refused(await house.ask("PUT", path, template(id=house.foreign_template), key="admin"), 422, "id")
        refused(
            await house.ask("PUT", f"/v1/templates/{house.foreign_template}", template(), key="admin"), 404
        )
        refused(await house.ask("PUT", "/v1/templates/999", template(), key="admin"), 404)
        assert (await house.ask("PUT", path, template(id=house.template), key="admin")).status_code == 200

    async def test_templates_are_listed_and_found_by_name(self, house: House) -> None:
        await house.put(name="new")

        async def listed(query: str, key: str) -> list[str]:
            response = await house.ask("GET", f"/v1/templates{query}", key=key)
            return [one["name"] for one in response.json()["templates"]]

        assert await listed("", "reader") == ["echo", "new"]
        assert await listed("?name=new", "reader") == ["new"]
        assert await listed("?name=new", "foreign") == []
        assert await listed("", "operator") == ["echo", "echo", "new"]
        assert await listed(f"?organization={house.ours}", "operator") == ["echo", "new"]

    async def test_a_budget_is_set_shown_and_changed(self, house: House) -> None:
        made = await house.ask("POST", "/v1/budgets", budget(house.ours, cap=0.1), key="admin")
        place = made.headers["location"]
        assert (made.status_code, made.json()["cap_micro"]) == (200, 100_000)

        changed = await house.ask("PUT", place, budget(house.ours, cap="2", refused="fail"), key="admin")
        listed = (await house.ask("GET", "/v1/budgets", key="reader")).json()["budgets"]

        assert (changed.json()["cap_micro"], changed.json()["refused"]) == (2_000_000, "fail")
        assert listed == [(await house.ask("GET", place, key="reader")).json()] == [changed.json()]
        again = await house.ask("POST", "/v1/budgets", budget(house.ours, cap="3"), key="admin")
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
    async def test_a_wrong_budget(self, house: House, change: dict[str, Any], field: str) -> None:
        scope_id = house.foreign_template if change.get("scope") == "template" else house.ours
        value = {**budget(scope_id), **change}

        refused(await house.ask("POST", "/v1/budgets", value, key="admin"), 422, field)


class OrganizationsContract(Furnished):
    """Organizations and their people."""

    async def test_an_operator_adds_an_organization(self, house: House) -> None:
        made = await house.ask("POST", "/v1/organizations", {"name": "new"}, key="operator")

        assert (made.status_code, made.json()) == (201, {"id": made.json()["id"], "name": "new"})
        for query, key, names in (
            ("", "operator", ["ours", "theirs", "new"]),
            ("?name=new", "operator", ["new"]),
            ("?name=unknown", "operator", []),
            (f"?organization={house.theirs}", "operator", ["theirs"]),
            ("", "reader", ["ours"]),
            ("?name=theirs", "reader", []),
        ):
            response = await house.ask("GET", f"/v1/organizations{query}", key=key)
            assert [one["name"] for one in response.json()["organizations"]] == names

    async def test_a_person_gets_tasks_by_their_address(self, house: House) -> None:
        person = {"email": "ada@ours.example", "name": "Ada"}
        made = await house.ask("POST", "/v1/users", person, key="admin")
        ada = {"id": made.json()["id"], "organization": house.ours, "email": "ada@ours.example"}
        assert (made.status_code, made.json()) == (201, ada)
        await house.ask("POST", f"/v1/users?organization={house.theirs}", person, key="operator")

        for whom in ("ada@ours.example", ada["id"]):
            task = await house.submit(assigned_to=whom)
            assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["assigned_to"] == ada["id"]
        for stranger in ("eve@ours.example", 999):
            value = {"template": "echo", "title": "x", "assigned_to": stranger}
            refused(await house.ask("POST", "/v1/tasks", value), 422, "assigned_to")

    @pytest.mark.parametrize("name", ["", " ", "\0", "x" * 201, None, 7, ["x"]])
    async def test_a_wrong_name(self, house: House, name: object) -> None:
        value = {"name": name}
        refused(await house.ask("POST", "/v1/organizations", value, key="operator"), 422, "name")
        refused(await house.ask("POST", "/v1/users", {**value, "email": "a"}, key="admin"), 422, "name")

    async def test_old_tasks_are_adopted_by_their_own_organization(self, house: House) -> None:
        task = await house.submit()
        await house.rows("UPDATE tasks SET blocked_by = 'adopt', run_at_ms = 9007199254740990")

        adopted = [(await house.ask("POST", "/v1/adopt", key=key)).json() for key in ("foreign", "admin")]

        assert [one["adopted"] for one in adopted] == [0, 1]
        await house.work()
        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"


class OperationContract(Furnished):
    """The stop, the tick, the doctor, health and the document."""

    async def test_the_doctor_shows_an_operator_everything(self, house: House) -> None:
        await house.rows("DROP TRIGGER tasks_finished")

        findings = (await house.ask("GET", "/v1/doctor", key="operator")).json()["findings"]

        (error,) = [one["what"] for one in findings if one["level"] == "error"]
        assert error.startswith("trigger tasks_finished is missing")
        assert len(findings) > 5

    async def test_an_operator_stops_all_spending_and_lets_it_go_on(self, house: House) -> None:
        async def stop(method: str, value: object = None, key: str = "operator") -> Any:
            response = await house.ask(method, "/v1/stop", value, key=key)
            return response.json() if response.status_code == 200 else response.status_code

        assert await stop("GET") == {"stop": None}
        assert await stop("PUT", {"reason": "no"}, "admin") == 403
        assert await stop("PUT", {"reason": ""}) == 422
        held = await stop("PUT", {"reason": "a runaway loop"})
        assert held["stop"]["reason"] == "a runaway loop"
        assert await stop("PUT", {"reason": "again"}) == held == await stop("GET")
        task = await house.submit()
        await house.work()
        history = (await house.ask("GET", f"/v1/tasks/{task}/history")).json()
        assert (history["task"]["status"], history["executions"]) == ("pending", [])
        assert "a runaway loop" in history["why"]
        findings = (await house.ask("GET", "/v1/doctor", key="operator")).json()["findings"]
        assert any("all spending is stopped" in one["what"] for one in findings)

        assert await stop("DELETE") == {"resumed": True}
        await house.work()

        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"
        assert await stop("DELETE") == {"resumed": False}

    async def test_a_tick_rings_for_what_is_due(self, house: House) -> None:
        await house.submit()
        before = len(house.queue.sent)

        response = await house.ask("POST", "/tick", key="operator")

        assert (response.json()["due"], response.json()["rung"]) == (1, 1)
        assert len(house.queue.sent) == before + 1

    async def test_health(self, house: House) -> None:
        response = await house.ask("GET", "/healthz", key=None)

        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    async def test_a_database_that_lost_a_trigger_is_not_healthy(self, house: House) -> None:
        await house.rows("DROP TRIGGER tasks_finished")
        await house.rows("DROP INDEX tasks_due")

        problem = refused(await house.ask("GET", "/healthz", key=None), 503, "database", "database")
        swept = await house.ask("POST", "/tick", key="operator")

        assert "trigger tasks_finished is missing" in json.dumps(problem)
        assert "index tasks_due is missing" in json.dumps(problem)
        refused(swept, 503)
        assert swept.headers["retry-after"] == "5"

    async def test_the_document_names_every_address(self, house: House) -> None:
        document = (await house.ask("GET", "/openapi.json", key=None)).json()

        assert document == described()
        described_ = {(method, path) for path, methods in document["paths"].items() for method in methods}
        assert described_ == {(operation.method.lower(), operation.path) for operation in OPERATIONS}
        names = [each["operationId"] for methods in document["paths"].values() for each in methods.values()]
        assert len(names) == len(set(names))
        for schemas in document["components"]["schemas"].values():
            for reference in json.dumps(schemas).split('"$ref": "')[1:]:
                assert reference.split('"')[0].split("/")[-1] in document["components"]["schemas"]

    async def test_the_pages_that_say_what_this_is(self, house: House) -> None:
        home = await house.ask("GET", "/", key=None)
        problems = await house.ask("GET", "/problems", key=None)

        assert (home.status_code, problems.status_code) == (200, 200)
        assert "BizQ Task Worker" in home.text
        kind = (await house.ask("GET", "/v1/tasks", key=None)).json()["type"]
        assert f'id="{kind.partition("#")[2]}"' in problems.text
