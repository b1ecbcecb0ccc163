"""The answers of the API when a part behind it fails, and the log lines about that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2
import pytest

from consumer.app import App
from consumer.ports import Refused
from consumer.web.app import build
from providers.echo import Echo
from tests.contracts.browsing import TYPED, assigned, look, send
from tests.contracts.house import Furnished, House, refused
from tests.contracts.web_webhooks import said, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.profile import Account

SECRET = "a payload that must not be shown"


class Stumbling(Echo):
    """A provider whose adapter raises the body that it was given."""

    def webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> NoReturn:
        raise LookupError(f"{account.name} {now_ms} {len(headers)} {body.decode()}")


class FaultsContract(Furnished):
    """Failures."""

    async def test_a_database_that_does_not_answer(self, house: House) -> None:
        _, place = await assigned(house)
        house.database.down = True

        responses = [
            await house.ask("GET", "/v1/tasks"),
            await house.ask("POST", "/v1/tasks", {"template": 1, "title": "x"}),
            await house.ask("GET", "/healthz", key=None),
            await house.ask(
                "POST", "/webhooks/echo", content=said(), headers=signed(house, said()), key=None
            ),
        ]
        pages = [await look(house, place), await send(house, place, TYPED)]

        for response in responses:
            refused(response, 503)
        for response in [*responses, *pages]:
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert "injected" not in response.text
        assert all("Your text is still there" in page.text for page in pages)

    async def test_a_commit_whose_answer_was_lost_is_not_made_twice(self, house: House) -> None:
        value = {"template": house.template, "title": "once"}
        house.database.fail(3, after=True)  # a key is looked up, then a template, then the task is written

        response = await house.ask("POST", "/v1/tasks", value)

        assert response.status_code == 201
        assert len((await house.ask("GET", "/v1/tasks")).json()["tasks"]) == 1

    async def test_a_queue_that_does_not_answer_loses_no_task(self, house: House) -> None:
        house.queue.down = True

        assert await house.submit()

    async def test_a_status_store_that_does_not_answer_is_not_needed(self, house: House) -> None:
        task = await house.submit()
        house.kv.down = True

        response = await house.ask("GET", f"/v1/tasks/{task}/status")

        assert (response.status_code, response.json()["status"]) == (200, "pending")

    @pytest.mark.parametrize(
        "error", [Refused(SECRET), KeyError(SECRET), RecursionError(SECRET), OSError(SECRET)]
    )
    async def test_an_internal_error_shows_no_detail_and_is_logged(
        self, house: House, error: Exception
    ) -> None:
        _, place = await assigned(house)
        before = len(house.log.getvalue())
        for number in (1, 3, 4):  # a key, then what is asked for; a link needs no key
            house.database.fail(number, error=error)

        response = await house.ask("GET", "/v1/tasks?status=pending")
        listed = await house.ask("GET", "/v1/budgets")
        page = await look(house, place)

        for each in (response, listed, page):
            assert each.status_code == 500
            assert SECRET not in each.text
            assert type(error).__name__ not in each.text
        lines = [json.loads(line) for line in house.log.getvalue()[before:].splitlines()]
        assert [(line["event"], line["error"], line["method"], line["route"]) for line in lines] == [
            ("request.failed", type(error).__name__, "GET", "/v1/tasks"),
            ("request.failed", type(error).__name__, "GET", "/v1/budgets"),
            ("request.failed", type(error).__name__, "GET", "/inbox/{token}"),
        ]
        assert SECRET not in house.log.getvalue()

    async def test_an_adapter_that_raises_on_a_webhook(self, house: House) -> None:
        providers: Any = {**house.world.providers, "echo": Stumbling()}
        app = build(App(replace(house.world, providers=providers)))
        body = SECRET.encode()
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://bizq.test"
        ) as client:
            response = await client.post("/webhooks/echo", content=body)

        refused(response, 500)
        assert SECRET not in response.text + house.log.getvalue()
        assert "LookupError" in house.log.getvalue()

    async def test_a_client_that_goes_away(self, house: House) -> None:
        """The worker writes nothing and logs no internal error."""
        sent: list[Any] = []
        messages = iter(
            [{"type": "http.request", "body": b'{"temp', "more_body": True}, {"type": "http.disconnect"}]
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/tasks",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {house.keys['member']}".encode())],
        }

        async def receive() -> Any:
            return next(messages)

        async def keep(message: Any) -> None:
            sent.append(message)

        await build(App(house.world))(scope, receive, keep)

        assert sent[0]["status"] == 400
        assert "request.failed" not in house.log.getvalue()

    async def test_events_that_are_not_http_are_left_to_the_host(self, house: House) -> None:
        """The Workers runtime and uvicorn both send lifespan events."""
        sent: list[Any] = []
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Any:
            return next(messages)

        async def keep(message: Any) -> None:
            sent.append(message["type"])

        await build(App(house.world))({"type": "lifespan", "state": {}}, receive, keep)

        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
