"""Webhooks: each is verified and stored before it is answered.  The consumer handles it later, like any other work; a
webhook for an execution that has ended is handled immediately, because no worker follows that one up again.

A webhook may be early, late, repeated or out of order.  Each event becomes one row, and makes the execution due that
waits for it.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from consumer.core.errors import BadInput, NotFound
from consumer.core.redact import redacted
from consumer.core.strictjson import clean
from consumer.execution import doorbells, webhooks
from consumer.execution.call import sign
from consumer.execution.settlement import MAX_TEXT_CHARS
from consumer.execution.webhooks import Named
from consumer.ports import MAX_INTEGER
from consumer.provider import MAX_REPLY_BYTES, BadSignature
from consumer.service import views
from consumer.telemetry import Event, log
from consumer.web.operation import Operation, reply
from consumer.web.problems import Unreadable

if TYPE_CHECKING:
    from starlette.responses import Response

    from consumer.core.profile import Account
    from consumer.web.request import RequestContext
    from consumer.world import World

MAX_NAME: Final = 1_000
"""Most characters of an event's id."""
_EXECUTION: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)


async def receive(context: RequestContext) -> Response:
    """Store one event.  Raises NotFound for an unknown profile, BadSignature, TooLarge, Unreadable."""
    account = context.world.accounts.get(context.part("profile"))
    provider = context.world.adapters.get(account.name) if account else None
    if account is None or provider is None:
        raise NotFound("no such profile")
    body = await context.body(MAX_REPLY_BYTES)  # as large as the reply to a poll may be
    now = context.world.clock.now_ms()
    try:
        event = provider.verify_webhook(account, dict(context.request.headers), body, now)
        execution = _signed_execution(context, account)
    except BadSignature as error:
        log().warning(
            Event.WEBHOOK_REFUSED, profile=account.name, reason=redacted(str(error), account.secrets)
        )
        raise
    await _keep(context.world, account, execution, _name(event.id), event.external_id, _text(body))
    return reply(views.Received(status="received"))


def _signed_execution(context: RequestContext, account: Account) -> Named | None:
    """The execution in the callback address, which the worker signed for this profile; None: the address names none.

    Raises BadSignature."""
    query = context.request.query_params
    given = [query.getlist(name) for name in ("execution", "mark", "signature")]
    if given == [[], [], []]:
        return None
    if [len(values) for values in given] != [1, 1, 1]:
        raise BadSignature("the callback address was changed")
    (execution,), (mark,), (signature,) = given
    if not _EXECUTION.fullmatch(execution) or int(execution) > MAX_INTEGER:
        raise BadSignature("the callback address was changed")
    expected = sign(context.world, account.name, int(execution), mark.encode("utf-8", "replace").decode())
    # Compare bytes: `compare_digest` refuses text outside ASCII.
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise BadSignature("the callback address was changed")
    return Named(int(execution), mark)


async def _keep(
    world: World, account: Account, named: Named | None, event: str, external: str | None, body: str
) -> None:
    """Store the event and make its execution due, in one batch.  If the doorbell gets lost, cron finds the work."""
    # Cut as `execution.settle` cuts the external id of the execution.
    external = None if external is None else clean(external[:MAX_TEXT_CHARS])
    execution, external = await webhooks.present(world, named, external)
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
        method="POST",
        path="/webhooks/{profile}",
        handler=receive,
        summary="Receive an event of a provider, signed with the profile's secret.  `execution` and `signature` are"
        " those of the callback address that the provider was given",
        query=None,
        body="Event",
        answers={200: "Received"},
    ),
)
