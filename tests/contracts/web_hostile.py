"""Hostile requests: text, numbers, sizes and shapes that could cause an internal error.

Each value is refused by the name of its field, or is stored and comes back unchanged; it is never an internal error.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from consumer.ports import MAX_INTEGER
from consumer.web.app import OPERATIONS
from consumer.web.request import MAX_BODY
from tests.support.deployment import Deployment, DeploymentSuite, budget, refused, stage, template
from tests.support.hostile_requests import BROKEN, NOT_JSON, NUMBERS, PLAIN, TEXTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class HostileContract(DeploymentSuite):
    """Every request gets an answer that names its faults."""

    @pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
    async def test_text_of_a_task_comes_back_as_it_was(self, deployment: Deployment, text: str) -> None:
        value = {
            "title": text,
            "description": text,
            "input": {"title": text, text: [text]},
            "idempotency_key": text,
        }
        number = await deployment.submit(None, **value)

        shown = (await deployment.ask("GET", f"/v1/tasks/{number}/history")).json()["task"]

        (stored,) = await deployment.rows("SELECT idempotency_key FROM tasks WHERE id = ?1", number)
        assert {name: {**shown, **stored}[name] for name in value} == value

    @pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
    async def test_text_that_no_row_holds_is_refused(self, deployment: Deployment, text: str) -> None:
        for name in ("title", "description", "idempotency_key", "due_date", "run_at", "template"):
            content = json.dumps({"template": deployment.template, "title": "x", name: text})
            problem = refused(await deployment.ask("POST", "/v1/tasks", content=content), 422)
            assert {error["field"].partition(".")[0] for error in problem["errors"]} == {name}

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_in_an_input_is_kept(self, deployment: Deployment, text: str) -> None:
        value = {"template": deployment.template, "title": "x", "input": {"title": text, text: text}}

        made = await deployment.ask("POST", "/v1/tasks", content=json.dumps(value))

        shown = await deployment.ask("GET", f"/v1/tasks/{made.json()['id']}")
        assert shown.json()["input"] == value["input"]

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_in_a_template_is_kept_or_refused(self, deployment: Deployment, text: str) -> None:
        schema = {"type": "object", "title": text, "properties": {text: {"enum": [text]}}}
        for name in ("name", "description", "category", "prompt", "output_schema", "input_schema"):
            value = template(**{name: schema if name.endswith("schema") else text})
            made = await deployment.ask("POST", "/v1/templates", content=json.dumps(value), key="admin")
            assert made.status_code in (201, 422), made.text
            if made.status_code == 201:
                shown = await deployment.ask("GET", made.headers["location"])
                assert shown.json()[name] == value[name]

    @pytest.mark.parametrize("text", TEXTS)
    async def test_text_is_refused_where_another_type_is_needed(
        self, deployment: Deployment, text: str
    ) -> None:
        named = template(stage("ai", text))
        settings = template(stage("ai", "echo", **{text: text}))
        for value in (named, settings, {text: text}, template(**{text: text})):
            response = await deployment.ask("POST", "/v1/templates", content=json.dumps(value), key="admin")
            refused(response, 422)
        for name in ("scope", "period", "cap", "refused", "scope_id", text):
            content = json.dumps({**budget(deployment.ours), name: text})
            problem = refused(await deployment.ask("POST", "/v1/budgets", content=content, key="admin"), 422)
            assert [error["field"] for error in problem["errors"]] == [name] or text in BROKEN.values()

    async def test_an_invalid_id_in_a_task_is_refused(self, deployment: Deployment) -> None:
        for number in NUMBERS:
            for name in ("template", "assigned_to"):
                value = {"template": deployment.template, "title": "x", name: number}
                response = await deployment.ask("POST", "/v1/tasks", value)
                if name == "assigned_to" and number is None:
                    assert response.status_code == 201
                    continue
                problem = refused(response, 422)
                assert {error["field"].partition(".")[0] for error in problem["errors"]} == {name}

    async def test_an_invalid_id_in_a_budget_or_a_template_is_refused(self, deployment: Deployment) -> None:
        for number in NUMBERS:
            wrong = {**budget(deployment.ours), "scope_id": number}
            refused(await deployment.ask("POST", "/v1/budgets", wrong, key="admin"), 422, "scope_id")
            for name in ("id", "organization_id"):
                response = await deployment.ask(
                    "POST", "/v1/templates", template(**{name: number}), key="admin"
                )
                assert response.status_code == (201 if number is None else 422), response.text

    @pytest.mark.parametrize("number", [1, 2**53 - 2], ids=["least", "most"])
    async def test_a_valid_id_of_a_missing_person_names_its_field(
        self, deployment: Deployment, number: int
    ) -> None:
        value = {"template": deployment.template, "title": "x", "assigned_to": number}

        refused(await deployment.ask("POST", "/v1/tasks", value), 422, "assigned_to")

    @pytest.mark.parametrize(
        "number",
        [
            "0",
            "-1",
            "01",
            "1.0",
            "1e3",
            "x",
            "%00",
            "1%00",
            "%D9%A1",
            "9007199254740991",
            "9" * 5000,
            "1 ",
            "1%0A",
            "'",
        ],
    )
    async def test_an_invalid_id_in_an_address_is_not_found(
        self, deployment: Deployment, number: str
    ) -> None:
        for operation in OPERATIONS:
            if "{id}" in operation.path:
                path = operation.path.replace("{id}", number)
                refused(await deployment.ask(operation.method, path, template(), key="admin"), 404)

    async def test_the_largest_id_in_an_address_is_not_found(self, deployment: Deployment) -> None:
        for operation in OPERATIONS:
            if "{id}" in operation.path:
                path = operation.path.replace("{id}", str(MAX_INTEGER))
                body = budget(deployment.ours) if "budgets" in path else template()
                refused(await deployment.ask(operation.method, path, body, key="admin"), 404)

    @pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
    async def test_a_body_that_is_not_json_is_refused(self, deployment: Deployment, content: bytes) -> None:
        for method, path in (("POST", "/v1/tasks"), ("PUT", "/v1/templates/1"), ("POST", "/v1/budgets")):
            refused(await deployment.ask(method, path, content=content, key="admin"), 400)

    async def test_a_body_may_begin_with_a_byte_order_mark(self, deployment: Deployment) -> None:
        content = f'\ufeff{{"template":{deployment.template},"title":"x"}}'.encode()
        assert (await deployment.ask("POST", "/v1/tasks", content=content)).status_code == 201

    @pytest.mark.parametrize("depth", [10, 100, 300, 900])
    async def test_nesting_is_kept_or_refused(self, deployment: Deployment, depth: int) -> None:
        nested = '{"a":' * depth + "1" + "}" * depth
        content = f'{{"template":{deployment.template},"title":"x","input":{nested}}}'

        made = await deployment.ask("POST", "/v1/tasks", content=content)

        assert made.status_code in (201, 400, 422)
        assert made.status_code == 201 or depth > 100
        if made.status_code == 201:
            number = made.json()["id"]
            await deployment.work()
            for rest in ("", "/history"):
                assert (await deployment.ask("GET", f"/v1/tasks/{number}{rest}")).status_code == 200

    async def test_a_body_announced_as_too_large_is_refused(self, deployment: Deployment) -> None:
        refused(await deployment.ask("POST", "/v1/tasks", content=b" " * (MAX_BODY + 1)), 413)
        refused(
            await deployment.ask("POST", "/v1/tasks", content=b"", headers={"Content-Length": "9" * 40}), 400
        )
        refused(await deployment.ask("POST", "/v1/tasks", content=b"", headers={"Content-Length": "x"}), 400)

    async def test_a_body_that_grows_too_large_is_refused(self, deployment: Deployment) -> None:
        sent = 0

        async def stream() -> AsyncGenerator[bytes, None]:
            nonlocal sent
            while True:
                sent += 65_536
                yield b" " * 65_536

        body = stream()
        refused(await deployment.ask("POST", "/v1/tasks", content=body), 413)
        await body.aclose()
        assert sent < MAX_BODY + 3 * 65_536

    async def test_bodies_are_accepted_up_to_exactly_the_limit(self, deployment: Deployment) -> None:
        for name, most in (("title", 500), ("description", 20_000), ("idempotency_key", 200)):
            value = {"template": deployment.template, "title": "x", name: "🧠" * most}
            assert (await deployment.ask("POST", "/v1/tasks", value)).status_code == 201
            refused(await deployment.ask("POST", "/v1/tasks", {**value, name: "🧠" * most + "x"}), 422, name)
        value = {"template": deployment.template, "title": "x"}
        assert (await deployment.ask("POST", "/v1/tasks", [value] * 1_000)).status_code == 201
        refused(await deployment.ask("POST", "/v1/tasks", [value] * 1_001), 422, "tasks")
        refused(await deployment.ask("POST", "/v1/tasks", []), 422, "tasks")
        refused(
            await deployment.ask("POST", "/v1/tasks", {**value, "input": {"a": "x" * 300_000}}), 422, "input"
        )

    async def test_a_too_long_address_is_refused(self, deployment: Deployment) -> None:
        for path in (f"/v1/tasks?status={'x' * 9_000}", f"/v1/tasks/{'9' * 9_000}", f"/inbox/{'x' * 9_000}"):
            assert (await deployment.ask("GET", path)).status_code == 414

    @pytest.mark.parametrize(
        "path",
        [
            "/v1",
            "/v1/",
            "/v1/tasks/",
            "/v1/tasks/1/",
            "/V1/tasks",
            "//v1/tasks",
            "/.env",
            "/webhooks",
            "/%00",
        ],
    )
    async def test_an_unknown_address_is_not_found(self, deployment: Deployment, path: str) -> None:
        refused(await deployment.ask("GET", path), 404)

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
    async def test_a_method_that_an_address_does_not_offer_is_refused(
        self, deployment: Deployment, method: str
    ) -> None:
        paths = {operation.path for operation in OPERATIONS}
        for path in paths:
            known = {operation.method for operation in OPERATIONS if operation.path == path}
            if method not in known:
                response = await deployment.ask(method, path.replace("{", "").replace("}", ""))
                assert response.status_code == 405
                assert known <= set(response.headers["allow"].split(", ")) <= known | {"HEAD"}

    async def test_impossible_dates_are_refused(self, deployment: Deployment) -> None:
        for name in ("due_date", "run_at", "deadline"):
            for text in (
                "9999-12-31T23:59:59-23:59",
                "2026-02-30",
                "10000-01-01",
                "tomorrow",
                "",
                "1" * 40,
                "٢٠٢٦-01-01",
            ):
                value = {"template": deployment.template, "title": "x", name: text}
                response = await deployment.ask("POST", "/v1/tasks", value)
                if text or name != "due_date":
                    assert response.status_code in (201, 422)
            for text in ("0001-01-01", "9999-12-31T23:59:59.999Z", "2026-11-21T10:00:00+14:00"):
                number = await deployment.submit(None, **{name: text})
                assert (await deployment.ask("GET", f"/v1/tasks/{number}/history")).status_code == 200

    async def test_no_mutated_request_is_an_internal_error(self, deployment: Deployment) -> None:
        """Valid requests with one part after the other replaced by something else."""
        chance = random.Random(20261121)  # noqa: S311  # so that a run can be repeated
        value = {
            **template(stage("ai", "echo", delay_ms=0), limits={"attempts": 2}, prompt="{{title}}"),
            "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        }
        task = {"template": deployment.template, "title": "x", "input": {"a": [1]}, "due_date": "2033-01-01"}
        for _ in range(150):
            for method, path, good in (
                ("POST", "/v1/templates", value),
                ("PUT", f"/v1/templates/{deployment.template}", value),
                ("POST", "/v1/tasks", task),
                ("POST", "/v1/budgets", budget(deployment.ours)),
            ):
                content = json.dumps(changed(chance, good))
                response = await deployment.ask(method, path, content=content, key="admin")
                assert response.status_code in (200, 201, 404, 422), (content, response.text)


def changed(chance: random.Random, value: Any) -> Any:
    """The same value with one part replaced, removed or put in another place."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.2:
        return chance.choice([*NUMBERS, *TEXTS, {"$ref": "#"}, {"type": "object"}, [[]], {"": ""}])
    if isinstance(value, list):
        index = chance.randrange(len(value))
        return [changed(chance, each) if at == index else each for at, each in enumerate(value)]
    name = chance.choice(list(value))
    if chance.random() < 0.1:
        return {key: each for key, each in value.items() if key != name}
    return {**value, name: changed(chance, value[name])}
