"""Webhooks: verified and kept before they are answered; the consumer handles them like any other work.

Early, late, repeated or out of order makes no difference here: each is one row, and wakes what waits for it.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from consumer.core.errors import BadInput, NotFound
from consumer.core.strictjson import clean
from consumer.execution import doorbells, webhooks
from consumer.execution.call import sign
from consumer.execution.settlement import MAX_TEXT_CHARS
from consumer.ports import MAX_INTEGER
from consumer.provider import BadSignature
from consumer.telemetry import Event, log
from consumer.web.api import Operation, reply
from consumer.web.problems import Unreadable

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.core.profile import Account
    from consumer.web.ask import Ask
    from consumer.world import World

MAX_NAME: Final = 1_000
"""Characters of an event's id."""
_EXECUTION: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)


async def receive(ask: Ask) -> Response:
    """Keep one event.  Raises NotFound for an unknown profile, BadSignature, TooLarge, Unreadable."""
    account = ask.world.accounts.get(ask.part("profile"))
    provider = ask.world.providers.get(account.profile.provider) if account else None
    if account is None or provider is None:
        raise NotFound("no such profile")
    body = await ask.body()
    now = ask.world.clock.now_ms()
    try:
        event = provider.verify_webhook(account, dict(ask.request.headers), body, now)
        execution = _signed_execution(ask, account)
    except BadSignature as error:
        log().warning(Event.WEBHOOK_REFUSED, profile=account.name, reason=str(error))
        raise
    await _keep(ask.world, account, execution, _name(event.id), event.external_id, _text(body))
    return reply({"status": "received"})


def _signed_execution(ask: Ask, account: Account) -> int | None:
    """The execution in the callback address, which we signed for this profile.  Raises BadSignature."""
    query = ask.request.query_params
    given = [query.getlist(name) for name in ("execution", "signature")]
    if given == [[], []]:
        return None
    if [len(values) for values in given] != [1, 1]:
        raise BadSignature("the callback address was changed")
    (execution,), (signature,) = given
    if not _EXECUTION.fullmatch(execution) or int(execution) > MAX_INTEGER:
        raise BadSignature("the callback address was changed")
    expected = sign(ask.world, account.name, int(execution))
    # As bytes: text outside ASCII cannot be compared.
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise BadSignature("the callback address was changed")
    return int(execution)


async def _keep(
    world: World, account: Account, execution: int | None, event: str, external: str | None, body: str
) -> None:
    """One row and one waking, together; the doorbell may get lost."""
    external = None if external is None else clean(external[:MAX_TEXT_CHARS])  # cut as the execution's own is
    woken = await webhooks.receive(world, account.name, execution, event, external, body)
    log().info(Event.WEBHOOK, profile=account.name, execution=execution, count=woken)
    if woken:
        await doorbells.ring(world)


def _name(event: str) -> str:
    if not event or len(event) > MAX_NAME:
        raise BadInput("id", f"an event's id has 1 to {MAX_NAME} characters")
    return clean(event)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Unreadable("", "the body is not UTF-8") from None


OPERATIONS: Final = (
    Operation(
        "POST",
        "/webhooks/{profile}",
        receive,
        "Receive an event of a provider, signed with the profile's secret.  `execution` and `signature` are those of"
        " the callback address that the provider was given",
        query=None,
        body="Event",
        answers={200: "Received"},
    ),
)
