"""Jobs of a real adapter: background responses of OpenAI.  Its server is a small one that does as documented.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from consumer.core.policy import HOUR, MINUTE
from consumer.core.profile import accounts
from consumer.execution import webhooks
from consumer.service import commands
from tests.fixtures import standard_webhook_headers
from tests.fixtures.openai_responses import FIXTURES, event, opened, response, said, text
from tests.support.fakes import ANSWER
from tests.support.scene import Scene, Suite, ai

SECRET = FIXTURES.webhook_secret or ""
PROFILES = {
    "background": {
        "provider": "openai_responses",
        "base_url": "http://openai.test/v1",
        "webhook_secret": "SECRET",
        "price_book": "openai",
    }
}
COST = 183
"""36 tokens in at $0.25 and 87 out at $2 for a million."""


@dataclass
class OpenAI:
    """A server with background responses.  `asked`: its requests.  `kept`: its responses by id."""

    asked: list[str] = field(default_factory=list)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: int = 0
    """How many first replies get lost on the way."""

    def end(self, named: str, body: dict[str, Any]) -> None:
        self.kept[named] = body | {"id": named}

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        named = (
            request.url.path.split("/")[3]
            if request.url.path.count("/") > 2
            else f"resp_{len(self.kept) + 1}"
        )
        if request.method == "GET":
            found = self.kept.get(named)
            missing = {"error": {"message": "no such response", "type": "invalid_request_error"}}
            return httpx2.Response(404, json=missing) if found is None else httpx2.Response(200, json=found)
        if request.url.path.endswith("/cancel"):
            if self.kept[named]["status"] in ("queued", "in_progress"):
                self.end(named, opened("cancelled"))
            return httpx2.Response(200, json=self.kept[named])
        self.end(named, opened())
        if self.lost:
            self.lost -= 1
            raise httpx2.ReadError("the connection broke")
        return httpx2.Response(200, json=self.kept[named])


def done() -> dict[str, Any]:
    return response("completed", said(text(json.dumps(ANSWER))), background=True, model="gpt-5-mini")


async def given(scene: Scene, **limits: Any) -> tuple[int, OpenAI]:
    """A task that is done by a background response."""
    server = OpenAI()
    scene.network.others["openai.test"] = server.answer
    known = accounts(PROFILES, {"SECRET": SECRET})
    scene.world = replace(scene.world, accounts={**scene.world.accounts, **known})
    return await scene.given(ai("background", model="gpt-5-mini", background=True), **limits), server


async def deliver(scene: Scene, kind: str, named: str, webhook: str = "wh_1") -> None:
    """A webhook as OpenAI sends it: to one address for all responses, so that only its id says what it is about."""
    account, now, body = scene.world.accounts["background"], scene.clock.now_ms(), event(kind, named)
    provider = scene.world.providers["openai_responses"]
    headers = standard_webhook_headers(SECRET, webhook, now, body)
    verified = provider.verify_webhook(account, headers, body, now)
    await webhooks.receive(scene.world, account.name, None, verified.id, verified.external_id, body.decode())


class BackgroundContract(Suite):
    async def test_a_webhook_brings_the_answer_and_its_cost(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        assert (await scene.task(task))["status"] == "waiting"

        server.end("resp_1", done())
        await deliver(scene, "response.completed", "resp_1")
        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        (execution,) = await scene.executions(task)
        assert (execution["cost_micro"], execution["cost_source"]) == (COST, "price_book")
        assert execution["external_id"] == "resp_1"
        assert json.loads(execution["usage"])["id"] == "resp_1"
        assert server.asked == ["POST /v1/responses", "GET /v1/responses/resp_1"]

    async def test_a_webhook_that_is_repeated_does_nothing_more(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        server.end("resp_1", done())
        for _ in range(2):
            await deliver(scene, "response.completed", "resp_1")
            await scene.drain()
        await deliver(scene, "response.completed", "resp_1", "wh_2")
        await scene.finish()

        assert await scene.states(task) == ["succeeded"]
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []
        assert server.asked.count("POST /v1/responses") == 1

    async def test_a_webhook_that_comes_before_the_job_s_id_was_stored_is_not_lost(
        self, scene: Scene
    ) -> None:
        """Nothing else names the execution, so the webhook waits for the id."""
        task, server = await given(scene)

        async def overtake(request: httpx2.Request) -> httpx2.Response:
            reply = await server.answer(request)
            if request.url.path == "/v1/responses":
                server.end("resp_1", done())
                await deliver(scene, "response.completed", "resp_1")
            return reply

        scene.network.others["openai.test"] = overtake
        await scene.drain()
        await scene.later(10 * 1000)  # long before the first poll

        assert (await scene.task(task))["status"] == "completed"
        assert await scene.sql("SELECT 1 FROM webhooks WHERE handled_ms IS NULL") == []

    async def test_without_a_webhook_the_answer_is_polled(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        await scene.later(10 * 1000)
        assert server.asked == ["POST /v1/responses"]  # a webhook should come
        await scene.later(2 * MINUTE)
        assert (await scene.task(task))["status"] == "waiting"
        server.end("resp_1", done())
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert set(server.asked[1:]) == {"GET /v1/responses/resp_1"}

    async def test_a_task_that_is_cancelled_cancels_its_job(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        await commands.cancel(scene.world, 1, task, "tester")
        await scene.later(MINUTE)

        assert server.kept["resp_1"]["status"] == "cancelled"
        (execution,) = await scene.executions(task)
        assert execution["status"] == "cancelled"
        assert execution["cost_micro"] is None  # it may have written something, and the API does not say

    async def test_an_answer_that_came_before_the_cancel_is_kept_with_its_cost(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        server.end("resp_1", done())
        await commands.cancel(scene.world, 1, task, "tester")
        await scene.later(MINUTE)

        (execution,) = await scene.executions(task)
        assert (execution["status"], execution["cost_micro"]) == ("cancelled", COST)
        assert json.loads(execution["result"]) == ANSWER
        assert (await scene.task(task))["status"] == "cancelled"

    @pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded"])
    async def test_a_job_that_failed_for_a_moment_is_done_again(self, scene: Scene, code: str) -> None:
        task, server = await given(scene)
        await scene.drain()
        server.end("resp_1", opened("failed", error={"code": code, "message": "no"}))
        await scene.later(2 * MINUTE)
        await scene.later(2 * MINUTE)
        server.end("resp_2", done())
        await scene.later(HOUR)

        assert await scene.states(task) == ["failed", "succeeded"]
        assert (await scene.task(task))["status"] == "completed"

    async def test_a_job_that_openai_forgot_is_not_given_up_for_free(self, scene: Scene) -> None:
        task, server = await given(scene)
        await scene.drain()
        del server.kept["resp_1"]
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "waiting"
        assert await scene.states(task) == ["waiting"]

    async def test_a_lost_first_reply_is_no_job_that_a_webhook_could_name(self, scene: Scene) -> None:
        """The call is unknown; by default it is repeated once, and the webhook of the lost one changes nothing."""
        task, server = await given(scene)
        server.lost = 1
        await scene.drain()
        assert await scene.states(task) == ["unknown"]

        server.end("resp_1", done())
        await deliver(scene, "response.completed", "resp_1")
        await scene.drain()
        assert (await scene.states(task))[0] == "unknown"
        await scene.later(2 * MINUTE)
        server.end("resp_2", done())
        await scene.later(HOUR)

        assert (await scene.task(task))["status"] == "completed"
        assert server.asked.count("POST /v1/responses") == 2
