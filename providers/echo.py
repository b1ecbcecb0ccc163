"""A model that needs no network: it answers with its input, or fails as its settings say.

It is the reference for a new adapter, and stands in for a model in tests and dry runs.  Its behaviour depends on the
call alone.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, cast

from pydantic import Field, model_validator

from consumer.core.errors import BadInput
from consumer.core.money import Usage
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.schema import mismatch
from consumer.core.strictjson import dump_json
from consumer.provider import (
    Abilities,
    About,
    Event,
    Pause,
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
    from collections.abc import Iterator, Mapping

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Account
    from consumer.provider import Call

Why = Annotated[str, Field(min_length=1, max_length=200)]
"""The reason of an outcome."""


class Step(Settings):
    """The behaviour of one execution.  Without settings it succeeds immediately and costs nothing."""

    output: Any = None
    """The answer.  Without it, one is made that fits the template's output schema."""
    delay_ms: int = Field(default=0, ge=0, le=600_000)
    """Milliseconds before the answer."""
    fail: Why | None = None
    """Fail for this reason."""
    retry: Why | None = None
    """Fail for this reason; the worker may try again."""
    after_ms: int | None = Field(default=None, ge=0)
    """With `retry`: the milliseconds that the provider asks the worker to wait."""
    unknown: Why | None = None
    """Lose the reply, for this reason.  The work is done, so that a lookup finds the answer."""
    asynchronous: bool = False
    """Accept the task as a job, and answer later: when it is polled, or by a webhook."""
    check_after_ms: int | None = Field(default=1000, ge=0)
    """With `asynchronous`: milliseconds until the job is polled; None for a job that only a webhook ends."""
    charge: Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """The dollars that it reports as charged, however the call ends."""

    @model_validator(mode="after")
    def _one_ending(self) -> Self:
        if sum(ending is not None for ending in (self.fail, self.retry, self.unknown)) > 1:
            raise ValueError("must have only one of fail, retry and unknown")
        return self


class EchoSettings(Step):
    """One step for every execution, or a script of steps."""

    script: tuple[Step, ...] = Field(default=(), max_length=100)
    """A step for each execution of the task, in order.  The last one is used for the rest."""


class Echo(Provider):
    """Answers with its input, and plays the failures of its settings."""

    name = "echo"
    kind = "ai"
    abilities = Abilities(poll=True, lookup=True, cancel=True, webhook=True)
    settings = EchoSettings
    about = About(
        structured="makes an answer that fits the schema",
        price="charge of its settings, else price of the profile",
        tried="live: it sends nothing",
    )
    needs_base_url = False

    def quote(self, call: Call) -> Quote:
        usage = _usage(call, _answer(call))
        return Quote(usage.input_tokens or 0, usage.output_tokens, usage.model)

    def request(self, call: Call, verb: Verb) -> Pause:
        step = _step(call)
        if verb is Verb.SUBMIT:
            return Pause(_submitted(call, step), step.delay_ms)
        return Pause(Failed("cancelled") if verb is Verb.CANCEL else _ending(call, step))

    def check(self, account: Account) -> None:
        super().check(account)
        check_standard_secret(account.webhook_secret)

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        """The body is `{"type": "echo.completed", "data": {"external_id": ..., "output": ... or "error": ...}}`."""
        event = standard_webhook(account.webhook_secret, headers, body, now_ms)
        external_id = _data(body).get("external_id")
        return Event(event, external_id if isinstance(external_id, str) else None)

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        data, charge = _data(body), _step(call).charge
        if "output" in data:
            return Succeeded(data["output"], usage=_usage(call, data["output"]), charged=charge)
        why = excerpt(data.get("error"), call.account)
        return Failed(f"failed: {why}", charged=charge) if why else None


def _step(call: Call) -> Step:
    """The step of the script that this execution plays."""
    settings = cast("EchoSettings", call.settings)
    if not settings.script:
        return settings
    # An execution's id ends with its number in its task, counted from 1.
    return settings.script[min(call.execution_id % 1024, len(settings.script)) - 1]


def _submitted(call: Call, step: Step) -> Outcome:
    if step.asynchronous:
        return Accepted(f"echo-{call.execution_id}", step.check_after_ms)
    if step.unknown is not None:
        return Unknown(step.unknown, charged=step.charge)
    return _ending(call, step)


def _ending(call: Call, step: Step) -> Outcome:
    if step.fail is not None:
        return Failed(step.fail, charged=step.charge)
    if step.retry is not None:
        return Retry(step.retry, step.after_ms, charged=step.charge)
    output = _answer(call)
    return Succeeded(output, usage=_usage(call, output), charged=step.charge)


def _answer(call: Call) -> Any:
    output, schema = _step(call).output, call.output_schema
    return _Search(schema).sample(schema, call.value) if output is None else output


def _usage(call: Call, output: Any) -> Usage:
    """The usage of a call, where a token is four bytes of JSON."""
    texts = (call.prompt + dump_json(call.value), dump_json(output))
    given, made = (len(text.encode()) for text in texts)
    return Usage(-(-given // 4), -(-made // 4), model="echo")


def _data(body: bytes) -> dict[str, Any]:
    """The data of a webhook about an ended job; empty for any other body."""
    with suppress(ValueError):
        match strict_json(body):
            case {"type": "echo.completed", "data": dict(data)}:
                return data
    return {}


_FORMATS: Final = ("1970-01-01", "1970-01-01T00:00:00Z", "00:00:00Z", "a@example.com", "https://example.com/")


class _Search:
    """A simple search for a value that fits a schema.  It may find none, and gives up after 300 steps."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
        self._root = root
        self._left = 300

    def sample(self, schema: Any, given: Any, depth: int = 0) -> Any:
        """The value `given` if it fits the schema, else the first and smallest candidate that does."""
        self._left -= 1
        if depth > 16 or self._left < 0 or not isinstance(schema, dict):
            return given
        if "$ref" in schema:
            return self.sample(self._resolved(schema["$ref"]), given, depth + 1)
        with suppress(TypeError):  # keywords with values of a wrong type, which the schema compiler accepts
            candidates = self._candidates(schema, given, depth + 1)
            return next((value for value in candidates if self._fits(schema, value)), None)
        return None

    def _candidates(self, schema: dict[str, Any], given: Any, depth: int) -> Iterator[Any]:
        if given is not None and "properties" not in schema:
            yield given
        yield from (schema[key] for key in ("const", "default") if key in schema)
        yield from (*schema.get("enum", ()), *schema.get("examples", ()))
        for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield self.sample(part, given, depth)
        yield self._object(schema, given if isinstance(given, dict) else {}, depth)
        yield [self.sample(schema.get("items"), None, depth)] * min(schema.get("minItems", 0), 1000)
        yield from ("", "x" * min(schema.get("minLength", 0), 10_000), *_FORMATS)
        yield from (0, schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf"))
        yield from (schema.get("exclusiveMinimum", 0) + 1, schema.get("exclusiveMaximum", 0) - 1, False)

    def _object(self, schema: dict[str, Any], given: dict[str, Any], depth: int) -> Any:
        parts, required = schema.get("properties", {}), schema.get("required", ())
        wanted = {name: part for name, part in parts.items() if name in required or name in given}
        return {name: self.sample(part, given.get(name), depth) for name, part in wanted.items()}

    def _resolved(self, reference: str) -> Any:
        node: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node

    def _fits(self, schema: dict[str, Any], value: Any) -> bool:
        with suppress(BadInput):  # a reference that points nowhere
            return mismatch({**self._shared, **schema}, value) is None
        return False
