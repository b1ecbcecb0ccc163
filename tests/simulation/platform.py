"""What the platform allows an invocation, enforced where an invocation uses it: statements, connections, time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from consumer.core.template import MAX_CALL_S
from consumer.world import Config
from tests.simulation.adapters import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation

INVOCATION: Final[ContextVar[int]] = ContextVar("invocation", default=0)
"""The current invocation; tasks that it starts inherit it."""
STATEMENTS: Final = 1_000
CONNECTIONS: Final = 6
"""Services whose replies an invocation may wait for at the same time; further requests wait until one has come."""
FEW: Final = 300
"""The statements of a run, in seeds in which the usual number would hardly be reached."""
SHORT_MS: Final = 60_000
"""How long an invocation begins new work, in seeds that let many calls outlast it."""
ROUNDING_S: Final = 0.5
LARGE_BATCH: Final = 60
"""A run that may not send so many statements more cannot write an answer any more, after a storm over the database."""


def config_of(seed: int) -> Config:
    """The settings of a seed: in some, an invocation is short, so that its calls outlast it."""
    usual = Config(status_ttl_s=400 * 86_400, public_url="http://bizq.test")
    if seed % 3 == 1:
        return replace(usual, invocation_ms=SHORT_MS, cut_ms=SHORT_MS + 1000 * (MAX_CALL_S + 30))
    if seed % 3 == 2:
        return replace(usual, statements=FEW - 100, all_statements=FEW)
    return usual


class Platform:
    """Counts for each invocation.  `began`: when it began.  `most`: the most that any invocation has used."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.began: dict[int, float] = {}
        self.statements: Counter[int] = Counter()
        self.most: Counter[str] = Counter()
        self._runs: set[int] = set()
        self._calls: Counter[int] = Counter()
        self._called: Counter[str] = Counter()
        self._connections: dict[int, asyncio.Semaphore] = {}

    def begin(self, what: str) -> None:
        """An invocation begins, in the current context."""
        self._sim.invocations += 1
        if what == "on_messages":
            self._runs.add(self._sim.invocations)
        INVOCATION.set(self._sim.invocations)
        self.began[self._sim.invocations] = self._sim.loop.time()

    def count(self, statements: int) -> None:
        """The current invocation sends statements to its database."""
        now = INVOCATION.get()
        self.statements[now] += statements
        self.most["statements"] = max(self.most["statements"], self.statements[now])
        most = self._sim.config.all_statements if now in self._runs else STATEMENTS
        self.an_invocation_stays_within_its_statements(self.statements[now], most)

    def connection(self) -> asyncio.Semaphore:
        """A connection of the current invocation, for which it may have to wait."""
        now = INVOCATION.get()
        found = self._connections.get(now)
        if found is None:
            found = self._connections[now] = asyncio.Semaphore(CONNECTIONS)
        if found.locked():
            self._sim.dice.count("platform.full")
        return found

    @contextmanager
    def call(self, isolate: Isolate, execution: int | None) -> Iterator[None]:
        """A call to a provider lasts until here; a worker that cancels it must have a reason."""
        began, now, books = self._sim.loop.time(), INVOCATION.get(), self._sim.books
        self._calls[now] += 1
        self.calls_leave_a_connection_to_storage(self._calls[now])
        self.nothing_is_sent_after_the_time_for_new_work(began - self.began[now])
        row = None if execution is None else books.executions.get(execution)
        profile = row.profile or "" if row is not None and row.status == "running" else ""
        if row is not None and profile:
            books.sent_by[now][row.id] = row.lease or ""
        self._called[profile] += 1
        self.a_profile_is_called_within_its_concurrency(profile)
        try:
            yield
        except asyncio.CancelledError:
            if execution is not None and isolate.alive and not isolate.stopping:
                self.no_call_is_cut_off_early(execution, self._sim.loop.time() - began)
            raise
        finally:
            self._calls[now] -= 1
            self._called[profile] -= 1

    def ended(self, who: str) -> None:
        """The run of the current invocation has ended by itself; not because it has used up its time or statements."""
        now, config = INVOCATION.get(), self._sim.config
        has_time = self._sim.loop.time() - self.began[now] + ROUNDING_S < config.cut_ms / 1000
        if has_time and self.statements[now] + LARGE_BATCH <= config.all_statements:
            self._sim.books.a_living_worker_settles_what_it_sent(who, now)

    # --- invariants -------------------------------------------------------------------------------------------------

    def an_invocation_stays_within_its_statements(self, count: int, most: int) -> None:
        """An invocation sends no more statements than the platform allows, repetitions included."""
        self._sim.books.must(
            "an_invocation_stays_within_its_statements", count <= most, "{} of {} statements", count, most
        )

    def calls_leave_a_connection_to_storage(self, count: int) -> None:
        """The calls of an invocation never use all its connections: a status or a doorbell would wait for minutes."""
        self._sim.books.must("calls_leave_a_connection_to_storage", count < CONNECTIONS, "{} calls", count)

    def nothing_is_sent_after_the_time_for_new_work(self, run_s: float) -> None:
        """A run whose time is over calls no provider any more: its calls would outlast the invocation."""
        if INVOCATION.get() in self._runs:
            in_time = run_s - ROUNDING_S <= self._sim.config.invocation_ms / 1000
            words = "a call begins {:.0f} s after its run"
            self._sim.books.must("nothing_is_sent_after_the_time_for_new_work", in_time, words, run_s)

    def a_profile_is_called_within_its_concurrency(self, profile: str) -> None:
        """No more calls are in flight than the profile's `concurrency` says, of all living workers together."""
        most = PROFILES.get(profile, {}).get("concurrency")
        if most is not None:
            count = self._called[profile]
            words = "{} calls of {} are in flight"
            self._sim.books.must(
                "a_profile_is_called_within_its_concurrency", count <= most, words, count, profile
            )

    def no_call_is_cut_off_early(self, execution: int, lasted_s: float) -> None:
        """A living worker cuts a call off at its time limit, at a hard limit of its run, or when it has to stop."""
        sim = self._sim
        run_s = sim.loop.time() - self.began[INVOCATION.get()]
        over = run_s + ROUNDING_S >= sim.config.cut_ms / 1000
        over |= self.statements[INVOCATION.get()] + LARGE_BATCH > sim.config.all_statements
        limit_s = sim.books.call_s(execution)
        right = over or lasted_s + ROUNDING_S >= limit_s
        words = "execution {} is cut off after {:.1f} s of {} s, {:.0f} s after its run began"
        sim.books.must("no_call_is_cut_off_early", right, words, execution, lasted_s, limit_s, run_s)
