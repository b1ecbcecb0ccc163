"""What a run does next: one pure function over what it has in hand.

A run alternates between round trips to the database and waiting for calls.  Each round trip costs time and money, so it
carries as much as is there: ends of calls, begins, releases, lease renewals, and a claim.  `next_step` says which of
four things comes next:

    nothing in hand, and no claim possible                   Done
    asked to stop, or the hard limit has come                WindDown
    nothing new may start, and something new is in hand      HandOver
    a round trip has something to do that cannot wait        Commit
    otherwise                                                Wait until a call ends, a lease needs renewal, ...

A run whose time is over, or whose statements are nearly used up, starts nothing new.  Its calls go on to their ends,
because their answers are paid for: they are settled, and their leases renewed, until the hard limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

STATEMENTS_FOR_A_CALL: Final = 10
"""Statements that the end of one call needs at most, when it is settled in a round trip of its own."""
STATEMENTS_FOR_A_FOLLOW_UP: Final = 20
"""Statements that one follow-up needs, seldom more: it reads its facts, and settles in a batch of its own."""


class Pace(NamedTuple):
    """How eagerly a run uses the database.  `consumer.world.Config` explains the fields of the same names."""

    flush_after_ms: int
    flush_size: int
    prefetch_below: int
    settle_with_begins_at: int
    statements: int


class Load(NamedTuple):
    """What a run has in hand at one moment.  Times in milliseconds.

    `stop_at_ms`: from then on nothing new may start.  `cut_at_ms`: the hard limit, when calls in flight are cut off.
    `ready`: claimed tasks that were not begun.  `follow_ups`: open executions to follow up.  `releases`: tasks to give
    up.  `in_flight`: calls and follow-ups.  `following_up`: the follow-ups among them.  `may_follow_up`: one more may
    start.  `room`, `connections`: how many more calls may start, and how many of those over the network.  `ended`:
    calls that have ended and were not settled, the first of them at `first_ended_ms`.  `exhausted`: the last claim
    found nothing.  `others_due`: the calls in flight are slow, so tasks of other organizations are claimed before the
    next one begins.  `stalled`: the next task needs a connection, and none is free.  `sent`: statements sent so far.
    `handed_over`: the run has left the rest to another one."""

    now_ms: int
    stop_at_ms: int
    cut_at_ms: int
    renew_at_ms: int
    stopping: bool = False
    ready: int = 0
    follow_ups: int = 0
    releases: int = 0
    in_flight: int = 0
    following_up: int = 0
    may_follow_up: bool = True
    room: int = 0
    connections: int = 0
    ended: int = 0
    first_ended_ms: int = 0
    exhausted: bool = False
    others_due: bool = False
    stalled: bool = False
    sent: int = 0
    handed_over: bool = False

    @property
    def has_work(self) -> bool:
        return bool(self.ready or self.follow_ups or self.in_flight or self.ended or self.releases)


class Commit:
    """Make a round trip to the database."""


class Wait(NamedTuple):
    """Wait until a call ends, at most until this time in milliseconds."""

    until_ms: int


class WindDown:
    """Bring what is in hand to an end now: the process ends soon."""


class HandOver:
    """Give back what was not begun, so that another run does it, and go on with the calls in flight."""


class Done:
    """Nothing is in hand and nothing can be claimed."""


Step = Commit | Wait | WindDown | HandOver | Done

COMMIT = Commit()
WIND_DOWN = WindDown()
HAND_OVER = HandOver()
DONE = Done()


def next_step(load: Load, pace: Pace) -> Step:
    """What a run with this load does next."""
    claims = can_claim(load, pace)
    if not (load.has_work or claims):
        return DONE
    if load.stopping or load.now_ms >= load.cut_at_ms:
        return WIND_DOWN
    over = is_over(load, pace)
    if over and (load.ready or load.follow_ups or not load.handed_over):
        return HAND_OVER
    urgent = load.releases or not load.in_flight or load.now_ms >= load.renew_at_ms
    if urgent or claims or _can_start(load) or flush_due(load, pace):
        return COMMIT
    until = min(load.renew_at_ms, load.cut_at_ms if over else load.stop_at_ms)
    if load.ended:
        until = min(until, load.first_ended_ms + pace.flush_after_ms)
    return Wait(until)


def is_over(load: Load, pace: Pace) -> bool:
    """Whether nothing new may start.

    Statements are kept for the ends of what is in flight: without them its answers would be lost."""
    if load.stopping or load.now_ms >= load.stop_at_ms:
        return True
    calls = load.in_flight - load.following_up + load.ended
    reserved = calls * STATEMENTS_FOR_A_CALL + load.following_up * STATEMENTS_FOR_A_FOLLOW_UP
    return load.sent + reserved >= pace.statements


def can_claim(load: Load, pace: Pace) -> bool:
    """Whether a round trip should claim more tasks.

    A run with claimed tasks in hand claims more only if it can start no call and has nothing to settle.  Then the next
    call does not have to wait for a claim.  And a run whose calls are slow claims for others (`run/turns.py`)."""
    if is_over(load, pace):
        return False
    if load.others_due and load.room > 0 and load.connections > 0:
        return True
    if load.exhausted:
        return False
    if load.ready:
        return load.ready < pace.prefetch_below and load.room <= 0 and not load.ended
    return load.room > 0 and load.connections > 0


def must_look(load: Load) -> bool:
    """Whether a run with tasks in hand has to claim tasks of others before it begins one of them."""
    return bool(load.ready) and load.others_due and load.room > 0 and load.connections > 0


def flush_due(load: Load, pace: Pace) -> bool:
    """Whether the calls that have ended are enough, or have waited long enough, to be settled."""
    if not load.ended:
        return False
    return load.ended >= pace.flush_size or load.now_ms - load.first_ended_ms >= pace.flush_after_ms


def should_settle(load: Load, pace: Pace, *, begins: bool) -> bool:
    """Whether a round trip settles calls that have ended.  `begins`: it also begins calls, which settling delays."""
    return not begins or load.ended >= pace.settle_with_begins_at or flush_due(load, pace)


def _can_start(load: Load) -> bool:
    if load.room <= 0:
        return False
    return bool(load.ready and not load.stalled) or bool(
        load.follow_ups and load.may_follow_up and load.connections > 0
    )
