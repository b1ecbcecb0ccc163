"""The adapter for endpoints: its profiles, and its signatures beside those of another implementation.

`svix` implements the same specification, and shares no code with the library that the adapter signs with.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from svix.webhooks import Webhook as Svix
from svix.webhooks import WebhookVerificationError

from consumer.core.errors import BadInput
from consumer.core.outcome import Unknown
from consumer.core.profile import Account, Profile
from consumer.provider import BadSignature, Provider, Reply, Verb
from providers import PROVIDERS
from providers.webhook import Webhook
from tests.support.adapters import make_account, make_call
from tests.support.endpoint import NEW, OLD

WEBHOOK = PROVIDERS["webhook"]
BODY = b'{"type": "task.succeeded", "data": {"output": {"city": "Paris"}}}'


def account(
    secret: str | None = OLD, base_url: str = "https://hooks.example.com/bizq", **more: Any
) -> Account:
    options = {"kind": "human", **more.pop("options", {})}
    profile = Profile(
        provider="webhook", base_url=base_url, webhook_secret=secret and "HOOK", options=options, **more
    )
    return Account("test", profile, webhook_secret=secret)


def sent(verb: Verb = Verb.SUBMIT, **changes: Any) -> httpx2.Request:
    """A request of the adapter.  The other implementation compares its time with the real one."""
    call = make_call(WEBHOOK, now_ms=int(time.time() * 1000), **changes)
    request = WEBHOOK.request(call, verb)
    assert isinstance(request, httpx2.Request)
    return request


@pytest.mark.parametrize("verb", [Verb.SUBMIT, Verb.CANCEL, Verb.POLL, Verb.LOOKUP])
def test_another_implementation_accepts_the_signature_of_each_request(verb: Verb) -> None:
    request = sent(verb, account=account())

    Svix(OLD).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Svix(NEW).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Svix(OLD).verify(request.content + b" ", dict(request.headers))


def test_while_a_secret_is_changed_a_request_is_signed_with_both() -> None:
    request = sent(account=account(f"{NEW} {OLD}"))

    for secret in (NEW, OLD):
        Svix(secret).verify(request.content, dict(request.headers))


@pytest.mark.parametrize("value", ["naïve 🧠", "\ud83d", "x" * 100_000])
def test_the_signature_covers_any_text(value: str) -> None:
    request = sent(account=account(), value={"text": value})

    Svix(OLD).verify(request.content, dict(request.headers))
    json.loads(request.content)


@pytest.mark.parametrize("signs", [NEW, OLD])
def test_a_callback_that_another_implementation_signed_is_genuine(signs: str) -> None:
    now = datetime(2033, 5, 18, tzinfo=UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1a,else v1,bm90IG91cnM= {Svix(signs).sign('evt_1', now, BODY.decode())}",
    }
    now_ms = int(now.timestamp() * 1000)

    assert WEBHOOK.verify_webhook(account(f"{NEW} {OLD}"), headers, BODY, now_ms).id == "evt_1"
    with pytest.raises(BadSignature):
        WEBHOOK.verify_webhook(account(OLD if signs == NEW else NEW), headers, BODY, now_ms)


def test_each_secret_is_taken_out_of_texts() -> None:
    both = account(f"{NEW} {OLD}")

    assert {NEW, OLD} <= set(both.secrets)
    outcome: Any = WEBHOOK.reply(
        make_call(WEBHOOK, account=both), Verb.SUBMIT, Reply(401, {}, f'{{"error": "not {OLD}"}}'.encode())
    )
    assert outcome.why == "http_401: not ***"


# --- profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"options": {"kind": "robot"}}, r"^options\.kind: "),
        ({"options": {"polls": True}}, r"^options\.polls: is not a known field"),
        ({"secret": None}, r"^webhook_secret: must name the secret"),
        ({"secret": f"{NEW} {OLD} {NEW}"}, r"^webhook_secret: must be the signing secret"),
        ({"base_url": "http://hooks.example.com/bizq"}, r"^base_url: must begin with https://"),
        ({"base_url": "https://127.0.0.1:9000/"}, r"^base_url: 127\.0\.0\.1 is in a private network"),
        ({"base_url": "https://[::ffff:a9fe:a9fe]/"}, r"^base_url: .* is in a private network"),
        ({"base_url": "https://2130706433/"}, r"^base_url: .* is in a private network"),
        ({"base_url": "https://metadata.google.internal/"}, r"^base_url: .* is in a private network"),
        ({"base_url": "https://me:pw@hooks.example.com/"}, r"^base_url: must have no"),
        ({"price_book": "openai"}, r"^price_book: must be left out"),
        ({"price": {"output_per_million": "1"}}, r"^price: must have per_task only"),
    ],
)
def test_a_profile_that_cannot_work_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        WEBHOOK.check(account(**wrong))


def test_the_kind_must_be_stated() -> None:
    bare = Profile(provider="webhook", base_url="https://hooks.example.com/bizq", webhook_secret="HOOK")
    with pytest.raises(BadInput, match=r"^options\.kind: "):
        WEBHOOK.check(Account("test", bare, webhook_secret=OLD))


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9000/tasks", "http://10.0.0.7/", "https://forms.lan"])
def test_the_operator_may_allow_a_private_network(base_url: str) -> None:
    WEBHOOK.check(account(base_url=base_url, options={"private_network": True}))


def test_the_address_may_carry_a_query() -> None:
    """Endpoints of workflow tools have their key or version there."""
    there = account(base_url="https://hooks.example.com/run?version=2")

    assert str(sent(account=there).url) == "https://hooks.example.com/run?version=2"
    polled = sent(Verb.POLL, account=there, external_id="a/b c")
    assert str(polled.url) == "https://hooks.example.com/run/a/b%20c?version=2"


@pytest.mark.parametrize("job", ["../../admin", "..", ".", "", "a//b", "a/../b", "/etc", "x/."])
def test_a_name_that_leads_elsewhere_is_never_polled(job: str) -> None:
    request = sent(Verb.POLL, account=account(), external_id=job)

    assert request.url.path == "/bizq/bizq-1099511633921"


# --- variants --------------------------------------------------------------------------------------------------------


def variant(**options: Any) -> Provider:
    return WEBHOOK.of(account(options=options))


def test_the_profile_decides_on_kind_and_abilities() -> None:
    assert isinstance(variant(), Webhook)
    assert (variant().kind, variant(kind="ai").kind, WEBHOOK.kind) == ("human", "ai", "human")
    plain, all_of_them = variant().abilities, variant(poll=True, honours_key=True).abilities
    assert (plain.poll, plain.lookup, plain.cancel, plain.webhook, plain.honours_key) == (
        False, False, True, True, False,
    )  # fmt: skip
    assert (all_of_them.poll, all_of_them.lookup, all_of_them.honours_key) == (True, True, True)


def test_without_callbacks_a_signed_one_is_refused() -> None:
    now = datetime(2033, 5, 18, tzinfo=UTC)
    stamp = str(int(now.timestamp()))
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": stamp,
        "webhook-signature": Svix(OLD).sign("evt_1", now, BODY.decode()),
    }
    with pytest.raises(BadSignature, match="no callbacks"):
        variant(callbacks=False).verify_webhook(account(), headers, BODY, int(stamp) * 1000)


def test_an_acceptance_from_which_no_answer_can_come_is_not_believed() -> None:
    alone = variant(callbacks=False)
    outcome = alone.reply(make_call(WEBHOOK), Verb.SUBMIT, Reply(202, {}, b""))

    assert isinstance(outcome, Unknown)
    assert outcome.why.startswith("accepted_for_ever: ")


def test_the_first_poll_of_a_person_comes_later_than_that_of_a_system() -> None:
    waits: list[Any] = [
        variant(kind=kind, poll=True).reply(make_call(WEBHOOK), Verb.SUBMIT, Reply(202, {}, b""))
        for kind in ("ai", "human")
    ]
    assert [accepted.check_after_ms for accepted in waits] == [5_000, 60_000]


def test_headers_of_the_profile_and_its_key_are_sent() -> None:
    there = replace(make_account(WEBHOOK, headers={"X-Team": "a"}), webhook_secret=OLD)
    request = sent(account=there)

    assert request.headers["x-team"] == "a"
    assert request.headers["authorization"].startswith("Bearer ")
