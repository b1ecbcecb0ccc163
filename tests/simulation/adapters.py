"""Adapters for the simulated providers: one protocol, several abilities."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx2

from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.strictjson import dump_json
from consumer.provider import Abilities, Event, Provider, Quote, Reply, Verb, standard_webhook, strict_json
from providers.openai_compatible import OpenAICompatible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call


class Plain(Provider):
    """Neither honours keys nor can look a call up; reports its charge in every reply."""

    name = "plain"
    kind: Literal["ai", "human"] = "ai"

    def quote(self, call: Call) -> Quote:  # noqa: ARG002  # the contract's arguments
        return Quote()

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        body = {
            "key": call.key,
            "execution": call.execution_id,
            "value": call.value,
            "callback": call.callback_url,
            "external_id": call.external_id,
            "feedback": call.feedback,
            "draft": call.draft,
        }
        address = f"http://{self.name}.test/{verb}"
        return httpx2.Request("POST", address, content=dump_json(body).encode())

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:  # noqa: ARG002  # the contract's arguments
        try:
            said = reply.json()
        except ValueError:
            return Unknown("unreadable")
        if reply.status == 429:
            return Retry("rate_limited", reply.retry_after_ms(call.now_ms))
        if reply.status == 404:
            return Retry("no such job")
        if reply.status >= 500:
            return Unknown(f"http_{reply.status}")
        return _meaning(said)

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        external = strict_json(body).get("id")
        return Event(event, external if isinstance(external, str) else None)

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:  # noqa: ARG002  # the contract's arguments
        return _meaning(strict_json(body))


def _meaning(said: Mapping[str, Any]) -> Outcome:
    charged = None if said.get("charged") is None else Decimal(said["charged"])
    match said["status"]:
        case "done":
            return Succeeded(said["answer"], charged=charged)
        case "accepted" | "working":
            return Accepted(said["id"], said.get("check_after_ms"), charged=charged)
        case "unknown":
            return Unknown("the provider does not know either")
        case _:
            return Failed(said.get("why", "refused"), charged=charged)


class Keyed(Plain):
    """Sending the same key twice does the work once."""

    name = "keyed"
    abilities = Abilities(honours_key=True)


class Evident(Plain):
    """A submission whose reply was lost can be looked up."""

    name = "evident"
    abilities = Abilities(lookup=True)


class Both(Plain):
    """Honours keys, and can look calls up by them."""

    name = "both"
    abilities = Abilities(honours_key=True, lookup=True)


class Jobs(Plain):
    """Asynchronous: accepts, is polled, calls back, can be cancelled."""

    name = "jobs"
    abilities = Abilities(poll=True, cancel=True, webhook=True)


class Calls(Plain):
    """Asynchronous, and reports by webhook only."""

    name = "calls"
    abilities = Abilities(webhook=True)


class Crowd(Plain):
    """People outside, behind an API."""

    name = "crowd"
    kind = "human"
    abilities = Abilities(poll=True, cancel=True)


ADAPTERS: Final = (Plain, Keyed, Evident, Both, Jobs, Calls, Crowd)
PRICE_MICRO: Final = 10_000
HOOK_SECRET: Final = "whsec_c2VjcmV0IG9mIHRoZSBzaW11bGF0aW9uIGFsb25l"
LIMITS: Final[dict[str, Any]] = {"keyed": {"concurrency": 1}, "both": {"rate": {"calls": 2, "per_s": 300}}}
PROFILES: Final[dict[str, Any]] = {
    "echo": {"provider": "echo", "price": {"per_task": "0"}, "webhook_secret": "HOOK"},
    "inbox": {"provider": "inbox", "price": {"per_task": "0.5"}},
    "chat": {
        "provider": "openai_compatible",
        "base_url": "http://chat.test/v1",
        "price": {"input_per_million": "1.07", "output_per_million": "2.03"},
    },
    "listed": {"provider": "openai_compatible", "base_url": "http://chat.test/v1", "price_book": "mistral"},
    **{
        adapter.name: {
            "provider": adapter.name,
            "base_url": f"http://{adapter.name}.test",
            "price": {"per_task": "0.01"},
            **({"webhook_secret": "HOOK"} if adapter.abilities.webhook else {}),
            **LIMITS.get(adapter.name, {}),
        }
        for adapter in ADAPTERS
    },
}


class Chat(OpenAICompatible):
    """The real adapter; a header names the execution to its server, which keeps a ledger."""

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        request = super().request(call, verb)
        request.headers["x-execution"] = str(call.execution_id)
        return request
