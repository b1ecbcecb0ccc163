"""Webhooks on every host: whose are accepted, and that each is stored once, at any moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from consumer.execution.call import sign
from consumer.provider import MAX_REPLY_BYTES
from consumer.store.sql import execution_id, mark_of
from tests.support.deployment import Deployment, DeploymentSuite, refused, stage
from tests.support.webhooks import ANSWER, address, signed, webhook_body

if TYPE_CHECKING:
    import httpx2


async def send(
    deployment: Deployment,
    query: str = "",
    body: bytes = webhook_body(),
    event: str = "event-1",
    **changes: str,
) -> httpx2.Response:
    """Send a webhook for the profile `echo`."""
    headers = signed(deployment, body, event, **changes)
    return await deployment.ask("POST", f"/webhooks/echo{query}", content=body, headers=headers, key=None)


async def waiting(deployment: Deployment) -> tuple[int, int]:
    """Make a task that waits for a job of `echo` that reports by webhook only; return (task, execution)."""
    job = stage("ai", "echo", asynchronous=True, check_after_ms=None)
    task = await deployment.submit(await deployment.put(job, name="job"))
    await deployment.work()
    assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"
    return task, execution_id(task, 1)


async def kept(deployment: Deployment) -> list[dict[str, Any]]:
    found = await deployment.rows(
        "SELECT profile, event_id, execution_id, external_id, handled_ms, body FROM webhooks"
    )
    return [dict(row) for row in found]


class WebhooksContract(DeploymentSuite):
    """Webhooks of a provider."""

    async def test_a_webhook_is_stored_and_wakes_its_execution(self, deployment: Deployment) -> None:
        task, execution = await waiting(deployment)
        rung = len(deployment.queue.sent)

        response = await send(deployment, await address(deployment, execution))

        assert (response.status_code, response.json()) == (200, {"status": "received"})
        assert len(deployment.queue.sent) == rung + 1
        expected = {"profile": "echo", "event_id": "event-1", "execution_id": execution, "external_id": None}
        assert await kept(deployment) == [{**expected, "handled_ms": None, "body": webhook_body().decode()}]
        await deployment.work()
        shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["outcome"]) == ("completed", ANSWER)

    async def test_without_our_callback_address_the_external_id_matches(self, deployment: Deployment) -> None:
        task, execution = await waiting(deployment)

        await send(deployment, body=webhook_body(external_id=f"echo-{execution}"))
        await deployment.work()

        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"

    async def test_a_repeated_webhook_counts_once_with_the_same_reply(self, deployment: Deployment) -> None:
        _, execution = await waiting(deployment)

        responses = [await send(deployment, await address(deployment, execution)) for _ in range(3)]

        assert {(response.status_code, response.text) for response in responses} == {
            (200, '{"status":"received"}')
        }
        assert len(await kept(deployment)) == 1

    async def test_a_webhook_after_the_end_changes_the_bill_and_leaves_its_answer_unused(
        self, deployment: Deployment
    ) -> None:
        task, execution = await waiting(deployment)
        await deployment.ask("POST", f"/v1/tasks/{task}/cancel")
        await deployment.work()
        before = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()
        rung = len(deployment.queue.sent)

        assert (await send(deployment, await address(deployment, execution))).status_code == 200
        await deployment.work()

        after = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()
        (late,) = after["executions"]
        assert (late.pop("result"), late.pop("used")) == (ANSWER, False)
        assert late.pop("note").startswith("late answer, not used")
        for row in before["executions"]:
            for name in ("result", "used", "note"):
                row.pop(name)
        for history in (before, after):
            for row in (history["task"], *history["executions"]):
                for bill in ("cost_micro", "total_micro", "cost_source", "usage"):
                    row.pop(bill, None)
            history.pop("why")  # the audit row names the cost
        assert after == before
        assert len(deployment.queue.sent) == rung
        assert len(await kept(deployment)) == 1

    async def test_a_webhook_before_the_acceptance_is_stored(self, deployment: Deployment) -> None:
        """The call is still in flight: the settle finds the row."""
        job = stage("ai", "echo", asynchronous=True, check_after_ms=None, delay_ms=1)
        task = await deployment.submit(await deployment.put(job, name="job"))
        states: list[object] = []

        async def report() -> None:
            begun = await deployment.rows("SELECT status FROM task_executions")
            if begun and not states:
                states.append(begun[0]["status"])
                assert (
                    await send(deployment, await address(deployment, execution_id(task, 1)))
                ).status_code == 200

        for batch in range(1, 5):
            deployment.database.between(batch, report)
        await deployment.work()
        await deployment.work()

        assert states == ["running"]
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["outcome"] == ANSWER

    async def test_the_first_of_two_webhooks_wins_in_any_order(self, deployment: Deployment) -> None:
        task, execution = await waiting(deployment)

        for number, title in enumerate(("first", "second")):
            body = webhook_body(output={"title": title})
            assert (
                await send(deployment, await address(deployment, execution), body, f"event-{number}")
            ).status_code == 200
            await deployment.work()

        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["outcome"] == {"title": "first"}
        assert len(await kept(deployment)) == 2

    async def test_an_unknown_profile_is_not_found(self, deployment: Deployment) -> None:
        for profile in ("missing", "ECHO", "%00", "a'b", "x" * 500):
            response = await deployment.ask(
                "POST",
                f"/webhooks/{profile}",
                content=webhook_body(),
                headers=signed(deployment, webhook_body()),
            )
            refused(response, 404)

    async def test_a_profile_whose_provider_has_no_webhooks_refuses_them(
        self, deployment: Deployment
    ) -> None:
        response = await deployment.ask(
            "POST", "/webhooks/inbox", content=webhook_body(), headers=signed(deployment, webhook_body())
        )

        refused(response, 401)

    @pytest.mark.parametrize(
        "change",
        [
            {"webhook-signature": ""},
            {"webhook-signature": "v1,AAAA"},
            {"webhook-signature": "\xff\xfe"},
            {"webhook-timestamp": "0"},
            {"webhook-timestamp": "x"},
            {"webhook-timestamp": "9" * 400},
            {"webhook-id": "another"},
            {"webhook-id": ""},
        ],
        ids=str,
    )
    async def test_a_webhook_without_a_valid_signature_is_refused(
        self, deployment: Deployment, change: dict[str, str]
    ) -> None:
        _, execution = await waiting(deployment)
        raw = {
            name: value.encode("latin-1")
            for name, value in {**signed(deployment, webhook_body()), **change}.items()
        }

        response = await deployment.ask(
            "POST",
            f"/webhooks/echo{await address(deployment, execution)}",
            content=webhook_body(),
            headers=raw,
            key=None,
        )

        refused(response, 401)
        assert response.headers["www-authenticate"] == "Signature"
        assert await kept(deployment) == []

    async def test_a_changed_body_and_a_signature_of_another_profile_are_refused(
        self, deployment: Deployment
    ) -> None:
        headers = signed(deployment, webhook_body())
        refused(
            await deployment.ask("POST", "/webhooks/echo", content=webhook_body() + b" ", headers=headers),
            401,
        )
        refused(await deployment.ask("POST", "/webhooks/other", content=webhook_body(), headers=headers), 401)
        assert await kept(deployment) == []

    @pytest.mark.parametrize("minutes", [-6, 6])
    async def test_an_old_or_future_webhook_is_refused(self, deployment: Deployment, minutes: int) -> None:
        headers = signed(deployment, webhook_body())
        deployment.clock.advance(minutes * 60_000)

        refused(await deployment.ask("POST", "/webhooks/echo", content=webhook_body(), headers=headers), 401)

    async def test_a_changed_callback_address_is_refused(self, deployment: Deployment) -> None:
        _, execution = await waiting(deployment)
        (row,) = await deployment.rows("SELECT lease FROM task_executions WHERE id = ?1", execution)
        mark = mark_of(str(row["lease"]))
        good = sign(deployment.world, "echo", execution, mark)
        other = sign(deployment.world, "other", execution, mark)
        for query in (
            f"?execution={execution}",
            f"?mark={mark}",
            f"?signature={good}",
            f"?execution={execution}&signature={good}",
            f"?execution={execution}&mark=&signature={good}",
            f"?execution={execution}&mark={mark[::-1]}&signature={good}",
            f"?execution={execution}&mark=%FF%00&signature={good}",
            f"?execution={execution + 1}&mark={mark}&signature={good}",
            f"?execution={execution}&mark={mark}&signature={other}",
            f"?execution={execution}&mark={mark}&signature={good[:-1]}",
            f"?execution={execution}&mark={mark}&signature=",
            f"?execution={execution}&mark={mark}&signature=%C3%A9%00",
            f"?execution=0{execution}&mark={mark}&signature={good}",
            f"?execution={execution}&execution=1&mark={mark}&signature={good}",
            f"?execution=9007199254740991&mark=0&signature={sign(deployment.world, 'echo', 2**53 - 1, '0')}",
            "?execution=&mark=&signature=",
            "?execution=1e3&mark=0&signature=x",
        ):
            refused(await send(deployment, query), 401)
        assert await kept(deployment) == []

    async def test_parameters_added_by_a_provider_are_ignored(self, deployment: Deployment) -> None:
        _, execution = await waiting(deployment)

        assert (
            await send(deployment, f"{await address(deployment, execution)}&utm_source=x&utm_source=y")
        ).status_code == 200

    async def test_an_event_without_an_execution_is_stored(self, deployment: Deployment) -> None:
        for number, query in enumerate(
            ("", await address(deployment, 1), await address(deployment, 2**53 - 2))
        ):
            assert (await send(deployment, query, event=f"event-{number}")).status_code == 200
        assert len(await kept(deployment)) == 3

    async def test_a_body_is_stored_to_the_letter(self, deployment: Deployment) -> None:
        body = (
            webhook_body(external_id="a\0b", output={"title": "'; DROP TABLE tasks; -- 🧠 \u2028"})
            + b"\r\n\t"
        )

        assert (await send(deployment, body=body)).status_code == 200

        (row,) = await kept(deployment)
        assert (row["body"], row["external_id"]) == (body.decode(), "a\ufffdb")

    async def test_a_body_that_is_not_text_is_refused(self, deployment: Deployment) -> None:
        assert (await send(deployment, body=b"\xff\xfe\x00")).status_code in (400, 401)
        assert await kept(deployment) == []

    async def test_a_large_webhook_is_kept_and_read(self, deployment: Deployment) -> None:
        """A provider that gets 413 would send it again for ever."""
        task, execution = await waiting(deployment)
        answer = {"title": "é" * 700_000}

        body = webhook_body(output=answer)
        assert (await send(deployment, await address(deployment, execution), body=body)).status_code == 200
        assert [row["body"] for row in await kept(deployment)] == [""]
        await deployment.work()

        shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["outcome"]) == ("completed", answer)

    async def test_webhook_bodies_are_limited_in_size(self, deployment: Deployment) -> None:
        refused(await send(deployment, body=b" " * (MAX_REPLY_BYTES + 1)), 413)
        assert (await send(deployment, body=b" " * MAX_REPLY_BYTES)).status_code == 200
        refused(await send(deployment, event="x" * 1_001), 422, "id")
        assert (
            await send(deployment, event="x" * 1_000, body=webhook_body(external_id="y" * 5_000))
        ).status_code == 200

    async def test_webhooks_are_accepted_by_post_only(self, deployment: Deployment) -> None:
        for method in ("GET", "HEAD", "PUT"):
            response = await deployment.ask(method, "/webhooks/echo", key=None)
            assert (response.status_code, response.headers["allow"]) == (405, "POST")

    async def test_the_log_has_the_profile_and_no_payload(self, deployment: Deployment) -> None:
        _, execution = await waiting(deployment)
        await send(deployment, await address(deployment, execution))
        await send(deployment, "?execution=1&signature=x")

        lines = [json.loads(line) for line in deployment.log.getvalue().splitlines()]
        noted = [line for line in lines if line["event"].startswith("webhook.")]
        assert [line["event"] for line in noted] == ["webhook.received", "webhook.refused"]
        assert [line["profile"] for line in noted] == ["echo", "echo"]
        assert "by webhook" not in deployment.log.getvalue()
