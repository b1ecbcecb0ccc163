"""The adapters of the shop: a paid API that can be queried by our key, and one that cannot.

The file is shipped into workerd alone, so it imports nothing from the tests."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.strictjson import dump_json
from consumer.provider import Abilities, Event, Provider, Quote, Reply, Verb, standard_webhook, strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call

CHECK_AFTER_MS = 30_000


class Ledgered(Provider):
    """Answers immediately or later, reports its charge, can be queried by key; a repeated key makes a second job."""

    name = "ledgered"
    kind = "ai"
    abilities = Abilities(poll=True, lookup=True, webhook=True)

    def quote(self, call: Call) -> Quote:  # noqa: ARG002  # the contract's arguments
        return Quote()

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        base = call.account.profile.base_url
        if verb is Verb.SUBMIT:
            body = {"key": call.key, "value": call.value, "callback": call.callback_url}
            return httpx2.Request("POST", f"{base}/jobs", content=dump_json(body).encode())
        found = f"?key={call.key}" if verb is Verb.LOOKUP else f"/{call.external_id}"
        return httpx2.Request("GET", f"{base}/jobs{found}")

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        try:
            said = reply.json()
        except ValueError:
            return Unknown("unreadable")
        if verb is not Verb.SUBMIT and reply.status in {429, 503}:  # an outage says nothing about a job
            return Unknown(f"http_{reply.status}")
        if reply.status in {404, 429, 503}:  # the shop replies so before it accepts a job
            return Retry(f"http_{reply.status}", reply.retry_after_ms(call.now_ms))
        return _meaning(said)

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        return Event(event, str(strict_json(body)["id"]))

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:  # noqa: ARG002  # the contract's arguments
        return _meaning(strict_json(body))


class Blind(Ledgered):
    """The same without a query: the outcome of a call with a lost reply stays unknown."""

    name = "blind-ledgered"
    abilities = Abilities()


def _meaning(said: Mapping[str, Any]) -> Outcome:
    charged = None if said.get("charged") is None else Decimal(said["charged"])
    match said.get("state"):
        case "done":
            return Succeeded(said["answer"], charged=charged)
        case "working":
            return Accepted(str(said["id"]), CHECK_AFTER_MS)
        case "failed":
            return Failed("refused", charged=charged)
        case _:
            return Unknown("unreadable")
