"""Webhooks on every host: signatures are checked, and each event is stored once, whenever it arrives."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from standardwebhooks import Webhook

from consumer.execution.call import callback_url, sign
from consumer.store.sql import execution_id
from consumer.web.request import MAX_BODY
from tests.contracts.house import SECRETS, Furnished, House, refused, stage

if TYPE_CHECKING:
    import httpx2

ANSWER: Final = {"title": "reported"}


def said(**data: Any) -> bytes:
    """What the echo's webhooks look like."""
    return json.dumps(
        {"type": "echo.completed", "data": {"output": ANSWER, **data}}, ensure_ascii=False
    ).encode()


def signed(house: House, body: bytes, event: str = "event-1", **changes: str) -> dict[str, str]:
    """The headers of a webhook of the profile `echo`."""
    moment = datetime.fromtimestamp(house.clock.ms // 1000, UTC)
    signature = Webhook(SECRETS["ECHO_HOOK"]).sign(event, moment, body.decode("utf-8", "replace"))
    headers = {
        "webhook-id": event,
        "webhook-timestamp": str(house.clock.ms // 1000),
        "webhook-signature": signature,
    }
    return {**headers, **changes}


async def send(
    house: House, query: str = "", body: bytes = said(), event: str = "event-1", **changes: str
) -> httpx2.Response:
    """One webhook for the profile `echo`."""
    headers = signed(house, body, event, **changes)
    return await house.ask("POST", f"/webhooks/echo{query}", content=body, headers=headers, key=None)


def address(house: House, execution: int, profile: str = "echo") -> str:
    """The query of the callback address that a provider was given."""
    return "?" + callback_url(house.world, profile, execution).partition("?")[2]


async def waiting(house: House) -> tuple[int, int]:
    """A task that waits for a job of `echo` whose end only a webhook reports: (task, execution)."""
    job = stage("ai", "echo", asynchronous=True, check_after_ms=None)
    task = await house.submit(await house.put(job, name="job"))
    await house.work()
    assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"
    return task, execution_id(task, 1)


async def kept(house: House) -> list[dict[str, Any]]:
    found = await house.rows(
        "SELECT profile, event_id, execution_id, external_id, handled_ms, body FROM webhooks"
    )
    return [dict(row) for row in found]


class WebhooksContract(Furnished):
    """Events of a provider."""

    async def test_an_event_is_stored_and_makes_its_execution_due(self, house: House) -> None:
        task, execution = await waiting(house)
        rung = len(house.queue.sent)

        response = await send(house, address(house, execution))

        assert (response.status_code, response.json()) == (200, {"status": "received"})
        assert len(house.queue.sent) == rung + 1
        expected = {"profile": "echo", "event_id": "event-1", "execution_id": execution, "external_id": None}
        assert await kept(house) == [{**expected, "handled_ms": None, "body": said().decode()}]
        await house.work()
        shown = (await house.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["outcome"]) == ("completed", ANSWER)

    async def test_without_a_callback_address_the_external_id_finds_the_execution(self, house: House) -> None:
        task, execution = await waiting(house)

        await send(house, body=said(external_id=f"echo-{execution}"))
        await house.work()

        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "completed"

    async def test_twice_is_once_and_answered_the_same(self, house: House) -> None:
        _, execution = await waiting(house)

        responses = [await send(house, address(house, execution)) for _ in range(3)]

        assert {(response.status_code, response.text) for response in responses} == {
            (200, '{"status":"received"}')
        }
        assert len(await kept(house)) == 1

    async def test_after_the_end_it_is_kept_and_changes_nothing_but_the_bill(self, house: House) -> None:
        task, execution = await waiting(house)
        await house.ask("POST", f"/v1/tasks/{task}/cancel")
        await house.work()
        before = (await house.ask("GET", f"/v1/tasks/{task}/history")).json()
        rung = len(house.queue.sent)

        assert (await send(house, address(house, execution))).status_code == 200
        await house.work()

        after = (await house.ask("GET", f"/v1/tasks/{task}/history")).json()
        for history in (before, after):
            for row in (history["task"], *history["executions"]):
                for bill in ("cost_micro", "total_micro", "cost_source", "usage"):
                    row.pop(bill, None)
            history.pop("why")  # it names the cost
        assert after == before
        assert len(house.queue.sent) == rung
        assert len(await kept(house)) == 1

    async def test_before_its_acceptance_is_written_it_is_kept(self, house: House) -> None:
        """The call is still in flight: the settle finds the row."""
        job = stage("ai", "echo", asynchronous=True, check_after_ms=None)
        task = await house.submit(await house.put(job, name="job"))

        assert (await send(house, address(house, execution_id(task, 1)))).status_code == 200
        await house.work()
        await house.work()

        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["outcome"] == ANSWER

    async def test_the_first_of_two_wins_in_whatever_order_they_come(self, house: House) -> None:
        task, execution = await waiting(house)

        for number, title in enumerate(("first", "second")):
            body = said(output={"title": title})
            assert (await send(house, address(house, execution), body, f"event-{number}")).status_code == 200
            await house.work()

        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["outcome"] == {"title": "first"}
        assert len(await kept(house)) == 2

    async def test_an_unknown_profile_is_not_there(self, house: House) -> None:
        for profile in ("unknown", "ECHO", "%00", "a'b", "x" * 500):
            response = await house.ask(
                "POST", f"/webhooks/{profile}", content=said(), headers=signed(house, said())
            )
            refused(response, 404)

    async def test_a_profile_whose_provider_sends_none(self, house: House) -> None:
        response = await house.ask("POST", "/webhooks/inbox", content=said(), headers=signed(house, said()))

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
    async def test_an_event_without_a_valid_signature_is_refused(
        self, house: House, change: dict[str, str]
    ) -> None:
        _, execution = await waiting(house)
        raw = {name: value.encode("latin-1") for name, value in {**signed(house, said()), **change}.items()}

        response = await house.ask(
            "POST", f"/webhooks/echo{address(house, execution)}", content=said(), headers=raw, key=None
        )

        refused(response, 401)
        assert response.headers["www-authenticate"] == "Signature"
        assert await kept(house) == []

    async def test_a_body_that_was_changed_or_is_signed_for_another_profile(self, house: House) -> None:
        headers = signed(house, said())
        refused(await house.ask("POST", "/webhooks/echo", content=said() + b" ", headers=headers), 401)
        refused(await house.ask("POST", "/webhooks/other", content=said(), headers=headers), 401)
        assert await kept(house) == []

    @pytest.mark.parametrize("minutes", [-6, 6])
    async def test_an_old_or_future_event_is_refused(self, house: House, minutes: int) -> None:
        headers = signed(house, said())
        house.clock.advance(minutes * 60_000)

        refused(await house.ask("POST", "/webhooks/echo", content=said(), headers=headers), 401)

    async def test_an_address_that_was_changed(self, house: House) -> None:
        _, execution = await waiting(house)
        good = sign(house.world, "echo", execution)
        other = sign(house.world, "other", execution)
        for query in (
            f"?execution={execution}",
            f"?signature={good}",
            f"?execution={execution + 1}&signature={good}",
            f"?execution={execution}&signature={other}",
            f"?execution={execution}&signature={good[:-1]}",
            f"?execution={execution}&signature=",
            f"?execution={execution}&signature=%C3%A9%00",
            f"?execution=0{execution}&signature={good}",
            f"?execution={execution}&execution=1&signature={good}",
            f"?execution=9007199254740991&signature={sign(house.world, 'echo', 2**53 - 1)}",
            "?execution=&signature=",
            "?execution=1e3&signature=x",
        ):
            refused(await send(house, query), 401)
        assert await kept(house) == []

    async def test_parameters_that_a_provider_adds(self, house: House) -> None:
        _, execution = await waiting(house)

        assert (
            await send(house, f"{address(house, execution)}&utm_source=x&utm_source=y")
        ).status_code == 200

    async def test_an_event_for_an_unknown_job_is_kept(self, house: House) -> None:
        for number, query in enumerate(("", address(house, 1), address(house, 2**53 - 2))):
            assert (await send(house, query, event=f"event-{number}")).status_code == 200
        assert len(await kept(house)) == 3

    async def test_every_body_is_stored_unchanged(self, house: House) -> None:
        body = said(external_id="a\0b", output={"title": "'; DROP TABLE tasks; -- 🧠 \u2028"}) + b"\r\n\t"

        assert (await send(house, body=body)).status_code == 200

        (row,) = await kept(house)
        assert (row["body"], row["external_id"]) == (body.decode(), "a\ufffdb")

    async def test_a_body_that_is_not_text(self, house: House) -> None:
        assert (await send(house, body=b"\xff\xfe\x00")).status_code in (400, 401)
        assert await kept(house) == []

    async def test_sizes(self, house: House) -> None:
        refused(await send(house, body=b" " * (MAX_BODY + 1)), 413)
        assert (await send(house, body=b" " * MAX_BODY)).status_code == 200
        refused(await send(house, event="x" * 1_001), 422, "id")
        assert (await send(house, event="x" * 1_000, body=said(external_id="y" * 5_000))).status_code == 200

    async def test_only_post(self, house: House) -> None:
        for method in ("GET", "HEAD", "PUT"):
            response = await house.ask(method, "/webhooks/echo", key=None)
            assert (response.status_code, response.headers["allow"]) == (405, "POST")

    async def test_the_log_has_the_profile_and_no_payload(self, house: House) -> None:
        _, execution = await waiting(house)
        await send(house, address(house, execution))
        await send(house, "?execution=1&signature=x")

        lines = [json.loads(line) for line in house.log.getvalue().splitlines()]
        events = [line for line in lines if line["event"].startswith("webhook.")]
        assert [line["event"] for line in events] == ["webhook.received", "webhook.refused"]
        assert [line["profile"] for line in events] == ["echo", "echo"]
        assert "reported" not in house.log.getvalue()
