"""Workers that die, and the ports of their worlds.

An operation that a worker has sent happens even if the worker dies: a sent batch is committed although its sender is
gone, and the reply to a dead worker is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx2

from consumer.app import App
from consumer.core.strictjson import parse_json
from consumer.limits import check_batch, check_key, check_status_key, check_value, encode_messages
from consumer.ports import PortError, Result, Statement, Unavailable
from consumer.web.app import build
from consumer.world import World
from tests.simulation import edges
from tests.simulation.platform import INVOCATION
from tests.simulation.services import submitted_execution
from tests.support.ports import FakeEntropy

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

T = TypeVar("T")
LINK_SECRET: Final = "the secret of the links of the simulation"
LONGEST_INVOCATION_S: Final = 900.0
"""The time after which the platform ends a consumer of a queue and a tick of cron."""
LONGEST_OPERATION: Final = 40
"""A worker that will be killed is killed within this number of operations."""

SLOW: Final = {"kv": (0.05, 20.0)}
"""Probability of a slow operation and its maximum in seconds, if they differ from the usual ones: sometimes an older
status has to arrive after a newer one."""


class Killed(BaseException):
    """The worker is dead: nothing more runs in it."""


class Isolate:
    """One worker process: its ports, its clock, and the moment of its death."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.alive = True
        self.stopping = False
        self.operations = 0
        self.kill_at = 0
        self.running: dict[asyncio.Task[Any], None] = {}  # in order, so that a seed repeats
        self.tokens: set[str] = set()
        self.runs: set[int] = set()
        self.skew_ms = int(sim.dice.between("skew", -14_000, 14_000)) if sim.skewed else 0
        sim.books.skews_ms[name] = self.skew_ms
        dice = sim.dice
        if dice.hit("kill", 0.25):
            self.kill_at = 1 + int(dice.between("kill.at", 0, LONGEST_OPERATION))
        world = World(
            database=Database(self),
            kv=KeyValue(self),
            blobs=Blobs(self),
            queue=Queue(self),
            clock=Clock(self),
            entropy=SeededEntropy(sim, name),
            http=Wire(self),
            providers=sim.providers,
            accounts=sim.accounts,
            link_secret=LINK_SECRET,
            config=sim.config,
        )
        self.app = App(world, lambda: self.stopping, sim.trust)
        self.web = build(self.app)

    # --- life and death ---------------------------------------------------------------------------------------------

    def gate(self, what: str) -> None:
        """Called before and after each operation: the worker may die here."""
        if not self.alive:
            raise Killed
        self.operations += 1
        if self.operations == self.kill_at:
            self.die(what)
            raise Killed

    def die(self, why: str) -> None:
        """End every task of this worker, wherever it is."""
        if self.alive:
            self.alive = False
            self.sim.coverage.died(self.runs)
            self.sim.note(self.name, "is killed", why)
            current = asyncio.current_task()
            for task in self.running:
                if task is not current:
                    task.cancel()

    async def limited(self, what: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Run an invocation that the platform ends after 15 minutes."""
        loop = asyncio.get_running_loop()
        end = loop.call_later(LONGEST_INVOCATION_S, self._too_long, what, loop.time())
        try:
            return await self.invoke(what, work)
        finally:
            end.cancel()

    def _too_long(self, what: str, began: float) -> None:
        if self.alive:
            self.sim.dice.count("platform.ends")
            edges.an_invocation_ends_in_time(self.sim, what, began)
            self.die("the platform ends an invocation")

    async def invoke(self, what: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Run an invocation; None if the worker died or could not reach its database."""
        task = asyncio.current_task()
        assert task is not None
        self.running[task] = None
        self.sim.platform.begin(what)
        self.runs.add(INVOCATION.get())
        try:
            result = await work
            if what == "on_messages" and self.alive:
                self.sim.platform.ended(self.name)
            return result
        except (Killed, asyncio.CancelledError):
            if self.alive:
                raise
            return None
        except PortError:
            return None
        except Exception as error:  # noqa: BLE001  # every exception that comes this far is a violation
            edges.no_unexpected_exception_escapes(self.sim, what, error)
            return None
        finally:
            self.running.pop(task, None)

    async def reach(
        self, kind: str, effect: Callable[[], T], low: float, high: float, what: str, *, ghost: bool = False
    ) -> T:
        """Do an operation outside: it may fail before it is done, fail after it is done, or be slow."""
        self.gate(f"before {what}")
        sim, dice = self.sim, self.sim.dice
        sim.events += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        there = dice.between(kind, low, high)
        often, longest = SLOW.get(kind, (0.02, 8.0))
        if dice.hit(f"{kind}.slow", often):
            there += dice.between(f"{kind}.slowness", 0.5, longest)
        before = dice.hit(f"{kind}.before", 0.03 * sim.storm(kind))
        after = dice.hit(f"{kind}.after", 0.03)
        if sim.weather.hangs(kind):
            if dice.stream(f"{kind}.hung").random() < 0.5:  # it is carried out, without a reply
                loop.call_later(there, _apply, effect)
        elif sim.weather.over(kind):
            loop.call_later(there, _fail, answer, f"{what}: the service is down")
        elif ghost and dice.hit(f"{kind}.ghost", 0.01):
            loop.call_later(there, _fail, answer, f"{what}: connection lost")
            loop.call_later(there + dice.between(f"{kind}.haunt", 0.0, 5.0), _apply_later, sim, effect)
        elif before:
            loop.call_later(there, _fail, answer, f"{what}: connection lost")
        else:
            loop.call_later(there, _do, answer, effect, f"{what}: connection lost" if after else None)
        if before or after:
            sim.note(self.name, f"{kind} fails", "before" if before else "after")
        if kind == "database":
            result = await answer
        else:
            async with sim.platform.connection():
                result = await answer
        self.gate(f"after {what}")
        return result


def _do(answer: asyncio.Future[T], effect: Callable[[], T], error: str | None) -> None:
    try:
        result = effect()
    except PortError as refused:
        _settle(answer, None, refused)
        return
    loop = asyncio.get_running_loop()
    loop.call_later(0.002, _settle, answer, result, Unavailable(error) if error else None)


def _apply(effect: Callable[[], object]) -> None:
    with suppress(PortError):
        effect()


def _apply_later(sim: Simulation, effect: Callable[[], object]) -> None:
    """An operation that was given up happens later, maybe after its own repetition."""
    sim.books.haunted = True
    _apply(effect)
    sim.books.haunted = False


def _fail(answer: asyncio.Future[T], error: str) -> None:
    _settle(answer, None, Unavailable(error))


def _settle(answer: asyncio.Future[T], result: T | None, error: PortError | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)  # type: ignore[arg-type]
    else:
        answer.set_exception(error)


class Clock:
    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    def now_ms(self) -> int:
        return self._isolate.sim.now_ms() + self._isolate.skew_ms


class SeededEntropy(FakeEntropy):
    """The randomness of one worker."""

    def __init__(self, sim: Simulation, name: str) -> None:
        super().__init__()
        self._random = sim.dice.stream(f"entropy/{name}")

    def draw(self) -> float:
        return self._random.random()


class Database:
    """D1: a round trip of a few milliseconds, one batch at a time."""

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        check_batch(statements)
        isolate = self._isolate
        isolate.sim.books.nothing_after_acknowledgement(isolate.name)
        isolate.sim.platform.count(len(statements))
        database = isolate.sim.database
        results = await isolate.reach(
            "database",
            lambda: database.commit(isolate.name, statements),
            *(0.002, 0.03),
            what="a batch",
            ghost=True,
        )
        isolate.sim.seen(isolate, results)
        return results


class KeyValue:
    """KV: one write per second and key, and readers that see an old value for a minute."""

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    async def get(self, key: str) -> str | None:
        check_status_key(key)
        isolate = self._isolate
        return await isolate.reach(
            "kv", lambda: isolate.sim.statuses.read(isolate.name, key), 0.005, 0.05, "a read of the status"
        )

    async def put(self, key: str, value: str, ttl_s: int | None = None) -> None:
        check_status_key(key)
        check_value(value, ttl_s)
        isolate = self._isolate
        await isolate.reach(
            "kv", lambda: isolate.sim.statuses.write(isolate.name, key, value), 0.005, 0.05, "a status"
        )


class Blobs:
    """R2."""

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    async def get(self, key: str) -> bytes | None:
        check_key(key)
        stored = self._isolate.sim.blobs
        return await self._isolate.reach("blobs", lambda: stored.get(key), 0.01, 0.05, "a blob")

    async def put(self, key: str, value: bytes) -> None:
        check_key(key)
        stored = self._isolate.sim.blobs
        await self._isolate.reach("blobs", lambda: stored.update({key: value}), 0.01, 0.05, "a blob")

    async def delete(self, key: str) -> None:
        stored = self._isolate.sim.blobs
        await self._isolate.reach("blobs", lambda: stored.pop(key, None), 0.01, 0.05, "a blob")


class Queue:
    """The queue for sending doorbells."""

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    async def send(self, bodies: Sequence[Mapping[str, object]], delay_s: int = 0) -> None:
        texts = encode_messages(bodies, delay_s)
        sim = self._isolate.sim
        await self._isolate.reach(
            "queue",
            lambda: sim.queue.accept([parse_json(text) for text in texts], delay_s),
            *(0.005, 0.03),
            what="a doorbell",
        )

    async def backlog(self) -> int | None:
        sim = self._isolate.sim
        return await self._isolate.reach("queue", sim.queue.backlog, 0.005, 0.03, "the backlog")


class Wire(httpx2.AsyncClient):
    """The network to the providers.  Their side continues if the worker dies."""

    def __init__(self, isolate: Isolate) -> None:  # the worker's client with the transport below
        self._isolate = isolate

    async def send(self, request: httpx2.Request, **_options: Any) -> httpx2.Response:
        isolate = self._isolate
        isolate.gate("before a request")
        isolate.sim.events += 1
        with isolate.sim.platform.call(isolate, submitted_execution(request)):
            async with isolate.sim.platform.connection():
                response = await isolate.sim.services.receive(isolate, request)
        isolate.gate("after a reply")
        return response
