"""Any system or person behind an HTTP endpoint: the worker sends it a signed task, and it reports how the task went.

Each request of the worker, and each callback of the endpoint, is signed as https://www.standardwebhooks.com says, with
the webhook secret of the profile.  The endpoint answers a task with a report, or accepts it (202) and reports later: by
a callback, or when the worker polls it.  A report is `{"type": "task.succeeded", "data": {"output": ...}}`, and has the
same form in a reply and in a callback.  `docs/providers.md` has all of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import quote, unquote

import httpx2
from pydantic import Field

from consumer.core.addresses import is_private
from consumer.core.errors import BadInput
from consumer.core.http_api import ending_of, headers_of, object_in, refused
from consumer.core.model import Model, parse
from consumer.core.money import Usage, reported_amount
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.policy import HOUR, SECOND
from consumer.core.refusals import read_refusal
from consumer.core.strictjson import dump_json
from consumer.core.times import iso
from consumer.core.waits import asked_wait_ms
from consumer.provider import (
    Abilities,
    About,
    BadSignature,
    Event,
    Provider,
    Quote,
    Settings,
    Verb,
    check_standard_secret,
    excerpt,
    standard_webhook,
    strict_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call, Reply


class WebhookSettings(Settings):
    """The settings of a candidate in a route."""

    note: str = Field(default="", max_length=10_000)
    """More instructions, beside those of the template."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Values of your own that the endpoint receives with the task, such as the name of a team."""


class WebhookOptions(Model):
    """The options of a profile: who is behind the endpoint, and which requests it knows."""

    kind: Literal["ai", "human"]
    """Whether a person or a system does the work."""
    callbacks: bool = True
    """Whether it reports to the callback address.  Without, it must answer at once or be polled."""
    poll: bool = False
    """Whether `GET {base_url}/{job}` reports on a task."""
    cancel: bool = True
    """Whether it wants to know that a task was cancelled."""
    honours_key: bool = False
    """Whether it does a task once that it gets twice with the same `webhook-id`."""
    private_network: bool = False
    """Whether its address may be in a private network, and may be plain `http`."""


FIRST_POLL: Final = {"ai": 5 * SECOND, "human": 60 * SECOND}
"""The wait before the first poll, if the endpoint names none; later ones follow the age of the task."""
GONE_MS: Final = HOUR
"""How long a profile rests whose endpoint is gone (410)."""
_MAX_JOB: Final = 500
"""The most characters of the endpoint's own name for a task."""


class Webhook(Provider):
    """`POST {base_url}`, signed."""

    name = "webhook"
    kind: Literal["ai", "human"] = "human"
    abilities = Abilities(poll=True, lookup=True, cancel=True, webhook=True)
    settings = WebhookSettings
    about = About(
        structured="the schema is sent",
        price="the cost in a report, else price.per_task",
        limits="429, 503, 410, retry-after",
        webhooks="Standard Webhooks, both directions",
        inputs="the whole task as JSON",
        tried="fake endpoint with a ledger, with svix's own library; the endpoint of docs/endpoints.md, live",
    )

    def of(self, account: Account) -> Webhook:
        """The adapter with the kind and the abilities that the profile states."""
        options = _options(account)
        variant = Webhook()
        variant.kind = options.kind
        variant.abilities = Abilities(
            honours_key=options.honours_key,
            poll=options.poll,
            lookup=options.poll,
            cancel=options.cancel,
            webhook=options.callbacks,
        )
        return variant

    def check(self, account: Account) -> None:
        super().check(account)
        options, profile = _options(account), account.profile
        if profile.webhook_secret is None:
            raise BadInput(
                "webhook_secret", "must name the secret that signs the requests and the callbacks (whsec_...)"
            )
        check_standard_secret(account.webhook_secret)
        _check_address(profile.base_url or "", private_network=options.private_network)
        if profile.price_book is not None:
            raise BadInput(
                "price_book", "must be left out: an endpoint reports no tokens, so state price.per_task"
            )
        if profile.price is not None and (
            profile.price.input_per_million or profile.price.output_per_million
        ):
            raise BadInput("price", "must have per_task only: an endpoint reports no tokens")

    def quote(self, call: Call) -> Quote:  # its price is the profile's `per_task`
        return Quote()

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        address = call.account.profile.base_url or ""
        if verb in (Verb.POLL, Verb.LOOKUP):
            job = call.key if verb is Verb.LOOKUP else call.external_id or call.key
            # Each poll is a message of its own: an endpoint may refuse an id that it has seen.
            return _signed(
                call, "GET", _below(address, job, call.key), f"{call.key}-{verb}-{call.now_ms}", b""
            )
        if verb is Verb.CANCEL:
            named = {"id": call.key, "job": call.external_id}
            body = _message(call, "task.cancel", named)
            return _signed(call, "POST", address, f"{call.key}-cancel", body)
        return _signed(call, "POST", address, call.key, _message(call, "task.created", _task(call)))

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        if reply.status == 410 and verb is Verb.SUBMIT:
            asked = reply.retry_after_ms(call.now_ms)
            why = (
                "endpoint_gone: the endpoint answers 410, so correct the base_url of the profile or remove it"
            )
            return Retry(why, GONE_MS if asked is None else asked, limited=True)
        wait = reply.retry_after_ms(call.now_ms)
        report = self._meaning(call, verb, _json(reply.body), wait)
        done = 200 <= reply.status < 300
        if report is not None and (done or isinstance(report, Failed | Retry)):
            return _with_job(call, reply, report)
        if not done:
            return _refused(call, verb, reply)
        if reply.status == 202:
            return _with_job(call, reply, self._accepted(verb, None, wait))
        if verb is Verb.CANCEL and not reply.text:
            return Failed("cancelled")
        what = "it is empty" if not reply.text else "it is no report of a task"
        return Unknown(f"unreadable_reply: {what}")

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        if not self.abilities.webhook:
            raise BadSignature("this profile has no callbacks: its option `callbacks` is false")
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        data = _data(_json(body))
        return Event(event, _job(data.get("job")) or _job(data.get("id")))

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        value = _json(body)
        return self._meaning(call, None, value, asked_wait_ms({}, value, call.now_ms))

    # ------------------------------------------------------------------------------------- reports

    def _meaning(self, call: Call, verb: Verb | None, value: Any, wait: int | None) -> Outcome | None:
        """The outcome that a report means; None if the value is none.  `verb` is None for a callback."""
        data = _data(value)
        kind = value.get("type") if isinstance(value, dict) else None
        charged, usage = _cost(call, data)
        said = excerpt(data.get("reason"), call.account)
        match kind:
            case "task.succeeded" if data.get("output") is not None:
                return Succeeded(data["output"], usage=usage, charged=charged)
            case "task.refused":
                return Failed(f"refused: {said}".removesuffix(": "), usage=usage, charged=charged)
            case "task.failed":
                return Failed(f"failed: {said}".removesuffix(": "), usage=usage, charged=charged)
            case "task.busy":
                return Retry(f"busy: {said}".removesuffix(": "), wait, usage=usage, charged=charged)
            case "task.accepted" | "task.progress":
                return self._accepted(verb, _job(data.get("job")), wait)
            case "task.cancelled":
                return Failed("cancelled", usage=usage, charged=charged)
            case "task.not_found" if verb in (Verb.POLL, Verb.LOOKUP):
                return Retry("not_found: the endpoint never got the task", wait)
            case _:
                return None

    def _accepted(self, verb: Verb | None, job: str | None, wait: int | None) -> Outcome:
        """An acceptance.  After a poll the worker itself chooses the time of the next one, if the endpoint does not."""
        if not (self.abilities.poll or self.abilities.webhook):
            return Unknown(
                "accepted_for_ever: the profile has neither callbacks nor poll, so no answer can come"
            )
        if not self.abilities.poll:
            return Accepted(job)
        first = FIRST_POLL[self.kind] if verb in (Verb.SUBMIT, None) else None
        return Accepted(job, first if wait is None else wait)


def _with_job(call: Call, reply: Reply, outcome: Outcome) -> Outcome:
    """An acceptance with the name under which the job is polled."""
    if not isinstance(outcome, Accepted):
        return outcome
    location = _relative(call.account.profile.base_url or "", reply.headers.get("location", ""))
    return replace(outcome, external_id=outcome.external_id or call.external_id or location or call.key)


def _options(account: Account) -> WebhookOptions:
    return parse(WebhookOptions, account.profile.options, "options")


def _check_address(base_url: str, *, private_network: bool) -> None:
    url = httpx2.URL(base_url)
    if url.fragment or url.userinfo:
        raise BadInput("base_url", "must have no `#` and no `@`: use `key` or `secret_headers` for a secret")
    if private_network:
        return
    if is_private(url.host):
        where = f"{url.host} is in a private network"
        raise BadInput("base_url", f"{where}: set the option private_network to true if that is intended")
    if url.scheme != "https":
        raise BadInput("base_url", "must begin with https:// unless the option private_network is true")


# ------------------------------------------------------------------------------------ the request


def _task(call: Call) -> dict[str, Any]:
    settings = cast("WebhookSettings", call.settings)
    first = call.task_input is None
    return {
        "id": call.key,
        "title": call.title,
        "description": call.description,
        "instructions": call.prompt,
        "note": settings.note,
        "parameters": settings.parameters,
        "input": call.value if first else call.task_input,
        "previous": None if first else call.value,
        "schema": call.output_schema,
        "deadline": None if call.deadline_ms is None else iso(call.deadline_ms),
        "callback_url": call.callback_url,
        "assigned_to": call.assigned_to,
        "feedback": call.feedback,
        "draft": call.draft,
    }


def _message(call: Call, kind: str, data: dict[str, Any]) -> bytes:
    return dump_json({"type": kind, "timestamp": iso(call.now_ms), "data": data}).encode()


def _signed(call: Call, method: str, address: str, message: str, body: bytes) -> httpx2.Request:
    """A request with one signature for each secret of the profile: there are two while a secret is being changed."""
    from standardwebhooks import Webhook as Signer  # noqa: PLC0415  # start-up is limited, and few need it

    at = datetime.fromtimestamp(call.now_ms // SECOND, UTC)
    secrets = (call.account.webhook_secret or "").split()
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(call.now_ms // SECOND),
        "webhook-signature": " ".join(Signer(secret).sign(message, at, body.decode()) for secret in secrets),
    }
    if call.account.key is not None:
        headers["authorization"] = f"Bearer {call.account.key}"
    return httpx2.Request(method, address, headers=headers_of(call.account, headers), content=body or None)


def _below(base_url: str, job: str, key: str) -> str:
    """The address of a job below that of the endpoint.  A name that would lead elsewhere is replaced by our key."""
    head, mark, query = base_url.partition("?")
    parts = job.split("/")
    if not all(part.strip(".") for part in parts):
        parts = [key]
    return f"{head.rstrip('/')}/{'/'.join(quote(part, safe='') for part in parts)}{mark}{query}"


def _relative(base_url: str, location: str) -> str | None:
    """The job in an address that the endpoint returned; None if that is not below the address of the endpoint."""
    if not location:
        return None
    try:
        base = httpx2.URL(base_url)
        found = base.join(location)
    except (httpx2.InvalidURL, ValueError):
        return None
    here = f"{base.path.rstrip('/')}/"
    same = (found.scheme, found.host, found.port) == (base.scheme, base.host, base.port)
    return _job(unquote(found.path.removeprefix(here))) if same and found.path.startswith(here) else None


# -------------------------------------------------------------------------------------- the reply


def _json(body: bytes) -> Any:
    try:
        return strict_json(body)
    except ValueError:
        return None


def _data(value: Any) -> dict[str, Any]:
    found = value.get("data") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _job(value: Any) -> str | None:
    usable = isinstance(value, str) and 0 < len(value) <= _MAX_JOB and value.isprintable()
    return value if usable and all(part.strip(".") for part in value.split("/")) else None


def _cost(call: Call, data: dict[str, Any]) -> tuple[Decimal | None, Usage | None]:
    """The dollars that a report names, or a usage without numbers, which keeps the cost unknown.

    An amount in another currency, or without one, is no amount of dollars."""
    cost = data.get("cost")
    if cost is None:
        return None, None
    amount = cost.get("amount") if isinstance(cost, dict) else None
    currency = cost.get("currency") if isinstance(cost, dict) else None
    charged = reported_amount(amount)
    if charged is not None and currency == "USD":
        return charged, None
    said = {"amount": amount, "currency": currency}
    return None, Usage(raw={name: excerpt(str(part), call.account, 60) for name, part in said.items()})


def _refused(call: Call, verb: Verb, reply: Reply) -> Outcome:
    """The outcome of a status that reports an error.  Only that of a submission says something about the task."""
    refusal = read_refusal(object_in(reply), reply.text)
    ending = ending_of(call, reply, refusal, {}) if verb is Verb.SUBMIT else Unknown
    return refused(call, reply, refusal, ending)
