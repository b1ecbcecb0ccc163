"""Answers that do not fit: kept, because they were paid for, and shown to the model that repairs them.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from consumer.core.outcome import Succeeded
from consumer.service import queries
from tests.contracts.replies import GOOD, chat
from tests.support.fakes import LOST
from tests.support.scene import Scene, Suite, ai


class RepairContract(Suite):
    """`openai_compatible` behind the whole worker."""

    async def test_an_answer_that_is_not_json_is_repaired_with_an_explanation(self, scene: Scene) -> None:
        bodies: list[bytes] = []

        def ask() -> httpx2.Response:
            return httpx2.Response(200, content=chat("I would say yes.") if not bodies else GOOD)

        task = await scene.given(ai("chat", model="m"))

        async def handle(request: httpx2.Request) -> httpx2.Response:
            reply = ask()
            bodies.append(request.content)
            return reply

        scene.network.others["chat.test"] = handle
        await scene.drain()

        assert await scene.states(task) == ["failed", "succeeded"]
        first, second = (json.loads(body)["messages"] for body in bodies)
        assert [message["role"] for message in first] == ["user"]
        assert [message["role"] for message in second] == ["user", "assistant", "user"]
        assert second[1]["content"] == "I would say yes."
        assert second[2]["content"].startswith(
            "That answer was not accepted: the answer must be one JSON object"
        )

    @pytest.mark.parametrize("between", ["nothing", "a busy server"])
    async def test_a_repair_shows_the_answer_and_varies_the_request(self, scene: Scene, between: str) -> None:
        """Also where another call, and another worker, come between the answer and its repair."""
        busy = httpx2.Response(429, headers={"retry-after": "30"})
        replies = [
            httpx2.Response(200, content=chat({"answer": 5})),
            *([busy] if between == "a busy server" else []),
            httpx2.Response(200, content=chat({"answer": 6})),
            httpx2.Response(200, content=GOOD),
        ]
        bodies: list[dict[str, Any]] = []

        async def handle(request: httpx2.Request) -> httpx2.Response:
            bodies.append(json.loads(request.content))
            return replies.pop(0)

        scene.network.others["chat.test"] = handle
        task = await scene.given(ai("chat", model="m", temperature=0))
        await scene.drain()
        await scene.later(31_000)

        assert (await scene.task(task))["status"] == "completed"
        shown = [body["messages"][1]["content"] for body in bodies if len(body["messages"]) > 1]
        assert list(dict.fromkeys(shown)) == ['{"answer":5}', '{"answer":6}']
        assert [body["temperature"] for body in bodies][-2:] == [0.3, 0.6]

    async def test_a_long_answer_is_shown_in_part(self, scene: Scene) -> None:
        bodies: list[bytes] = []

        async def handle(request: httpx2.Request) -> httpx2.Response:
            bodies.append(request.content)
            return httpx2.Response(200, content=GOOD if len(bodies) > 1 else chat("x" * 60_000))

        scene.network.others["chat.test"] = handle
        await scene.given(ai("chat", model="m"))
        await scene.drain()

        assert 16_000 < len(bodies[1]) < 20_000

    async def test_a_repair_whose_reply_was_lost_is_rebuilt_as_it_was(self, scene: Scene) -> None:
        """A follow-up that sends it again under its key must send the same request."""
        task = await scene.given(ai("keyed"))
        scene.network.script("keyed", Succeeded({"answer": 5}), LOST)
        await scene.drain()
        await scene.later(10_000)

        assert (await scene.task(task))["status"] == "completed"
        _, repair, repeat = scene.network.calls("keyed")
        assert (repair.draft, repair.repair) == ({"answer": 5}, 1)
        assert repeat._replace(now_ms=repair.now_ms) == repair

    async def test_an_answer_that_does_not_fit_is_kept_with_its_execution(self, scene: Scene) -> None:
        refused = {"answer": ["not", "text"], "more": "x" * 70_000}

        async def handle(_: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, content=chat(refused))

        scene.network.others["chat.test"] = handle
        task = await scene.given(ai("chat", model="m"), repairs=0)
        await scene.drain()
        history = await queries.history(scene.world, 1, task)

        assert (history["task"]["status"], history["task"]["result"]) == ("failed", None)
        assert [(e["status"], e["result"], e["used"]) for e in history["executions"]] == [
            ("failed", refused, False)
        ]
        assert history["task"]["cost_micro"] == 200
