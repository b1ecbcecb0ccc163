"""One call: build it, send it, judge its reply.  Every call ends with exactly one outcome."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import httpx2

from consumer.core import policy
from consumer.core.cache import Cache
from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.money import Usage
from consumer.core.outcome import Failed, Invalid, Outcome, Retry, Succeeded, Unknown
from consumer.core.prompt import has_placeholder, render
from consumer.core.strictjson import dump_json, parse_json
from consumer.core.template import Plan
from consumer.execution.network import address, network_reason
from consumer.execution.secrets import without_secrets
from consumer.provider import MAX_REPLY_BYTES, Call, Pause, Provider, Quote, Reply, Verb
from consumer.store.sql import mark_of
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.checker import Work
    from consumer.core.profile import Account
    from consumer.core.template import Candidate
    from consumer.world import World

MAX_PLAN_BYTES: Final = 6_000_000
"""Bytes of plans that are remembered, about 12 for each character of a template."""
KEY_PREFIX: Final = "bizq"
PLAN_TEXTS: Final = ("prompt", "output_schema", "route", "limits", "input_schema")
"""The columns of a template that a plan is made of.  Without the last one, the plan checks no input."""
SIGNATURE_LENGTH: Final = 32
TOO_MANY_CALLS: Final = 429
PREVIOUS: Final = "The answer of the stage before:"
"""What a model reads above that answer, where the prompt does not name it."""
NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Errors of a client that opens its connections itself, after which certainly no byte of the request was sent."""


class NoSuchCandidate(Exception):
    """The route names a profile that this deployment does not have, or not for this organization."""


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
    provider = world.adapters.get(account.name)
    if provider is None:
        raise NoSuchCandidate(
            f"{where}: profile {name} names the unknown provider {account.profile.provider}"
        )
    return provider, account


class TaskParts(Protocol):
    """The parts of a task that a call needs, whether the task was just claimed or an execution is followed up.

    `value`: the task's input.  `previous`: the result of the previous stage.  `refused`: the last answer of the same
    candidate, which did not fit the output schema.  `repairs`: the answers of this candidate that did not fit."""

    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def assigned_to(self) -> int | None: ...
    @property
    def deadline_ms(self) -> int | None: ...
    @property
    def value(self) -> Any: ...
    @property
    def previous(self) -> Any: ...
    @property
    def feedback(self) -> str | None: ...
    @property
    def refused(self) -> Any: ...
    @property
    def repairs(self) -> int: ...


class Attempt(NamedTuple):
    """An execution: its id, its place in the route, and who does it.

    `identity`: that of its task.  `lease`: the one under which it began.  `started_ms`: when it began.  `number`: which
    attempt of the candidate it is.  `chosen`: the candidate with its settings.  `external_id`: the job id that the
    provider gave, if it did."""

    execution: int
    identity: str
    lease: str
    started_ms: int
    stage: int
    candidate: int
    number: int
    chosen: Candidate
    provider: Provider
    account: Account
    external_id: str | None = None


def build_call(
    world: World, plan: Plan, attempt: Attempt, task: TaskParts, now_ms: int, *, begun: bool = False
) -> Call:
    """The call of an execution.

    Raises BadInput when the route's settings no longer fit the adapter, and Unfillable when the task does not fill the
    prompt.  `begun`: the execution began before, so that an empty placeholder no longer matters."""
    provider, account, stage = attempt.provider, attempt.account, attempt.stage
    where = f"route.stages[{stage}].candidates[{attempt.candidate}].settings"
    settings = parse(provider.settings, attempt.chosen.settings, where)
    value = task.value if stage == 0 else task.previous
    calls_back = provider.abilities.calls_back
    return Call(
        execution_id=attempt.execution,
        key=provider_key(attempt.execution, attempt.identity, stage, attempt.candidate, attempt.number),
        account=account,
        settings=settings,
        title=task.title,
        description=task.description,
        prompt=_prompt(plan.prompt_of(stage), provider, known_to_prompt(task, stage), begun=begun),
        value=value,
        output_schema=plan.output_schema,
        timeout_s=plan.limits.call_s,
        now_ms=now_ms,
        feedback=task.feedback,
        draft=_draft(plan, stage, task),
        repair=task.repairs,
        task_input=None if stage == 0 else task.value,
        assigned_to=task.assigned_to,
        deadline_ms=_deadline_ms(plan, attempt, task),
        callback_url=callback_url(world, account.name, attempt.execution, attempt.lease)
        if calls_back
        else None,
        external_id=attempt.external_id,
    )


def _deadline_ms(plan: Plan, attempt: Attempt, task: TaskParts) -> int:
    """When the worker stops waiting for the answer: at the end of the time of a job or a person, or of the task."""
    limit_s = plan.limits.person_s if attempt.provider.kind == "human" else plan.limits.job_s
    ends = attempt.started_ms + limit_s * policy.SECOND
    return ends if task.deadline_ms is None else min(ends, task.deadline_ms)


def known_to_prompt(task: TaskParts, stage: int) -> dict[str, Any]:
    """What the placeholders of a prompt can name.  A model and a person are shown the same."""
    known = {"title": task.title, "description": task.description, "input": task.value}
    return known if stage == 0 else known | {"previous": task.previous}


def _prompt(prompt: str, provider: Provider, known: Mapping[str, Any], *, begun: bool) -> str:
    """The prompt for this task.

    A model sees nothing else, so the input follows a prompt without placeholders, and the answer of the stage before
    follows a prompt that does not name it.  A person sees both on the page."""
    text = render(prompt, known, lenient=begun)
    if not prompt or provider.kind == "human":
        return text
    parts = [text] if has_placeholder(prompt) else [text, dump_json(known["input"])]
    if "previous" in known and not has_placeholder(prompt, "previous"):
        parts.append(f"{PREVIOUS}\n{dump_json(known['previous'])}")
    return "\n\n".join(parts)


def _draft(plan: Plan, stage: int, task: TaskParts) -> Any:
    """The draft that a reviewer judges, the answer to repair, or the draft that a reviewer sent back to stage 0."""
    stages = plan.route.stages
    if task.refused is not None and task.feedback is not None:
        return task.refused
    if stage < len(stages) and stages[stage].kind == "review":
        return task.previous
    return task.previous if stage == 0 and task.feedback is not None else None


def provider_key(execution: int, identity: str, stage: int, candidate: int, attempt: int) -> str:
    """The key by which a provider knows the call of an execution.

    A restore or a deletion lets an id come back, so the key depends on the identity of the task too: no other task can
    get the answer.  When a restored task begins the same attempt again, it has the same key as before, and a provider
    that honours keys returns the answer that was paid for."""
    place = hmac.digest(identity.encode(), f"{stage}:{candidate}:{attempt}".encode(), "sha256")
    return f"{KEY_PREFIX}-{execution}-{place.hex()[:16]}"


def callback_url(world: World, profile: str, execution: int, lease: str) -> str:
    """The address that an asynchronous provider calls: it carries the execution's id and mark, signed by us."""
    mark = mark_of(lease)
    signature = sign(world, profile, execution, mark)
    return f"{world.config.public_url}/webhooks/{profile}?execution={execution}&mark={mark}&signature={signature}"


def sign(world: World, profile: str, execution: int, mark: str) -> str:
    """The signature that shows that we put this execution into a callback address, for this profile."""
    message = f"webhook:{profile}:{execution}:{mark}".encode()
    return hmac.digest(world.link_secret.encode(), message, "sha256").hex()[:SIGNATURE_LENGTH]


FirstStep = httpx2.Request | Pause
"""How a call proceeds: by a request, or by a pause and an outcome without one."""


def first_step(provider: Provider, call: Call, verb: Verb = Verb.SUBMIT) -> FirstStep:
    """The adapter's request.  If the adapter raises, nothing was sent, so a submission has certainly failed."""
    try:
        return provider.request(call, verb)
    except BadInput as error:
        why = f"bad_request: {error}"
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(error).__name__)
        why = f"adapter_error: {type(error).__name__}"
    return Pause(unsent_outcome(verb, Failed(why)))


def unsent_outcome(verb: Verb, outcome: Failed | Retry) -> Outcome:
    """A submission that was not sent has failed.  A poll or a cancel that was not sent says nothing about the job."""
    return outcome if verb is Verb.SUBMIT else Unknown(outcome.why)


def quote_of(provider: Provider, call: Call) -> Quote:
    """The most that a call can consume; unbounded if the adapter raises."""
    try:
        return provider.quote(call)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(error).__name__)
        return Quote(output_tokens=None)


def immediate_outcome(step: FirstStep) -> Outcome | None:
    """The outcome of a step that needs neither a request nor time; None for all others."""
    return step.outcome if isinstance(step, Pause) and step.after_ms == 0 else None


async def perform(world: World, provider: Provider, call: Call, verb: Verb, step: FirstStep) -> Outcome:
    """Carry out the step and read its outcome.  Raises only CancelledError."""
    try:
        async with asyncio.timeout(call.timeout_s):
            if isinstance(step, Pause):
                await asyncio.sleep(step.after_ms / 1000)
                return step.outcome
            reply = await send(world, step)
            other = None if reply is None else _other_form(provider, call, verb, reply)
            if other is not None:
                reply = await send(world, other)
    except TimeoutError:
        return Unknown(f"timeout: no answer within {call.timeout_s:g} s{_from(step)}")
    except Exception as error:  # noqa: BLE001  # each host's transport has errors of its own
        return _network_error(world, verb, step, error)
    if reply is None:  # it may cost money: a usage without numbers keeps the cost unknown
        return unsent_outcome(
            verb, Failed(f"reply_too_large: more than {MAX_REPLY_BYTES} bytes", usage=Usage())
        )
    return _read(provider, call, verb, reply)


async def send(world: World, request: httpx2.Request) -> Reply | None:
    """The whole reply; None when it is larger than `MAX_REPLY_BYTES`."""
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


def _other_form(provider: Provider, call: Call, verb: Verb, reply: Reply) -> httpx2.Request | None:
    """The other form of a request that the adapter makes after this reply, if it makes one."""
    try:
        return provider.again(call, verb, reply)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything
        log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(error).__name__)
        return None


def _from(step: FirstStep) -> str:
    return f" from {address(step)}" if isinstance(step, httpx2.Request) else ""


def _network_error(world: World, verb: Verb, step: FirstStep, error: Exception) -> Outcome:
    """Retry what was certainly not sent.  After any other error the work may have been done."""
    why = (
        network_reason(step, error)
        if isinstance(step, httpx2.Request)
        else f"network: {type(error).__name__}"
    )
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError | httpx2.TooManyRedirects):
        return unsent_outcome(verb, Failed(why))
    never_sent = world.config.reports_unsent and isinstance(error, NEVER_SENT)
    return unsent_outcome(verb, Retry(why)) if never_sent else Unknown(why)


def _read(provider: Provider, call: Call, verb: Verb, reply: Reply) -> Outcome:
    try:
        outcome: object = provider.reply(call, verb, reply)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything; the work may have been done and paid
        outcome = error
    if isinstance(outcome, Retry) and outcome.account is not None:
        outcome = unsent_outcome(verb, outcome)  # a poll that is refused says nothing about its job
    elif isinstance(outcome, Retry) and reply.status == TOO_MANY_CALLS:
        outcome = replace(outcome, limited=True)
    if isinstance(outcome, Outcome):
        return without_secrets(call.account, outcome)
    log().error(Event.ADAPTER_ERROR, provider=provider.name, error=type(outcome).__name__)
    return Unknown(f"adapter_error: {type(outcome).__name__}")


def judge(plan: Plan, outcome: Outcome, work: Work | None = None) -> Outcome:
    """Turn an answer that does not fit the output schema into `Invalid`, which keeps the cost.

    `work` counts what the check spends.  It never makes a check end earlier, because the answer is paid."""
    if not isinstance(outcome, Succeeded):
        return outcome
    problem = plan.mismatch(outcome.output, work)
    if problem is None:
        return outcome
    fault = f"{problem.field or 'the answer'} {problem.message}"
    if isinstance(outcome.output, str):
        fault = "the answer must be one JSON object, and it is text that cannot be read as one"
    return Invalid(fault[:1000], outcome.output, usage=outcome.usage, charged=outcome.charged)


def read_plan(row: Mapping[str, Any]) -> Plan:
    """The plan in a template's row.  Raises BadInput naming the column that is missing or wrong."""
    missing = [name for name in ("route", "output_schema") if row[name] is None]
    if missing:
        raise BadInput(missing[0], f"the template has no {missing[0]}")
    unreadable = [name for name in PLAN_TEXTS if isinstance(row.get(name), list)]
    if unreadable:
        raise BadInput(unreadable[0], "is not text")
    return _plan(*(str(row.get(name) or "") for name in PLAN_TEXTS))


_PLANS: Final[Cache[Plan]] = Cache(MAX_PLAN_BYTES)


def _plan(*texts: str) -> Plan:
    """Parse each text once: a template changes rarely and is used often."""
    return _PLANS.get(texts, lambda: (_parsed(*texts), 4_000 + 12 * sum(map(len, texts))))


def _parsed(prompt: str, output_schema: str, route: str, limits: str, input_schema: str) -> Plan:
    value = {
        "prompt": prompt,
        "output_schema": parse_json(output_schema, "output_schema"),
        "route": parse_json(route, "route"),
        "limits": parse_json(limits or "{}", "limits"),
        "input_schema": parse_json(input_schema, "input_schema") if input_schema else None,
    }
    return parse(Plan, value)
