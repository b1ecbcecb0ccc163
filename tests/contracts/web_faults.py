"""What a caller gets and what is logged when something behind the application fails."""

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
from tests.support.browsing import TYPED, assigned, look, send
from tests.support.deployment import Deployment, DeploymentSuite, refused
from tests.support.webhooks import signed, webhook_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.profile import Account

SECRET = "the payload that must stay private"


class Stumbling(Echo):
    """A provider whose adapter raises an error that contains the body."""

    def verify_webhook(
        self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> NoReturn:
        raise LookupError(f"{account.name} {now_ms} {len(headers)} {body.decode()}")


class FaultsContract(DeploymentSuite):
    """Failures."""

    async def test_a_database_that_does_not_answer_is_a_503(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)
        deployment.database.down = True

        responses = [
            await deployment.ask("GET", "/v1/tasks"),
            await deployment.ask("POST", "/v1/tasks", {"template": 1, "title": "x"}),
            await deployment.ask("GET", "/healthz", key=None),
            await deployment.ask(
                "POST",
                "/webhooks/echo",
                content=webhook_body(),
                headers=signed(deployment, webhook_body()),
                key=None,
            ),
        ]
        pages = [await look(deployment, place), await send(deployment, place, TYPED)]

        for response in responses:
            refused(response, 503)
        for response in [*responses, *pages]:
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert "injected" not in response.text
        assert all("Your text is still there" in page.text for page in pages)

    async def test_a_commit_whose_answer_was_lost_is_not_made_twice(self, deployment: Deployment) -> None:
        value = {"template": deployment.template, "title": "once"}
        deployment.database.fail(
            3, after=True
        )  # the key is read, then the template, then the task is written

        response = await deployment.ask("POST", "/v1/tasks", value)

        assert response.status_code == 201
        assert len((await deployment.ask("GET", "/v1/tasks")).json()["tasks"]) == 1

    async def test_a_queue_that_does_not_answer_loses_no_task(self, deployment: Deployment) -> None:
        deployment.queue.down = True

        assert await deployment.submit()

    async def test_a_status_store_that_does_not_answer_is_not_needed(self, deployment: Deployment) -> None:
        task = await deployment.submit()
        deployment.kv.down = True

        response = await deployment.ask("GET", f"/v1/tasks/{task}/status")

        assert (response.status_code, response.json()["status"]) == (200, "pending")

    @pytest.mark.parametrize(
        "error", [Refused(SECRET), KeyError(SECRET), RecursionError(SECRET), OSError(SECRET)]
    )
    async def test_an_internal_error_shows_nothing_and_is_logged(
        self, deployment: Deployment, error: Exception
    ) -> None:
        _, place = await assigned(deployment)
        before = len(deployment.log.getvalue())
        for number in (1, 3, 4):  # the key is read, then the requested rows; a link needs no key
            deployment.database.fail(number, error=error)

        response = await deployment.ask("GET", "/v1/tasks?status=pending")
        listed = await deployment.ask("GET", "/v1/budgets")
        page = await look(deployment, place)

        for each in (response, listed, page):
            assert each.status_code == 500
            assert SECRET not in each.text
            assert type(error).__name__ not in each.text
        lines = [json.loads(line) for line in deployment.log.getvalue()[before:].splitlines()]
        assert [(line["event"], line["error"], line["method"], line["route"]) for line in lines] == [
            ("request.failed", type(error).__name__, "GET", "/v1/tasks"),
            ("request.failed", type(error).__name__, "GET", "/v1/budgets"),
            ("request.failed", type(error).__name__, "GET", "/inbox/{token}"),
        ]
        assert SECRET not in deployment.log.getvalue()

    async def test_an_adapter_that_crashes_on_a_webhook_is_our_fault(self, deployment: Deployment) -> None:
        providers: Any = {**deployment.world.providers, "echo": Stumbling()}
        app = build(App(replace(deployment.world, providers=providers)))
        body = SECRET.encode()
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://bizq.test"
        ) as client:
            response = await client.post("/webhooks/echo", content=body)

        refused(response, 500)
        assert SECRET not in response.text + deployment.log.getvalue()
        assert "LookupError" in deployment.log.getvalue()

    async def test_a_client_that_disconnects_is_no_error(self, deployment: Deployment) -> None:
        """Nothing is written, and no internal error is logged."""
        sent: list[Any] = []
        messages = iter(
            [{"type": "http.request", "body": b'{"temp', "more_body": True}, {"type": "http.disconnect"}]
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/tasks",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {deployment.keys['member']}".encode())],
        }

        async def receive() -> Any:
            return next(messages)

        async def keep(message: Any) -> None:
            sent.append(message)

        await build(App(deployment.world))(scope, receive, keep)

        assert sent[0]["status"] == 400
        assert "request.failed" not in deployment.log.getvalue()

    async def test_other_protocols_are_left_to_the_host(self, deployment: Deployment) -> None:
        """The Workers runtime and uvicorn both use the lifespan protocol."""
        sent: list[Any] = []
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Any:
            return next(messages)

        async def keep(message: Any) -> None:
            sent.append(message["type"])

        await build(App(deployment.world))({"type": "lifespan", "state": {}}, receive, keep)

        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
