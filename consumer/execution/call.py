"""One call: build it, send it, judge what comes back.  Whatever happens is exactly one outcome."""

from __future__ import annotations

import asyncio
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx2

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.money import Usage
from consumer.core.outcome import Failed, Invalid, Outcome, Retry, Succeeded, Unknown
from consumer.core.strictjson import dump_json, parse_json
from consumer.core.template import PLACEHOLDER, Candidate, Plan, render
from consumer.provider import MAX_REPLY_BYTES, Call, Pause, Provider, Quote, Reply, Verb
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.profile import Account
    from consumer.world import World

KEY_PREFIX: Final = "bizq"
SIGNATURE_LENGTH: Final = 32


class NoSuchCandidate(Exception):
    """The route names something that this deployment does not have, or not for this organization."""


def find_candidate(
    world: World, plan: Plan, stage: int, candidate: int, organization: int | None
) -> tuple[Provider, Account]:
    """The adapter and the account of a candidate.  Raises NoSuchCandidate with the field and the reason."""
    name = plan.route.stages[stage].candidates[candidate].profile
    where = f"route.stages[{stage}].candidates[{candidate}].profile"
    account = world.accounts.get(name)
    if account is None:
        raise NoSuchCandidate(f"{where}: no profile named {name}")
    allowed = account.profile.organizations
    if allowed is not None and organization not in allowed:
        raise NoSuchCandidate(f"{where}: profile {name} is not for this organization")
    provider = world.providers.get(account.profile.provider)
    if provider is None:
        raise NoSuchCandidate(
            f"{where}: profile {name} names the unknown provider {account.profile.provider}"
        )
    return provider, account


class Subject(Protocol):
    """What a call needs of its task: a claimed one, or one that is attended to."""

    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def assigned_to(self) -> int | None: ...
    @property
    def value(self) -> Any: ...
    @property
    def fed(self) -> Any: ...
    @property
    def feedback(self) -> str | None: ...


def build_call(  # noqa: PLR0913, PLR0917  # a call has this many parts
    world: World,
    plan: Plan,
    provider: Provider,
    account: Account,
    execution: int,
    stage: int,
    candidate: int,
    chosen: Candidate,
    task: Subject,
    now_ms: int,
    external_id: str | None = None,
) -> Call:
    """The call of an execution.  Raises BadInput when the route's settings no longer fit the adapter."""
    where = f"route.stages[{stage}].candidates[{candidate}].settings"
    settings = parse(provider.settings, chosen.settings, where)
    fed = task.fed if stage > 0 else None
    value = task.value if stage == 0 else fed
    return Call(
        execution_id=execution,
        key=f"{KEY_PREFIX}-{execution}",
        account=account,
        settings=settings,
        title=task.title,
        description=task.description,
        prompt=_prompt(plan.prompt, provider, task, value),
        value=value,
        output_schema=plan.output_schema,
        timeout_s=plan.limits.call_s,
        now_ms=now_ms,
        feedback=task.feedback,
        draft=_draft(plan, stage, task),
        assigned_to=task.assigned_to,
        callback_url=callback_url(world, account.name, execution) if provider.abilities.webhook else None,
        external_id=external_id,
    )


def _prompt(prompt: str, provider: Provider, task: Subject, value: Any) -> str:
    """The template's words.  A model sees nothing else, so the input follows where they do not mention it."""
    words = render(prompt, task.title, task.description, value)
    if not prompt or provider.kind == "human" or PLACEHOLDER.search(prompt):
        return words
    return f"{words}\n\n{dump_json(value)}"


def _draft(plan: Plan, stage: int, task: Subject) -> Any:
    """What a reviewer judges, or what a first stage did that was sent back with feedback."""
    stages = plan.route.stages
    if stage < len(stages) and stages[stage].kind == "review":
        return task.fed
    return task.fed if stage == 0 and task.feedback is not None else None


def callback_url(world: World, profile: str, execution: int) -> str:
    """Where an asynchronous provider calls us: it carries the execution's id, signed by us."""
    signature = sign(world, profile, execution)
    return f"{world.config.public_url}/webhooks/{profile}?execution={execution}&signature={signature}"


def sign(world: World, profile: str, execution: int) -> str:
    """What proves that an execution's id in a callback address was given by us, for this profile."""
    message = f"webhook:{profile}:{execution}".encode()
    return hmac.digest(world.link_secret.encode(), message, "sha256").hex()[:SIGNATURE_LENGTH]


Step = httpx2.Request | Pause
"""What is done for a call: a request, or an outcome without one."""


def first_step(provider: Provider, call: Call, verb: Verb = Verb.SUBMIT) -> Step:
    """What an adapter wants done.  Nothing is sent when it stumbles, so that a submission has certainly failed."""
    try:
        return provider.request(call, verb)
    except BadInput as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001  # an adapter is a stranger's code
        log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(error).__name__)
        why = f"adapter_error: {type(error).__name__}"
    return Pause(_of(verb, Failed(why)))


def _of(verb: Verb, outcome: Failed | Retry) -> Outcome:
    """That nothing was sent, or read, is certain of a submission alone: it says nothing of a job asked about."""
    return outcome if verb is Verb.SUBMIT else Unknown(outcome.why)


def most(provider: Provider, call: Call) -> Quote:
    """The most that a call can consume; without a bound where the adapter stumbles."""
    try:
        return provider.quote(call)
    except Exception as error:  # noqa: BLE001  # an adapter is a stranger's code
        log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(error).__name__)
        return Quote(output_tokens=None)


def immediate_outcome(step: Step) -> Outcome | None:
    """The outcome of a step that needs neither a request nor time; None for all others."""
    return step.outcome if isinstance(step, Pause) and step.after_ms == 0 else None


async def perform(world: World, provider: Provider, call: Call, verb: Verb, step: Step) -> Outcome:
    """Take the step, and read what it means.  Never raises but for being cancelled."""
    try:
        async with asyncio.timeout(call.timeout_s):
            if isinstance(step, Pause):
                await asyncio.sleep(step.after_ms / 1000)
                return step.outcome
            reply = await _send(world, step)
    except TimeoutError:
        return Unknown(f"timeout: no answer within {call.timeout_s:g} s")
    except Exception as error:  # noqa: BLE001  # each host's transport has errors of its own
        return _network_error(world, verb, error)
    if reply is None:  # it may have been paid for: a usage that says nothing keeps the cost unknown
        return _of(verb, Failed(f"reply larger than {MAX_REPLY_BYTES} bytes", usage=Usage()))
    return _read(provider, call, verb, reply)


async def _send(world: World, request: httpx2.Request) -> Reply | None:
    """The reply, read whole; None when it is too large."""
    connect = world.config.connect_timeout_s
    request.extensions = {
        **request.extensions,
        "timeout": {"connect": connect, "read": None, "write": None, "pool": None},
    }
    response = await world.http.send(request, stream=True)
    try:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_bytes():
            size += len(part)
            if size > MAX_REPLY_BYTES:
                return None
            parts.append(part)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, b"".join(parts))
    finally:
        await response.aclose()


def _network_error(world: World, verb: Verb, error: Exception) -> Outcome:
    """Certainly not sent: try again.  Anything else may have been done."""
    why = f"network: {type(error).__name__}"
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError | httpx2.TooManyRedirects):
        return _of(verb, Failed(why))
    return _of(verb, Retry(why)) if isinstance(error, world.config.never_sent) else Unknown(why)


def _read(provider: Provider, call: Call, verb: Verb, reply: Reply) -> Outcome:
    try:
        outcome: object = provider.reply(call, verb, reply)
    except Exception as error:  # noqa: BLE001  # an adapter is a stranger's code; the work may have been done and paid
        outcome = error
    if isinstance(outcome, Outcome):
        return outcome
    log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(outcome).__name__)
    return Unknown(f"adapter_error: {type(outcome).__name__}")


def judge(plan: Plan, outcome: Outcome) -> Outcome:
    """An answer that does not fit the template's output schema is `Invalid`, and costs what it cost."""
    if not isinstance(outcome, Succeeded):
        return outcome
    problem = plan.mismatch(outcome.output)
    if problem is None:
        return outcome
    why = f"{problem.field or 'the answer'} {problem.message}"
    return Invalid(why[:1000], usage=outcome.usage, charged=outcome.charged)


def read_plan(row: Mapping[str, Any]) -> Plan:
    """The plan of a template's row.  Raises BadInput when it has none, naming what it lacks."""
    missing = [name for name in ("route", "output_schema") if row[name] is None]
    if missing:
        raise BadInput(missing[0], f"the template has no {missing[0]}")
    return _plan(
        str(row["prompt"] or ""), str(row["output_schema"]), str(row["route"]), str(row["limits"] or "{}")
    )


@lru_cache(maxsize=512)
def _plan(prompt: str, output_schema: str, route: str, limits: str) -> Plan:
    """Read once for each text: a template changes rarely and is used often."""
    value = {
        "prompt": prompt,
        "output_schema": parse_json(output_schema, "output_schema"),
        "route": parse_json(route, "route"),
        "limits": parse_json(limits, "limits"),
    }
    return parse(Plan, value)
