"""Hostile requests: every text, number, size and shape that could break a part.

Either it is refused with its name, or it is stored and comes back as it was; it is never our fault.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.ports import MAX_INTEGER
from consumer.web.app import OPERATIONS
from consumer.web.request import MAX_BODY
from tests.contracts.house import Furnished, House, budget, refused, stage, template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAIN: Final = {
    "SQL": "'; DROP TABLE tasks; -- \" %_\\ ?1 :name @x $y",
    "HTML": "<script>alert(1)</script>&amp;<!--]]>",
    "emoji": "👩\u200d👩\u200d👧 naïve ß \u202eright to left",
    "lines": "a\r\nb\tc\u2028d",
    "controls": "\x01\x1b[31m\x7f",
    "placeholder": "{{title}} {title} %s {0}",
    "whole plane": "\uffff\U0010ffff",
}
"""Text that is stored as it is."""
BROKEN: Final = {"NUL": "a\0b", "half a pair": "a\ud800b", "other half": "\udfffb"}
"""Text that a database cannot store unchanged."""
TEXTS: Final = [*PLAIN.values(), *BROKEN.values()]

NUMBERS: Final = [0, -1, 2**31, 2**53 - 1, 2**53, 2**63, 10**400, 1.5, 1e308, "1", "x", None, True, [], {}]
"""Values that cannot be an id."""

NOT_JSON: Final = {
    "nothing": b"",
    "half": b'{"template":',
    "deep list": b"[" * 10_000 + b"]" * 10_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep and open": b"[" * 100_000,
    "NaN": b'{"template":NaN}',
    "Infinity": b"[Infinity]",
    "1e999": b'{"template":1e999}',
    "twice": b'{"template":1,"template":2}',
    "twice, inside": b'[{"input":{"a":{"b":1,"b":1}}}]',
    "5,000 digits": b"9" * 5_000,
    "two values": b"{} {}",
    "Latin-1": b'{"title":"\xe9"}',
    "UTF-16": '{"title":1}'.encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf{}",
    "surrogates in UTF-8": b'{"title":"\xed\xa0\x80"}',
    "NUL": b'{"title":"\x00"}',
    "form": b"title=1",
}


class HostileContract(Furnished):
    """Every request has an answer that names the fault."""

    @pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
    async def test_text_of_a_task_comes_back_as_it_was(self, house: House, text: str) -> None:
        value = {
            "title": text,
            "description": text,
            "input": {"title": text, text: [text]},
            "idempotency_key": text,
        }
        number = await house.submit(None, **value)

        shown = (await house.ask("GET", f"/v1/tasks/{number}/history")).json()["task"]

        (stored,) = await house.rows("SELECT idempotency_key FROM tasks WHERE id = ?1", number)
        assert {name: {**shown, **stored}[name] for name in value} == value

    @pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
    async def test_text_that_a_row_cannot_hold_is_refused(self, house: House, text: str) -> None:
        for name in ("title", "description", "idempotency_key", "due_date", "run_at", "template"):
            content = json.dumps({"template": house.template, "title": "x", name: text})
            problem = refused(await house.ask("POST", "/v1/tasks", content=content), 422)
            assert {error["field"].partition(".")[0] for error in problem["errors"]} == {name}

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_in_an_input_is_kept(self, house: House, text: str) -> None:
        value = {"template": house.template, "title": "x", "input": {"title": text, text: text}}

        made = await house.ask("POST", "/v1/tasks", content=json.dumps(value))

        shown = await house.ask("GET", f"/v1/tasks/{made.json()['id']}")
        assert shown.json()["input"] == value["input"]

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_in_a_template_is_kept_or_refused(self, house: House, text: str) -> None:
        schema = {"type": "object", "title": text, "properties": {text: {"enum": [text]}}}
        for name in ("name", "description", "category", "prompt", "output_schema", "input_schema"):
            value = template(**{name: schema if name.endswith("schema") else text})
            made = await house.ask("POST", "/v1/templates", content=json.dumps(value), key="admin")
            assert made.status_code in (201, 422), made.text
            if made.status_code == 201:
                shown = await house.ask("GET", made.headers["location"])
                assert shown.json()[name] == value[name]

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_where_another_thing_is_wanted(self, house: House, text: str) -> None:
        named = template(stage("ai", text))
        settings = template(stage("ai", "echo", **{text: text}))
        for value in (named, settings, {text: text}, template(**{text: text})):
            response = await house.ask("POST", "/v1/templates", content=json.dumps(value), key="admin")
            refused(response, 422)
        for name in ("scope", "period", "cap", "refused", "scope_id", text):
            content = json.dumps({**budget(house.ours), name: text})
            problem = refused(await house.ask("POST", "/v1/budgets", content=content, key="admin"), 422)
            assert [error["field"] for error in problem["errors"]] == [name] or text in BROKEN.values()

    async def test_a_wrong_id_in_a_task(self, house: House) -> None:
        for number in NUMBERS:
            for name in ("template", "assigned_to"):
                value = {"template": house.template, "title": "x", name: number}
                response = await house.ask("POST", "/v1/tasks", value)
                if name == "assigned_to" and number is None:
                    assert response.status_code == 201
                    continue
                problem = refused(response, 422)
                assert {error["field"].partition(".")[0] for error in problem["errors"]} == {name}

    async def test_a_wrong_id_in_a_budget_or_a_template(self, house: House) -> None:
        for number in NUMBERS:
            wrong = {**budget(house.ours), "scope_id": number}
            refused(await house.ask("POST", "/v1/budgets", wrong, key="admin"), 422, "scope_id")
            for name in ("id", "organization_id"):
                response = await house.ask("POST", "/v1/templates", template(**{name: number}), key="admin")
                assert response.status_code == (201 if number is None else 422), response.text

    @pytest.mark.parametrize("number", [1, 2**53 - 2], ids=["least", "most"])
    async def test_an_id_that_could_be(self, house: House, number: int) -> None:
        value = {"template": house.template, "title": "x", "assigned_to": number}

        refused(await house.ask("POST", "/v1/tasks", value), 422, "assigned_to")

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
    async def test_a_wrong_id_in_an_address(self, house: House, number: str) -> None:
        for operation in OPERATIONS:
            if "{id}" in operation.path:
                path = operation.path.replace("{id}", number)
                refused(await house.ask(operation.method, path, template(), key="admin"), 404)

    async def test_the_largest_id_in_an_address(self, house: House) -> None:
        for operation in OPERATIONS:
            if "{id}" in operation.path:
                path = operation.path.replace("{id}", str(MAX_INTEGER))
                body = budget(house.ours) if "budgets" in path else template()
                refused(await house.ask(operation.method, path, body, key="admin"), 404)

    @pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
    async def test_a_body_that_is_not_json(self, house: House, content: bytes) -> None:
        for method, path in (("POST", "/v1/tasks"), ("PUT", "/v1/templates/1"), ("POST", "/v1/budgets")):
            refused(await house.ask(method, path, content=content, key="admin"), 400)

    @pytest.mark.parametrize("depth", [10, 100, 300, 900])
    async def test_nesting_is_kept_or_refused(self, house: House, depth: int) -> None:
        nested = '{"a":' * depth + "1" + "}" * depth
        content = f'{{"template":{house.template},"title":"x","input":{nested}}}'

        made = await house.ask("POST", "/v1/tasks", content=content)

        assert made.status_code in (201, 400, 422)
        assert made.status_code == 201 or depth > 100
        if made.status_code == 201:
            number = made.json()["id"]
            await house.work()
            for rest in ("", "/history"):
                assert (await house.ask("GET", f"/v1/tasks/{number}{rest}")).status_code == 200

    async def test_a_body_that_is_announced_too_large(self, house: House) -> None:
        refused(await house.ask("POST", "/v1/tasks", content=b" " * (MAX_BODY + 1)), 413)
        refused(await house.ask("POST", "/v1/tasks", content=b"", headers={"Content-Length": "9" * 40}), 400)
        refused(await house.ask("POST", "/v1/tasks", content=b"", headers={"Content-Length": "x"}), 400)

    async def test_a_body_that_grows_too_large(self, house: House) -> None:
        sent = 0

        async def stream() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 65_536
                yield b" " * 65_536

        refused(await house.ask("POST", "/v1/tasks", content=stream()), 413)
        assert sent < MAX_BODY + 3 * 65_536

    async def test_sizes_that_are_just_right_and_just_too_large(self, house: House) -> None:
        for name, most in (("title", 500), ("description", 20_000), ("idempotency_key", 200)):
            value = {"template": house.template, "title": "x", name: "🧠" * most}
            assert (await house.ask("POST", "/v1/tasks", value)).status_code == 201
            refused(await house.ask("POST", "/v1/tasks", {**value, name: "🧠" * most + "x"}), 422, name)
        value = {"template": house.template, "title": "x"}
        assert (await house.ask("POST", "/v1/tasks", [value] * 1_000)).status_code == 201
        refused(await house.ask("POST", "/v1/tasks", [value] * 1_001), 422, "tasks")
        refused(await house.ask("POST", "/v1/tasks", []), 422, "tasks")
        refused(await house.ask("POST", "/v1/tasks", {**value, "input": {"a": "x" * 300_000}}), 422, "input")

    async def test_an_address_that_is_too_long(self, house: House) -> None:
        for path in (f"/v1/tasks?status={'x' * 9_000}", f"/v1/tasks/{'9' * 9_000}", f"/inbox/{'x' * 9_000}"):
            assert (await house.ask("GET", path)).status_code == 414

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
    async def test_an_unknown_address(self, house: House, path: str) -> None:
        refused(await house.ask("GET", path), 404)

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
    async def test_a_method_that_an_address_does_not_know(self, house: House, method: str) -> None:
        paths = {operation.path for operation in OPERATIONS}
        for path in paths:
            known = {operation.method for operation in OPERATIONS if operation.path == path}
            if method not in known:
                response = await house.ask(method, path.replace("{", "").replace("}", ""))
                assert response.status_code == 405
                assert known <= set(response.headers["allow"].split(", ")) <= known | {"HEAD"}

    async def test_dates_that_no_calendar_has(self, house: House) -> None:
        for name in ("due_date", "run_at"):
            for text in (
                "9999-12-31T23:59:59-23:59",
                "2026-02-30",
                "10000-01-01",
                "tomorrow",
                "",
                "1" * 40,
                "٢٠٢٦-01-01",
            ):
                value = {"template": house.template, "title": "x", name: text}
                response = await house.ask("POST", "/v1/tasks", value)
                if text or name != "due_date":
                    assert response.status_code in (201, 422)
            for text in ("0001-01-01", "9999-12-31T23:59:59.999Z", "2026-11-21T10:00:00+14:00"):
                number = await house.submit(None, **{name: text})
                assert (await house.ask("GET", f"/v1/tasks/{number}/history")).status_code == 200

    async def test_no_request_causes_an_internal_error(self, house: House) -> None:
        """Valid requests, with each part replaced by another value in turn."""
        chance = random.Random(20261121)  # noqa: S311  # so that a run can be repeated
        value = {
            **template(stage("ai", "echo", delay_ms=0), limits={"attempts": 2}, prompt="{{title}}"),
            "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
        }
        task = {"template": house.template, "title": "x", "input": {"a": [1]}, "due_date": "2033-01-01"}
        for _ in range(150):
            for method, path, good in (
                ("POST", "/v1/templates", value),
                ("PUT", f"/v1/templates/{house.template}", value),
                ("POST", "/v1/tasks", task),
                ("POST", "/v1/budgets", budget(house.ours)),
            ):
                content = json.dumps(changed(chance, good))
                response = await house.ask(method, path, content=content, key="admin")
                assert response.status_code in (200, 201, 404, 422), (content, response.text)


def changed(chance: random.Random, value: Any) -> Any:
    """The same value with one part replaced, left out or put where it does not belong."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.2:
        return chance.choice([*NUMBERS, *TEXTS, {"$ref": "#"}, {"type": "object"}, [[]], {"": ""}])
    if isinstance(value, list):
        index = chance.randrange(len(value))
        return [changed(chance, each) if at == index else each for at, each in enumerate(value)]
    name = chance.choice(list(value))
    if chance.random() < 0.1:
        return {key: each for key, each in value.items() if key != name}
    return {**value, name: changed(chance, value[name])}
