"""Replies of every kind: a real adapter over a simulated network, and adapters that raise.

Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from consumer.core.outcome import Accepted, Succeeded, Unknown
from consumer.provider import Call, Pause, Verb
from consumer.service import commands
from tests.support.fakes import ANSWER, SCHEMA
from tests.support.ports import START_MS
from tests.support.scene import Scene, Suite, ai, person, route

RETRY_DATE = "Wed, 18 May 2033 03:33:50 GMT"
"""30 seconds after the clock of a scene."""


def chat(content: object, **more: Any) -> bytes:
    """A good reply."""
    message = {"role": "assistant", "content": content if isinstance(content, str) else json.dumps(content)}
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return json.dumps({"model": "m", "choices": [{"message": message}], "usage": usage, **more}).encode()


GOOD = chat(ANSWER)


class ReplyContract(Suite):
    """`openai_compatible` behind the whole worker."""

    async def outcome(self, scene: Scene, *replies: Callable[[], Any], **limits: Any) -> dict[str, Any]:
        """Run one task against these replies; return its first execution."""
        task = await scene.given(ai("chat", model="m"), **({"unknown": "wait"} | limits))
        left = list(replies)

        async def handle(_: httpx2.Request) -> httpx2.Response:
            made = (left.pop(0) if len(left) > 1 else left[0])()
            found: httpx2.Response = await made if asyncio.iscoroutine(made) else made
            return found

        scene.network.others["chat.test"] = handle
        await scene.drain()
        return (await scene.executions(task))[0]

    async def test_a_good_reply_is_an_answer_at_its_price(self, scene: Scene) -> None:
        found = await self.outcome(scene, lambda: httpx2.Response(200, content=GOOD))

        assert (found["status"], json.loads(found["result"])) == ("succeeded", ANSWER)
        assert (found["cost_micro"], found["cost_source"]) == (100 * 1 + 50 * 2, "declared")
        assert json.loads(found["usage"])["total_tokens"] == 150

    @pytest.mark.parametrize(
        ("status", "body", "expected", "why"),
        [
            (200, b"<!DOCTYPE html><html>Welcome</html>", "failed", "not_an_api"),
            (200, GOOD[:-20], "unknown", "unreadable_reply"),
            (200, GOOD.replace(b"100", b"NaN"), "unknown", "unreadable_reply"),
            (200, b"", "unknown", "unreadable_reply"),
            (200, b"\xff\xfe\x00", "unknown", "unreadable_reply"),
            (200, b"{}", "unknown", "unreadable_reply"),
            (200, b"[" * 100_000, "unknown", "unreadable_reply"),
            (401, b'{"error": {"message": "wrong key"}}', "failed", "http_401"),
            (404, b"", "failed", "http_404"),
            (408, b'{"error": {"message": "litellm.Timeout"}}', "unknown", "http_408"),
            (500, b"", "unknown", "http_500"),
            (503, b"", "unknown", "http_503"),
            (503, b'{"error": {"message": "overloaded"}}', "failed", "http_503"),
            (502, b"<html>Bad Gateway</html>", "unknown", "http_502"),
            (599, b"", "unknown", "http_599"),
        ],
        ids=[
            "html", "truncated", "NaN", "empty", "no text", "empty object", "deep", "401", "404", "408", "500", "503",
            "503 said", "502", "599",
        ],
    )  # fmt: skip
    async def test_a_reply_without_an_answer_is_failed_or_unknown(
        self, scene: Scene, status: int, body: bytes, expected: str, why: str
    ) -> None:
        found = await self.outcome(scene, lambda: httpx2.Response(status, content=body), attempts=1)

        assert (found["status"], found["reason"].partition(":")[0]) == (expected, why)

    async def test_a_count_of_nothing_beside_an_answer_frees_no_money(self, scene: Scene) -> None:
        nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        await scene.budget(cap_micro=2_000_000)
        found = await self.outcome(scene, lambda: httpx2.Response(200, content=chat(ANSWER, usage=nothing)))

        assert (found["status"], found["cost_micro"]) == ("succeeded", None)
        assert found["reserved_micro"] > 0

    async def test_a_reply_of_ten_megabytes_is_not_read_to_its_end(self, scene: Scene) -> None:
        sent = 0

        async def parts() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(160):
                sent += 65_536
                yield b"x" * 65_536

        found = await self.outcome(scene, lambda: httpx2.Response(200, content=parts()))

        assert (found["status"], found["reason"]) == ("failed", "reply_too_large: more than 4194304 bytes")
        assert sent < 5_000_000
        assert found["cost_micro"] is None

    @pytest.mark.parametrize("header", ["30", RETRY_DATE])
    async def test_too_many_requests_are_tried_again_when_the_provider_says(
        self, scene: Scene, header: str
    ) -> None:
        found = await self.outcome(scene, lambda: httpx2.Response(429, headers={"retry-after": header}))

        assert found["status"] == "failed"
        assert (await scene.task(found["task_id"]))["run_at_ms"] == START_MS + 30_000

    async def test_a_refused_connection_sent_nothing_and_is_tried_again(self, scene: Scene) -> None:
        def refuse() -> httpx2.Response:
            raise httpx2.ConnectError("refused")

        found = await self.outcome(scene, refuse, lambda: httpx2.Response(200, content=GOOD))
        await scene.finish()

        assert (found["status"], found["reason"]) == (
            "failed",
            "network: no connection to chat.test (ConnectError)",
        )
        assert found["cost_micro"] == 0
        assert (await scene.task(found["task_id"]))["status"] == "completed"

    @pytest.mark.parametrize(
        "error",
        [
            httpx2.ReadError("reset"),
            httpx2.WriteError("reset"),
            httpx2.RemoteProtocolError("closed"),
            httpx2.ReadTimeout("slow"),
            OSError("broken"),
            RuntimeError("a stranger's transport"),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_connection_that_broke_later_leaves_the_call_unknown(
        self, scene: Scene, error: Exception
    ) -> None:
        def breaks() -> httpx2.Response:
            raise error

        found = await self.outcome(scene, breaks)

        assert (found["status"], found["reason"].partition(":")[0]) == ("unknown", "network")
        assert (await scene.task(found["task_id"]))["status"] == "waiting"

    async def test_a_reply_that_breaks_off_leaves_the_call_unknown(self, scene: Scene) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield GOOD[:20]
            raise httpx2.ReadError("reset")

        found = await self.outcome(scene, lambda: httpx2.Response(200, content=parts()))

        assert found["status"] == "unknown"

    async def test_a_call_that_outlives_its_deadline_is_unknown(self, scene: Scene) -> None:
        never = asyncio.Event()

        async def hang() -> httpx2.Response:
            await never.wait()
            raise AssertionError

        found = await self.outcome(scene, hang, call_s=1)

        assert (found["status"], found["reason"]) == (
            "unknown",
            "timeout: no answer within 1 s from chat.test",
        )

    async def test_a_schema_that_strict_mode_refuses_is_sent_once_without_it(self, scene: Scene) -> None:
        asked: list[bool] = []

        async def handle(request: httpx2.Request) -> httpx2.Response:
            strict = json.loads(request.content)["response_format"]["json_schema"]["strict"]
            asked.append(strict)
            refused = {"message": "Invalid schema for response_format 'answer'", "param": "response_format"}
            return (
                httpx2.Response(400, json={"error": refused})
                if strict
                else httpx2.Response(200, content=GOOD)
            )

        scene.network.others["chat.test"] = handle
        await scene.organization(1)
        stages = route(ai("chat", model=uuid4().hex))  # the adapter remembers refusals for its process
        template = await scene.template(stages, schema={**SCHEMA, "additionalProperties": False}, attempts=1)
        await scene.tasks(1, template)
        await scene.drain()
        first = asked.copy()
        await scene.tasks(1, template)
        await scene.drain()

        assert await scene.statuses() == {"completed": 2}
        assert await scene.count("task_executions") == 2
        assert (first, asked) == ([True, False], [True, False, False])

    @pytest.mark.parametrize("status", [401, 429, 500])
    async def test_another_refusal_is_no_reason_to_leave_strict_mode(self, scene: Scene, status: int) -> None:
        asked = []
        error = {"message": "this schema of yours", "param": "response_format"}

        def refuse() -> httpx2.Response:
            asked.append(status)
            return httpx2.Response(status, json={"error": error})

        await self.outcome(scene, refuse, attempts=1)

        assert asked == [status]


class AdapterContract(Suite):
    """Adapters are code of other people."""

    @pytest.mark.parametrize("method", ["request", "quote", "reply"])
    @pytest.mark.parametrize("error", [RuntimeError("oh"), KeyError("x"), RecursionError()], ids=repr)
    async def test_an_adapter_that_raises_stops_no_other_task(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
    ) -> None:
        await scene.given(ai("keyed"), unknown="wait")
        await scene.given(ai("blind"), count=5)

        def stumble(*_: object) -> None:
            raise error

        monkeypatch.setattr(scene.world.providers["keyed"], method, stumble)

        await scene.drain()

        assert (await scene.statuses())["completed"] >= 5
        assert await scene.count("leases") == 0

    async def test_a_reply_that_crashes_the_adapter_is_unknown_because_it_may_be_paid(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = await scene.given(ai("blind"), unknown="wait")

        def stumble(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(scene.world.providers["blind"], "reply", stumble)

        await scene.drain()

        assert await scene.states(task) == ["unknown"]
        assert (await scene.executions(task))[0]["reason"] == "adapter_error: RuntimeError"

    @pytest.mark.parametrize("nonsense", [None, "succeeded", {"output": 1}, Succeeded])
    async def test_an_adapter_that_returns_no_outcome_stops_no_other_task(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, nonsense: object
    ) -> None:
        task = await scene.given(ai("keyed"), unknown="wait")
        await scene.given(ai("blind"), count=5)
        monkeypatch.setattr(scene.world.providers["keyed"], "reply", lambda *_: nonsense)

        await scene.drain()

        assert (await scene.statuses())["completed"] == 5
        assert await scene.states(task) == ["unknown"]

    async def test_an_outcome_without_a_request_needs_no_connection(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = await scene.given(ai("blind"))
        pause = Pause(Succeeded(ANSWER), 1)
        monkeypatch.setattr(scene.world.providers["blind"], "request", lambda *_: pause)

        await scene.drain()

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count() == 0

    async def test_a_job_whose_poll_cannot_be_built_continues(self, scene: Scene) -> None:
        """A poll whose connection is refused says nothing about the job."""
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("j-1", 1_000))
        scene.network.script("job", httpx2.ConnectError("refused"), httpx2.ReadError("x"), verb=Verb.POLL)

        await scene.drain()
        for _ in range(3):
            await scene.later(700_000)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("job") == 1

    async def test_a_lookup_that_cannot_be_built_is_no_evidence(self, scene: Scene) -> None:
        task = await scene.given(ai("evident"))
        scene.network.script("evident", Unknown("lost"))
        scene.network.script("evident", httpx2.ConnectError("refused"), verb=Verb.LOOKUP)

        await scene.drain()
        for _ in range(3):
            await scene.later(700_000)

        assert (await scene.task(task))["status"] == "completed"
        assert scene.network.count("evident") == 1

    @pytest.mark.parametrize("verb", [Verb.POLL, Verb.CANCEL])
    async def test_an_adapter_that_crashes_on_a_poll_does_not_end_the_job(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, verb: Verb
    ) -> None:
        task = await scene.given(ai("job"))
        scene.network.script("job", Accepted("j-1", 1_000))
        await scene.drain()
        provider = scene.world.providers["job"]
        request = provider.request

        def stumble(call: Call, asked: Verb) -> Any:
            if asked is verb:
                raise RuntimeError
            return request(call, asked)

        with monkeypatch.context() as patch:
            patch.setattr(provider, "request", stumble)
            scene.network.script("job", Accepted("j-1", 1_000), verb=Verb.POLL)
            if verb is Verb.CANCEL:
                await commands.cancel(scene.world, 1, task, "tester")
            await scene.later(5_000)

        assert await scene.states(task) == ["waiting"]

    async def test_a_person_behind_an_api_is_polled_like_a_job(self, scene: Scene) -> None:
        task = await scene.given(person("crowd"))
        scene.network.script("crowd", Accepted("c-1", 1_000))
        await scene.drain()

        await scene.later(5_000)

        assert scene.network.count("crowd", Verb.POLL) == 1
        assert (await scene.task(task))["status"] == "completed"
