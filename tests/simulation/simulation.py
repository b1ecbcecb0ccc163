"""One seed: some hours with faults, then a time without them until no work is left."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Coroutine, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from consumer.core import policy
from consumer.core.profile import accounts
from consumer.ports import PortError, Result
from consumer.run.schema import SchemaTrust
from providers import PROVIDERS
from tests.simulation import edges, ends, scenario
from tests.simulation.adapters import ADAPTERS, HOOK_SECRET, PROFILES, Chat
from tests.simulation.applications import Applications
from tests.simulation.books import Books
from tests.simulation.coverage import Cells, Coverage
from tests.simulation.dice import Dice
from tests.simulation.editors import Editors
from tests.simulation.isolates import Isolate
from tests.simulation.loop import Stuck, VirtualLoop
from tests.simulation.mail import MessageQueue, StatusStore
from tests.simulation.operators import Operators
from tests.simulation.others import Others
from tests.simulation.people import People
from tests.simulation.platform import Platform, config_of
from tests.simulation.population import Population
from tests.simulation.readers import Readers
from tests.simulation.restores import Restores
from tests.simulation.services import Services
from tests.simulation.tenants import Tenants
from tests.simulation.watch import Change, WatchedDatabase
from tests.simulation.weather import Weather
from tests.simulation.web import Web

START_MS: Final = 1_801_435_200_000
"""2027-01-31T22:40:00Z: a day and a month end during the simulation."""
DAY_S: Final = 86_400.0
CALM_TICK_S: Final = 1_800.0
"""After the faults, time is jumped over in large steps, so cron comes less often than usual."""
POOL: Final = 4
"""The number of workers at the same time."""
MOST_TURNS: Final = 200_000
"""The number of steps of the loop after which a seed counts as endless; a usual seed needs 20,000."""
PATIENCE_S: Final = 40 * DAY_S
"""The time in seconds after which every task must have ended."""

NEXT_DUE: Final = """
    SELECT min(due) AS due FROM (
      SELECT min(run_at_ms) AS due FROM tasks WHERE status = 'pending'
      UNION ALL SELECT min(wake_at_ms) FROM task_executions WHERE status IN ('waiting', 'unknown')
      UNION ALL SELECT min(due_ms) FROM outbox
      UNION ALL SELECT min(until_ms) + 31000 FROM leases
      UNION ALL SELECT min(due) FROM (
        SELECT min(deadline_ms) AS due FROM tasks WHERE status IN ('pending', 'waiting') AND deadline_ms IS NOT NULL
        UNION ALL SELECT min(deadline_ms) FROM tasks WHERE status = 'running' AND lease IS NULL
        UNION ALL SELECT min(run_at_ms) + ?1 FROM tasks
          WHERE status = 'running' AND lease IS NULL AND blocked_by IS NULL))
"""
"""The time of the next work.  The sweep also ends a task that another application set to running, or takes it back.
?1: how long it may stay running.  Five terms in each SELECT, because the database refuses more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a simulation.  `only`: the faults that may happen, None for all of the seed."""

    seed: int
    tasks: int = 100
    chaos_s: float = 2 * 3_600.0
    only: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()


@dataclass(slots=True)
class Report:
    """The result of a simulation."""

    plan: Plan
    violation: tuple[str, str] | None = None
    events: int = 0
    commits: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    days: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    happened: list[str] = field(default_factory=list)
    timeline: list[tuple[float, str, str, object]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    cells: Cells = field(default_factory=Counter)


class Violated(Exception):
    """An invariant is violated: the simulation ends here."""


class Simulation:
    """The world of one seed.  `timeline`: keep a timeline, which takes most of the memory."""

    def __init__(self, plan: Plan, *, timeline: bool = True) -> None:
        self.plan = plan
        self._keeps_timeline = timeline
        self.dice = Dice(plan.seed, plan.only)
        self.loop = VirtualLoop(plan.seed, MOST_TURNS)
        self.report = Report(plan)
        self.events = 0
        self.invocations = 0
        self.skewed = plan.seed % 3 != 0
        self.reuses_ids = plan.seed % 4 < 2
        self.stormy_until: dict[str, float] = {}
        self.weather = Weather(self)
        self.books = Books(self)
        self.coverage = Coverage(self)
        self.dice.watch = self.coverage.happened
        self.database = WatchedDatabase(self.now_ms)
        self.database.watch = self._committed
        self.config = config_of(plan.seed)
        self.platform = Platform(self)
        self.providers = {**PROVIDERS, **{each.name: each() for each in (*ADAPTERS, Chat)}}
        self.accounts = accounts(PROFILES, {"HOOK": HOOK_SECRET})
        self.queue = MessageQueue(self)
        self.statuses = StatusStore(self)
        self.blobs: dict[str, bytes] = {}
        self.services = Services(self)
        self.people = People(self)
        self.others = Others(self)
        self.applications = Applications(self)
        self.editors = Editors(self)
        self.tenants = Tenants(self)
        self.operators = Operators(self)
        self.readers = Readers(self)
        self.restores = Restores(self)
        self.web = Web(self)
        self.activity = asyncio.Event()
        self.trust = SchemaTrust()
        self._pool: list[Isolate] = []
        self._isolates = 0
        self._closing = False
        self._actors: set[asyncio.Task[Any]] = set()

    # --- services for the parts --------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return START_MS + int(self.loop.time() * 1000)

    def note(self, who: str, what: str, which: object = "") -> None:
        """Add a line to the timeline."""
        if self._keeps_timeline:
            self.report.timeline.append((self.loop.time(), who, what, which))

    def violated(self, invariant: str, why: str) -> None:
        """Report a violated invariant; only the first one counts."""
        if self.report.violation is None and invariant not in self.plan.ignore:
            self.report.violation = (invariant, why)
            self.note("!", invariant, why)
            self.loop.stop()

    def stored(self, result: str | None, result_key: str | None) -> Any:
        """The answer that a row or its blob holds; None if there is none."""
        text = self.blob(result_key) if result_key is not None else result
        return None if text is None else json.loads(text)

    def blob(self, key: str) -> str | None:
        """A large text: in the blob store, or in parts in the database."""
        found = self.blobs.get(key)
        if found is not None:
            return found.decode()
        parts = self.database.ask("SELECT data FROM blob_parts WHERE key = ?1 ORDER BY part", key)
        return "".join(row["data"] for row in parts) or None

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a background task; the seed does not end before it."""
        task = self.loop.create_task(work)
        self._actors.add(task)
        task.add_done_callback(self._actors.discard)
        return task

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a background task that the seed does not wait for."""
        if self._closing:
            work.close()
        else:
            self._actors.add(self.spawn(work))

    def storm(self, kind: str) -> float:
        """The factor by which a kind of fault is more frequent now: faults come in groups."""
        now = self.loop.time()
        if self.dice.hit(f"{kind}.storm", 0.002):
            self.stormy_until[kind] = now + self.dice.between(f"{kind}.storminess", 5, 90)
            self.note("weather", "storm over", kind)
        return 20.0 if now < self.stormy_until.get(kind, 0.0) else 1.0

    def isolate(self) -> Isolate:
        """A living worker; sometimes a deployment replaces one, and gives it a moment to stop."""
        if len(self._pool) == POOL and self.dice.hit("deployment", 0.04):
            replaced = self._pool.pop(0)
            replaced.stopping = True
            self.coverage.run(replaced.runs, "deployment")
        self._pool = [each for each in self._pool if each.alive]
        if len(self._pool) < POOL:
            self._isolates += 1
            self._pool.append(Isolate(self, f"worker {self._isolates}"))
        return self.dice.stream("isolate").choice(self._pool)

    def seen(self, isolate: Isolate, results: Sequence[Result]) -> None:
        """A worker reads a reply of its database; some rows kill it."""
        for result in results:
            for row in result.rows:
                if row.get("title") == "poison at claim" and "open_execution" in row:
                    isolate.die("poisoned by a row")
                    isolate.gate("reading")

    def _committed(self, who: str, changes: list[Change]) -> None:
        self.coverage.committed(who, changes)
        self.books.committed(who, changes)
        for change in changes:
            for number, task in change.tasks.items():
                self.note(who, "writes", task or number)
            for number, execution in change.executions.items():
                self.note(who, "writes", execution or number)
                if execution and execution.provider == "inbox" and execution.status == "waiting":
                    self.people.asked(execution)
        if changes:
            self.activity.set()

    # --- the seed ----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Simulate the whole seed."""
        structlog.configure(processors=[self._logged], cache_logger_on_first_use=False)
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._unhandled)
        scenario.seed_rows(self)
        self.loop.call_soon(self._begin)
        main = self.loop.create_task(self._main())
        main.add_done_callback(lambda _task: self.loop.stop())
        try:
            self.loop.run_forever()
        except Stuck as stuck:
            self.violated("every_task_ends", str(stuck))
        report = self.report
        if main.done() and not main.cancelled() and main.exception():
            raise main.exception() or AssertionError
        report.events, report.commits, report.checks = self.events, self.database.commits, self.books.checked
        report.days = self.loop.time() / DAY_S
        report.faults = self.dice.counts
        report.happened = self.dice.happened
        report.cells = self.coverage.cells
        report.statuses = Counter(task.status for task in self.books.tasks.values())
        self._close()
        return report

    def _close(self) -> None:
        """End every task that still runs, so that this seed does not affect the next one."""
        self._closing = True
        self.loop.in_peace()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.loop.close()
        self.database.close()
        asyncio.set_event_loop(None)

    def _begin(self) -> None:
        Population(self).insert()
        for one in scenario.wanted(self.plan.seed, self.plan.tasks, self.plan.chaos_s * 0.7):
            self.start(self.others.hand_in(one))
        self.start(self.others.edit_public_columns(self.plan.chaos_s))
        self.start(self.applications.misbehave(self.plan.chaos_s))
        self.start(self.editors.edit(self.plan.chaos_s))
        self.start(self.tenants.harass(self.plan.chaos_s))
        self.start(self.operators.operate(self.plan.chaos_s))
        self.start(self.restores.operate(self.plan.chaos_s))

    async def _main(self) -> None:
        cron = self.loop.create_task(self._cron())
        await asyncio.sleep(self.plan.chaos_s)
        self.note("weather", "calms down")
        self.dice.fault_rate = 0.0
        # The schema was found whole during the faults and does not change here, so distant ticks need not check it.
        self.trust.until_ms = sys.maxsize
        self.stormy_until.clear()
        for isolate in self._pool:
            isolate.kill_at = 0
        while self.loop.time() < PATIENCE_S:
            if cron.done():
                cron.result()  # it never returns, so this raises what ended it
            await asyncio.sleep(CALM_TICK_S * 1.5 - self.loop.time() % CALM_TICK_S)
            if self._actors or not self.queue.idle or ends.busy(self):
                continue
            break
        else:
            ends.check(self)
            self.violated("every_task_ends", "background tasks still run")
        cron.cancel()
        ends.check(self)

    async def _cron(self) -> None:
        """One tick per minute while there is work; late, twice, or not at all."""
        dice, idle = self.dice, 60.0
        while True:
            await self._until_something_is_due()
            await asyncio.sleep(60.0 - self.loop.time() % 60.0)
            if dice.fault_rate == 0.0:
                await asyncio.sleep(CALM_TICK_S - self.loop.time() % CALM_TICK_S)
            if dice.hit("cron.skipped", 0.1):
                continue
            if dice.hit("cron.late", 0.1):
                await asyncio.sleep(dice.between("cron.lateness", 1, 300))
            if dice.hit("cron.twice", 0.05):
                self.start(self._tick())
            before = self.database.commits
            self.activity.clear()
            await self.spawn(self._tick())
            # Tasks blocked by a budget are tried every minute; after the faults, less often.
            quiet = dice.fault_rate == 0.0 and not ends.busy(self) and self.database.commits - before < 40
            idle = min(idle * 2, 3_600.0) if quiet else 60.0
            if idle > 60.0:
                await asyncio.sleep(idle)

    async def _until_something_is_due(self) -> None:
        due = self.database.ask(NEXT_DUE, policy.TAKEN)[0]["due"]
        wait = (due - self.now_ms()) / 1000 if due is not None else DAY_S
        if wait > 0 and not self.activity.is_set():
            try:
                async with asyncio.timeout(min(wait, DAY_S)):
                    await self.activity.wait()
            except TimeoutError:
                return

    async def _tick(self) -> None:
        isolate = self.isolate()
        self.events += 1
        await isolate.limited("on_tick", isolate.app.on_tick())

    def _logged(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        self.note("log", event.pop("event"), event)
        raise structlog.DropEvent

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, PortError):
            edges.no_unexpected_exception_escapes(self, str(context.get("message")), error)


def seldom_collecting() -> None:
    """For a process that only simulates: garbage collection took a fifth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def simulate(plan: Plan) -> Report:
    """Run one seed."""
    return Simulation(plan).run()


def summarize(plan: Plan) -> Report:
    """Run one seed without a timeline, which would be expensive to send to another process."""
    began = time.process_time()
    report = Simulation(plan, timeline=False).run()
    report.cpu_s = time.process_time() - began
    return report
