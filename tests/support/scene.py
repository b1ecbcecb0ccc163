"""One worker with everything it needs, on the database, status store and blobs of a host."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer import telemetry
from consumer.app import App
from consumer.core import snapshot
from consumer.core.policy import CLOCK_SLACK, LEASE, SECOND
from consumer.core.profile import accounts
from consumer.execution import webhooks
from consumer.execution.call import provider_key
from consumer.ports import Statement
from consumer.run.run import Run
from consumer.run.summary import Summary
from consumer.service import queries
from consumer.store.schema.check import broken
from consumer.store.sql import execution_id, mark_of
from consumer.world import Config, World
from providers import PROVIDERS
from tests.support import invariants
from tests.support.fakes import FAKES, SCHEMA, Network
from tests.support.ports import (
    FakeClock,
    FakeEntropy,
    Faulty,
    RecordingBlobs,
    RecordingKV,
    RecordingMessage,
    RecordingQueue,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from consumer.core.profile import Account
    from consumer.ports import Blobs, Database, KeyValue, Row, Value
    from consumer.provider import Provider
    from consumer.run.sweep import Swept

FAKE_PRICE: Final = {"per_task": "0.01"}
PRICE: Final = 10_000
"""The cost of an answer of a fake provider, in micro-dollars."""
PROFILES: Final[dict[str, Any]] = {
    "echo": {"provider": "echo", "price": {"per_task": "0"}},
    "inbox": {"provider": "inbox", "price": {"per_task": "0"}},
    "chat": {
        "provider": "openai_compatible",
        "base_url": "http://chat.test/v1",
        "price": {"input_per_million": "1", "output_per_million": "2"},
    },
    "unpriced": {"provider": "blind", "base_url": "http://fake.test"},
    "free": {"provider": "blind", "base_url": "http://fake.test", "price": {"per_task": "0"}},
    "of-two": {
        "provider": "blind",
        "base_url": "http://fake.test",
        "organizations": [2],
        "price": FAKE_PRICE,
    },
    "other": {"provider": "blind", "base_url": "http://fake.test", "price": FAKE_PRICE},
    **{
        fake.name: {"provider": fake.name, "base_url": "http://fake.test", "price": FAKE_PRICE}
        for fake in FAKES
    },
}
LINK_SECRET: Final = "the secret of the links of the tests"
CONFIG: Final = Config(flush_after_ms=0, grace_ms=0, batch_size=10)

LEASE_OVER: Final = LEASE + CLOCK_SLACK + SECOND
"""After this time without a renewal of its lease, the sweep gives a worker up.  In milliseconds."""


def ai(*profiles: str, **settings: Any) -> dict[str, Any]:
    """An AI stage with these candidates."""
    return {"kind": "ai", "candidates": [{"profile": name, "settings": settings} for name in profiles]}


def person(*profiles: str, kind: str = "human") -> dict[str, Any]:
    """A stage for a person; `kind` is `human` or `review`."""
    return {"kind": kind, "candidates": [{"profile": name} for name in profiles or ("inbox",)]}


def route(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"stages": list(stages)}


def make_world(
    database: Database,
    kv: KeyValue,
    blobs: Blobs,
    network: Network,
    *,
    clock: FakeClock | None = None,
    entropy: FakeEntropy | None = None,
    queue: RecordingQueue | None = None,
) -> World:
    """A world with the real providers and the fake ones."""
    fakes: dict[str, Provider] = {fake.name: fake(network) for fake in FAKES}
    known: dict[str, Account] = accounts(PROFILES, {})
    return World(
        database=database,
        kv=kv,
        blobs=blobs,
        queue=queue or RecordingQueue(),
        clock=clock or FakeClock(),
        entropy=entropy or FakeEntropy(),
        http=network.client,
        providers={**PROVIDERS, **fakes},
        accounts=known,
        link_secret=LINK_SECRET,
        config=CONFIG,
    )


@dataclass(slots=True)
class Scene:
    """A worker, with the actions and questions of tests."""

    world: World
    database: Faulty
    kv: RecordingKV
    blobs: RecordingBlobs
    queue: RecordingQueue
    clock: FakeClock
    entropy: FakeEntropy
    network: Network

    async def anew(self) -> Scene:
        """Another scene on the same database, emptied."""
        tables = "task_executions budget_periods budgets tasks task_templates users organizations leases outbox rests"
        names = f"{tables} webhooks dead_letters audit_log api_keys ledger".split()
        await self.database.inner.batch(
            [Statement(f"DELETE FROM {name}") for name in (*names, "sqlite_sequence")]
        )
        return make_scene(self.database.inner, self.kv.inner, self.blobs.inner)

    def configure(self, **changes: Any) -> None:
        self.world = replace(self.world, config=replace(self.world.config, **changes))

    # --- rows ---------------------------------------------------------------------------------------

    async def sql(self, text: str, *parameters: Value) -> list[Row]:
        """Run a statement straight on the database, like another application."""
        (result,) = await self.database.inner.batch([Statement(text, parameters)])
        return list(result.rows)

    async def organization(self, *ids: int) -> None:
        for number in ids:
            await self.sql("INSERT INTO organizations (id, name) VALUES (?1, 'org')", number)

    async def template(
        self,
        stages: dict[str, Any],
        *,
        schema: dict[str, Any] = SCHEMA,
        organization: int | None = 1,
        prompt: str = "",
        **limits: Any,
    ) -> int:
        rows = await self.sql(
            "INSERT INTO task_templates (organization_id, name, prompt, output_schema, route, limits)"
            " VALUES (?1, 'template', ?2, ?3, ?4, ?5) RETURNING id",
            *(organization, prompt, json.dumps(schema), json.dumps(stages), json.dumps(limits)),
        )
        return int(str(rows[0]["id"]))

    async def tasks(
        self, count: int, template: int | None, organization: int | None = 1, **columns: Value
    ) -> list[int]:
        """Insert due tasks, with any columns; return their ids."""
        values = {"template_id": template, "organization_id": organization, "title": "A task", **columns}
        names = ", ".join(values)
        slots = ", ".join(f"?{number}" for number in range(2, len(values) + 2))
        rows = await self.sql(
            f"INSERT INTO tasks ({names}) SELECT {slots} FROM json_each(?1) RETURNING id",
            json.dumps(list(range(count))),
            *values.values(),
        )
        return sorted(int(str(row["id"])) for row in rows)

    async def given(self, *stages: dict[str, Any], count: int = 1, **limits: Any) -> int:
        """Insert tasks of a new template of organization 1; return the first id."""
        if not await self.sql("SELECT id FROM organizations WHERE id = 1"):
            await self.organization(1)
        return (await self.tasks(count, await self.template(route(*stages), **limits)))[0]

    async def budget(
        self, cap_micro: int, scope: str = "organization", scope_id: int = 1, **columns: Any
    ) -> int:
        values = {"organization_id": 1, "scope": scope, "scope_id": scope_id, "period": "day", **columns}
        values["cap_micro"] = cap_micro
        slots = ", ".join(f"?{number}" for number in range(1, len(values) + 1))
        rows = await self.sql(
            f"INSERT INTO budgets ({', '.join(values)}) VALUES ({slots}) RETURNING id", *values.values()
        )
        return int(str(rows[0]["id"]))

    async def books(self, budget: int) -> tuple[int, int]:
        """(spent, reserved) of a budget over all its periods, in micro-dollars."""
        rows = await self.sql(
            "SELECT COALESCE(sum(spent_micro), 0) AS spent, COALESCE(sum(reserved_micro), 0) AS reserved"
            " FROM budget_periods WHERE budget_id = ?1",
            budget,
        )
        return int(str(rows[0]["spent"])), int(str(rows[0]["reserved"]))

    async def task(self, number: int) -> dict[str, Any]:
        (row,) = await self.sql("SELECT * FROM tasks WHERE id = ?1", number)
        return dict(row)

    async def executions(self, task: int) -> list[dict[str, Any]]:
        rows = await self.sql("SELECT * FROM task_executions WHERE task_id = ?1 ORDER BY id", task)
        return [dict(row) for row in rows]

    async def states(self, task: int) -> list[str]:
        """The states of a task's executions, in order."""
        return [row["status"] for row in await self.executions(task)]

    async def statuses(self) -> dict[str, int]:
        rows = await self.sql("SELECT status, count(*) AS n FROM tasks GROUP BY status")
        return {str(row["status"]): int(str(row["n"])) for row in rows}

    async def count(self, table: str) -> int:
        (row,) = await self.sql(f"SELECT count(*) AS n FROM {table}")
        return int(str(row["n"]))

    async def why(self, task: int) -> str:
        return str((await queries.history(self.world, None, task))["why"])

    async def status_key(self, task: int) -> str:
        """The key of a task in the status store."""
        return snapshot.key(task, str((await self.task(task))["identity"]))

    async def mark(self, task: int, number: int = 1) -> str:
        """The mark of an execution in links and callback addresses."""
        return mark_of(str((await self.executions(task))[number - 1]["lease"]))

    async def key(self, task: int, number: int = 1) -> str:
        """The key by which a provider knows an execution."""
        row = (await self.executions(task))[number - 1]
        identity = str((await self.task(task))["identity"])
        return provider_key(row["id"], identity, row["stage"], row["candidate"], row["attempt"])

    async def live(self, task: int) -> dict[str, Any]:
        """The live status of a task, as readers of the status store see it."""
        stored = await self.kv.get(await self.status_key(task))
        assert stored is not None
        shown: dict[str, Any] = json.loads(stored)
        return shown

    # --- events -------------------------------------------------------------------------------------

    async def drain(self) -> Summary:
        """Let a new invocation work until nothing is due."""
        return await Run(self.world).drain()

    async def finish(self) -> None:
        """Run invocations, as long as doorbells ask for another one."""
        rung = -1
        while rung != len(self.queue.sent):
            rung = len(self.queue.sent)
            await self.drain()

    async def ring(self, *bodies: object) -> list[RecordingMessage]:
        """Deliver messages to a new worker."""
        messages = [
            RecordingMessage(body, f"message-{number}") for number, body in enumerate(bodies or ({"v": 1},))
        ]
        await App(self.world).on_messages(messages)
        return messages

    async def tick(self) -> Swept:
        return await App(self.world).on_tick()

    async def later(self, ms: int) -> None:
        """Let time pass, then let cron and the consumer do their work."""
        self.clock.advance(ms)
        await self.tick()
        await self.drain()

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[asyncio.Task[Summary]]:
        """Let a worker work while the body runs."""
        working = asyncio.create_task(self.drain())
        try:
            yield working
            await asyncio.wait_for(working, 10)
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working

    async def die(self, hold: Any) -> None:
        """Kill a worker while the call that plays `hold` is in flight."""
        working = asyncio.create_task(self.drain())
        await asyncio.wait_for(hold.begun.wait(), 10)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        hold.begun.clear()

    async def webhook(
        self, task: int, event: str, said: Mapping[str, Any], number: int = 1, profile: str = "job"
    ) -> None:
        """Let a verified webhook about a task's `number`-th execution arrive."""
        execution = execution_id(task, number)
        await webhooks.receive(self.world, profile, execution, event, None, json.dumps(said))


def make_scene(database: Database, kv: KeyValue, blobs: Blobs) -> Scene:
    """A worker on the ports of a host."""
    clock, entropy, queue = FakeClock(), FakeEntropy(), RecordingQueue()
    network, faulty = Network(), Faulty(database, clock)
    recording_kv, recording_blobs = RecordingKV(kv), RecordingBlobs(blobs)
    world = make_world(
        faulty, recording_kv, recording_blobs, network, clock=clock, entropy=entropy, queue=queue
    )
    return Scene(world, faulty, recording_kv, recording_blobs, queue, clock, entropy, network)


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Let other tasks run until something has happened."""
    for _ in range(5_000):
        if await happened():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


class Suite:
    """A contract of the whole worker.  Fixtures of the host: `database` (migrated, empty), `kv`, `blobs`."""

    @pytest.fixture
    async def scene(self, database: Database, kv: KeyValue, blobs: Blobs) -> AsyncIterator[Scene]:
        telemetry.configure(
            "DEBUG", io.StringIO()
        )  # a field that is not on the list of log fields is an error
        made = make_scene(database, kv, blobs)
        yield made
        await made.network.client.aclose()
        if not await broken(
            database, made.entropy
        ):  # a test may have broken the schema itself, to see it refused
            assert await invariants.broken(database) == []
        assert invariants.rising(made.kv.puts) == []
