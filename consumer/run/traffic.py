"""What a run knows of the profiles that it calls: which of them rest, wait or are at their limits.

`core/rest.py` computes; this module keeps the states of the run, reads them with every claim, and writes what changed
in the run's own round trips.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from consumer.core import policy, rest
from consumer.core.lifecycle import TaskState
from consumer.core.outcome import Failed, Retry, Unknown
from consumer.core.rest import UNTROUBLED, State, Wait, Way
from consumer.core.shares import Speeds
from consumer.core.strictjson import parse_json
from consumer.execution.secrets import fingerprint
from consumer.run.begin import BLOCKED_BY_REST, Intent, Release
from consumer.store import rests as sql
from consumer.store.sql import chunks, integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.core.outcome import Outcome
    from consumer.core.profile import Profile
    from consumer.ports import Row, Statement
    from consumer.run.claim import Claimed
    from consumer.world import World


@dataclass(slots=True, eq=False, repr=False)
class Traffic:
    """The states of profiles, as this run knows them.

    `token`: this run, among the holders of calls.  `limited`: a profile of the deployment has limits.  `speeds`: how
    quickly profiles and organizations got answers.  `changed`: the profiles whose state was not written yet.
    `tickets`: the number of writes, so that each has a ticket of its own.  `woken`: the profiles whose tasks the last
    claim made due.  `due`: times at which calls of a profile may begin again."""

    world: World
    token: str
    limited: bool
    speeds: Speeds = field(default_factory=Speeds)
    states: dict[str, State] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    tickets: int = 0
    woken: set[str] = field(default_factory=set)
    due: set[int] = field(default_factory=set)

    # --- before a call ------------------------------------------------------------------------------------------

    def way(self, task: Claimed, now_ms: int) -> Claimed | Release:
        """The task at the first candidate that may be called now, or the release that lets it wait or fail."""
        at, plan = task.position, task.plan
        if plan is None or not (self.states or self.limited) or at.stage >= len(plan.route.stages):
            return task
        names = [candidate.profile for candidate in plan.route.stages[at.stage].candidates[at.candidate :]]
        if not names:
            return task
        chosen = rest.choose(
            [self._way(name, task.organization, now_ms) for name in names], now_ms, task.deadline_ms
        )
        if isinstance(chosen, Wait):
            name = names[chosen.place]
            if not chosen.in_time:
                why = self._state(name).reason or "its limits are reached"
                return Release(task, TaskState.FAILED, reason=f"deadline: {name} is not called before: {why}")
            self.due.add(rest.next_call_ms(self._state(name), self._profile(name), now_ms))
            return Release(task, TaskState.PENDING, policy.NEVER, f"{BLOCKED_BY_REST}:{name}")
        for _ in range(chosen):
            task = replace(task, position=task.position.next_candidate(), feedback=_kept(task))
        return task

    def take(self, intent: Intent, now_ms: int) -> Intent:
        """Count a call that is about to begin, where something is counted; it then needs a ticket."""
        name, profile = intent.account.name, intent.account.profile
        state = self._state(name)
        if not (state.level or profile.rate or profile.concurrency):
            return intent
        rests = rest.seen_by(state, intent.task.organization).level
        if not (rests or profile.rate or profile.concurrency):
            return intent
        state = rest.taken(state, profile, self.token, now_ms)
        if rests:
            state = rest.probing(state, now_ms, int(intent.call.timeout_s * policy.SECOND))
        self._change(name, state)
        return replace(intent, ticket=self._ticket())

    # --- after a call -------------------------------------------------------------------------------------------

    def note(self, intent: Intent, outcome: Outcome, now_ms: int) -> int:
        """Note how a call ended.  Returns until when its profile rests or waits then."""
        name = intent.account.name
        answered, lasted_ms = not isinstance(outcome, Unknown), now_ms - intent.started_ms
        self.speeds.note(name, intent.task.organization, lasted_ms, now_ms, answered=answered)
        if isinstance(outcome, Failed | Unknown) and intent.immediate_outcome is not None:
            return 0  # nothing was sent, so nothing is known of the profile
        before = self._state(name)
        refused = isinstance(outcome, Retry) and outcome.account is not None
        used = fingerprint(self.world, intent.account) if refused else ""
        after = rest.after(before, outcome, intent.started_ms, now_ms, intent.task.organization, used)
        if after != before:
            self._change(name, after)
            self.due.add(after.until_ms)
            if after.failures and not after.until_ms:
                self.woken.add(name)  # no task waits for it because of this failure
        return after.until_ms

    def hold(self, in_flight: Iterable[Intent], now_ms: int) -> None:
        """Take the calls that have ended out of the count of calls in flight."""
        limited = [name for name, state in self.states.items() if self.token in (state.holders or {})]
        if not limited:
            return
        names = [intent.account.name for intent in in_flight]
        for name in limited:
            state, calls = self._state(name), names.count(name)
            if (state.holders or {})[self.token][0] != calls:
                self._change(name, rest.holding(state, self.token, calls, now_ms))

    # --- the database -------------------------------------------------------------------------------------------

    def statements(self, now_ms: int) -> list[Statement]:
        """Statements that write what changed; the states must be read after them."""
        if not self.changed:
            return []
        rows = (self._row(name, self.states[name]) for name in sorted(self.changed))
        written = [sql.REMEMBER(rows=part, now=now_ms) for part in chunks(rows)]
        self.changed.clear()
        self.tickets += 1
        return written

    def wake(self, now_ms: int) -> list[Statement]:
        """Statements that make tasks due for the profiles that may be called now, as many as may begin."""
        size = self.world.config.batch_size
        rooms = {name: self._room(name, now_ms) for name in self.states}
        self.woken = {name for name, room in rooms.items() if room}
        return [
            sql.WAKE(now=now_ms, profile=name, size=min(rooms[name], size)) for name in sorted(self.woken)
        ]

    def let_go(self) -> list[Statement]:
        """Statements that end the count of this run's calls in flight."""
        held = any(self.token in (state.holders or {}) for state in self.states.values())
        return [sql.LET_GO(holder=self.token)] if held else []

    def read(self, rows: Sequence[Row]) -> None:
        """Take over the states in the database, except of profiles whose calls ended during the round trip.

        A rest because of an account that this deployment no longer has is over."""
        unwritten = {name: self.states[name] for name in self.changed}
        self.states = {text(row, "profile"): _state(row) for row in rows} | unwritten
        for name, state in [*self.states.items()]:
            account = self.world.accounts.get(name)
            if account is None or state.account is None:
                continue
            present = rest.for_account(state, fingerprint(self.world, account))
            if present != state:
                self._change(name, present)

    def may_wake(self, now_ms: int) -> bool:
        """Whether tasks may wait for a profile that may be called now, and that the last claim did not know."""
        return any(name not in self.woken and self._room(name, now_ms) for name in self.states)

    def take_due(self, now_ms: int) -> set[int]:
        """The later times at which a doorbell is needed, since this was last asked."""
        due, self.due = {time for time in self.due if time > now_ms}, set()
        return due

    # --- helpers ------------------------------------------------------------------------------------------------

    def _room(self, name: str, now_ms: int) -> int:
        return rest.room(self._state(name), self._profile(name), now_ms)

    def _state(self, name: str) -> State:
        return self.states.get(name, UNTROUBLED)

    def _profile(self, name: str) -> Profile | None:
        account = self.world.accounts.get(name)
        return account.profile if account is not None else None

    def _way(self, name: str, organization: int | None, now_ms: int) -> Way:
        state, profile = rest.seen_by(self._state(name), organization), self._profile(name)
        next_ms = rest.next_call_ms(state, profile, now_ms)
        return Way(rest.room(state, profile, now_ms), next_ms, promised=not state.level)

    def _ticket(self) -> str:
        return f"{self.token}:{self.tickets}"

    def _change(self, name: str, state: State) -> None:
        self.states[name] = state
        self.changed.add(name)

    def _row(self, name: str, state: State) -> dict[str, Any]:
        return {
            "profile": name,
            "version": state.version + 1,
            "writer": self._ticket(),
            "failures": state.failures,
            "level": state.level,
            "limits": state.limits,
            "began_ms": state.began_ms,
            "until_ms": state.until_ms,
            "reason": state.reason,
            "recent": json.dumps(state.recent),
            "holders": json.dumps(state.holders or {}),
            "account": state.account,
            "failing": json.dumps(state.failing),
        }


def _state(row: Row) -> State:
    recent, holders = parse_json(text(row, "recent")), parse_json(text(row, "holders"))
    return State(
        integer(row, "version"),
        integer(row, "failures"),
        integer(row, "level"),
        integer(row, "limits"),
        integer(row, "began_ms"),
        integer(row, "until_ms"),
        optional_text(row, "reason"),
        tuple((int(slot), int(calls)) for slot, calls in recent),
        {token: (int(calls), int(until)) for token, (calls, until) in holders.items()},
        optional_text(row, "account"),
        tuple(parse_json(text(row, "failing"))),
    )


def _kept(task: Claimed) -> str | None:
    """Feedback about an answer of the candidate that is passed over is not for the next one."""
    return task.feedback if task.position.repairs == 0 else None
