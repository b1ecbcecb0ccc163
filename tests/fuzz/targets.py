"""The targets of the fuzzer, and the rules: no 5xx, no exception, less than a second, no payload or secret in a log."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import httpx2
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from consumer.app import App
from consumer.core.errors import BadInput, Problem
from consumer.core.profile import accounts
from consumer.core.schema import check_schema, mismatch
from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from scripts.stage import ROOT
from tests.fixtures.chat import completion, error
from tests.fuzz.values import (
    CANARY,
    Request,
    anything,
    numbers,
    requests,
    schemas,
    scrambled,
    spoil,
    values,
    written,
)
from tests.local.host import SecondsPass
from tests.support import invariants
from tests.support.deployment import PROFILES, SECRETS, Deployment, deployed, stage
from tests.support.fakes import Network
from tests.support.ports import RecordingMessage
from tests.support.webhooks import address, signed, webhook_body

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy

SLOW_S: Final = 1.0
"""Seconds of processor time for one example."""
BATCH: Final = 500
"""The number of examples after which the deployment is built again."""
LINK_SECRET: Final = "of the fuzz, which must stay secret"
MODEL_KEY: Final = "sk-canary-of-a-key-51c0"
CHAT: Final = {
    "chat": {
        "provider": "openai_compatible",
        "base_url": "http://chat.test/v1",
        "key": "MODEL_KEY",
        "price": {"input_per_million": "1", "output_per_million": "2"},
    }
}
STATUSES: Final = (
    200,
    200,
    200,
    201,
    204,
    301,
    400,
    401,
    402,
    404,
    408,
    409,
    413,
    422,
    429,
    498,
    500,
    502,
    503,
    504,
    529,
    599,
)


@dataclass
class Arena:
    """A deployment with a model, a person's assignment and a waiting job, on its own event loop."""

    deployment: Deployment
    network: Network
    tokens: tuple[str, ...]
    job: int
    chat: int

    @property
    def secrets(self) -> list[str]:
        """Texts that must not be in a log line."""
        keys = [key.rpartition("_")[2] for key in self.deployment.keys.values()]
        return [*keys, *SECRETS.values(), LINK_SECRET, MODEL_KEY, CANARY]

    async def check(self, work: Awaitable[None]) -> None:
        """Await an action; assert that it was quick and that the log contains no secret."""
        began = time.process_time()
        await work
        took = time.process_time() - began
        assert took < SLOW_S, f"{took:.1f} s"
        lines = self.deployment.log.getvalue()
        self.deployment.log.seek(0)
        self.deployment.log.truncate()
        leaked = [secret for secret in self.secrets if secret in lines]
        assert leaked == [], lines


async def opened(stack: AsyncExitStack, directory: Path, migrated: Path) -> Arena:
    """A new deployment."""
    database = SqliteDatabase(shutil.copy(migrated, directory / "tasks.sqlite3"))
    stack.callback(database.close)
    kv = SqliteKeyValue(directory / "kv.sqlite3", SecondsPass())
    stack.callback(kv.close)
    deployment = await stack.enter_async_context(
        deployed(database, kv, FileBlobs(directory / "blobs", fsync=False))
    )
    network = Network()
    stack.push_async_callback(network.client.aclose)
    known = accounts(PROFILES | CHAT, {**SECRETS, "MODEL_KEY": MODEL_KEY})
    deployment.world = replace(deployment.world, accounts=known, http=network.client, link_secret=LINK_SECRET)
    transport = httpx2.ASGITransport(app=_application(deployment))
    deployment.client = await stack.enter_async_context(
        httpx2.AsyncClient(transport=transport, base_url="http://bizq.test")
    )
    await deployment.submit(await deployment.put(stage("human", "inbox"), name="person"))
    job = await deployment.submit(
        await deployment.put(stage("ai", "echo", asynchronous=True, check_after_ms=None), name="job")
    )
    chat = await deployment.put(stage("ai", "chat", model="m", max_output_tokens=50), name="chat")
    await deployment.work()
    inbox = (await deployment.ask("GET", "/v1/inbox")).json()
    tokens = tuple(one["link"].rpartition("/")[2] for one in inbox["assignments"])
    return Arena(deployment, network, tokens, job, chat)


def _application(deployment: Deployment) -> Any:
    from consumer.web.app import build

    return build(App(deployment.world))


# --- targets -----------------------------------------------------------------------------------------------


async def ask(arena: Arena, request: Request) -> None:
    """A request gets a response below 500 that the document describes."""
    deployment = arena.deployment
    try:
        response = await deployment.ask(
            request.method, request.path, key=request.key, content=request.body, headers=request.headers
        )
    except (httpx2.InvalidURL, httpx2.LocalProtocolError):
        return  # no client can send this
    assert response.status_code < 500, response.text


async def tell(arena: Arena, given_: tuple[int, Any, str]) -> None:
    """A webhook, signed or not, is received or refused, and handled."""
    number, value, event = given_
    dice = random.Random(number)  # noqa: S311  # of the example
    deployment = arena.deployment
    kind = spoil(
        {"type": "echo.completed", "data": {"output": {"title": CANARY}, "external_id": "echo-1"}}, dice
    )
    body = scrambled(
        webhook_body() if dice.random() < 0.1 else written(kind if dice.random() < 0.8 else value), dice
    )
    try:
        headers = signed(deployment, body, event.encode("ascii", "replace").decode())
    except (UnicodeError, ValueError):
        headers = {}
    if dice.random() < 0.2:
        headers = {name: spoil(text, dice) for name, text in headers.items()}
    headers = {name: ascii(text)[1:-1] for name, text in headers.items()}
    query = (
        await address(deployment, 2**40 + arena.job * 1024 + 1)
        if dice.random() < 0.7
        else f"?execution={value!r:.50}"
    )
    request = Request("POST", f"/webhooks/echo{query}", body, None, headers)
    await ask(arena, request)
    if dice.random() < 0.2:
        await deployment.work()


async def deliver(arena: Arena, bodies: list[Any]) -> None:
    """Each message gets one verdict, with any content."""
    messages = [RecordingMessage(body, f"message-{number}") for number, body in enumerate(bodies)]
    await App(arena.deployment.world).on_messages(messages)
    assert [len(one.verdicts) for one in messages] == [1] * len(messages)
    await App(arena.deployment.world).on_dead_letters([RecordingMessage(body) for body in bodies])


async def answer(arena: Arena, given_: tuple[int, Any]) -> None:
    """After any reply of a model's server, the task continues or ends, and the books are right."""
    number, value = given_
    dice = random.Random(number)  # noqa: S311  # of the example
    deployment = arena.deployment
    replies = [_reply(dice, value) for _ in range(4)]

    async def reply(_: httpx2.Request) -> httpx2.Response:
        return replies.pop() if len(replies) > 1 else replies[0]

    arena.network.others["chat.test"] = reply
    task = await deployment.submit(arena.chat)
    await deployment.work()
    (row,) = await deployment.rows("SELECT status FROM tasks WHERE id = ?1", task)
    assert row["status"] in {"completed", "failed", "pending", "waiting"}, row
    assert await invariants.broken(deployment.database.inner) == []


def _reply(dice: random.Random, value: Any) -> httpx2.Response:
    shape = dice.choice([completion(), completion({"title": CANARY}), error(CANARY, CANARY, CANARY), value])
    headers = {"content-type": "application/json"}
    if dice.random() < 0.3:
        headers["retry-after"] = str(
            spoil(dice.choice(["1", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 400]), dice)
        )
    content = scrambled(written(spoil(shape, dice)), dice)
    safe = {name: ascii(text)[1:-1] for name, text in headers.items()}
    return httpx2.Response(dice.choice(STATUSES), headers=safe, content=content)


async def judge(_: Arena, given_: tuple[Any, Any]) -> None:
    """A schema is refused with a reason, or it can check any value."""
    part, value = given_
    schema = {"type": "object", "properties": {"a": part}}
    with suppress(BadInput):
        check_schema(schema, "output_schema")
    found = mismatch(schema, {"a": value})
    assert found is None or isinstance(found, Problem)


@dataclass(frozen=True, slots=True)
class Target:
    """`share`: percent of all generated examples."""

    name: str
    share: int
    strategy: Callable[[Arena], SearchStrategy[Any]]
    check: Callable[[Arena, Any], Awaitable[None]]


TARGETS: Final = (
    Target("requests", 40, lambda arena: requests(arena.tokens), ask),
    Target("webhooks", 15, lambda _: st.tuples(numbers, anything, st.text(max_size=20)), tell),
    Target("messages", 10, lambda _: st.lists(anything | st.just({"v": 1}), min_size=1, max_size=4), deliver),
    Target("replies", 20, lambda _: st.tuples(numbers, anything), answer),
    Target("schemas", 15, lambda _: st.tuples(schemas, values), judge),
)


def fuzz(target: Target, count: int, start: int, directory: Path, say: Callable[[int], None]) -> int:
    """Try `count` examples; return how many were tried.  Raises the failure, with the smallest failing example."""
    migrated = directory / "migrated.sqlite3"
    apply(migrated, ROOT / "migrations")
    done = 0
    while done < count:
        room = directory / f"{target.name}-{done}"
        room.mkdir()
        done += _batch(target, min(BATCH, count - done), start + done, room, migrated)
        say(done)
        shutil.rmtree(room)
    return done


def _batch(target: Target, count: int, start: int, room: Path, migrated: Path) -> int:
    tried = 0
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        arena = runner.run(opened(stack, room, migrated))
        try:

            @seed(start)
            @settings(
                max_examples=count,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            )
            @given(target.strategy(arena))
            def one(example: Any) -> None:
                nonlocal tried
                tried += 1
                runner.run(arena.check(target.check(arena, example)))

            one()
        finally:
            runner.run(stack.aclose())
    return tried
