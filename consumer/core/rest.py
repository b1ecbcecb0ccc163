"""The state of a profile that is in trouble, or whose calls are limited: when and how often it may be called.

Three things keep a profile from being called:

    it keeps failing           it *rests*: after `FAILURES` failures in a row no worker calls it for the organizations
                               whose calls failed.  After the rest, one call at a time, the probe, finds out whether it
                               answers.  If it fails, the next rest is longer; if any call is answered, the profile
                               is free again
    its account is refused     it rests after the first such call, for every organization: each further one would be
                               refused too.  A probe ends that rest, and so does another key in the configuration
    it gets too many calls     it waits as long as the provider asked, or a growing time if it did not say
    it reached its own limits  `rate` or `concurrency` of the profile

A healthy profile without limits has no state, so its calls write no row.  Workers share the state through the table
`rests`.  A worker computes the next state here and writes it if no other worker has written since it read the state: a
failure that is not counted that way changes little.  All functions are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core import policy
from consumer.core.outcome import Outcome, Retry, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.core.profile import Profile, Rate

FAILURES: Final = 3
"""Failures in a row after which a profile rests: fewer than the default of `limits.attempts`."""
FIRST_REST: Final = 15 * policy.SECOND
"""The first rest.  Each further one is twice as long."""
LONGEST_REST: Final = 5 * policy.MINUTE
"""The longest rest of a profile that fails: so soon after its recovery it is called again."""
FIRST_LIMIT: Final = 1 * policy.SECOND
"""The wait after a refusal for too many calls that names no time.  Each further one in a row is twice as long."""
LONGEST_LIMIT: Final = 1 * policy.MINUTE
LONGEST_ASKED: Final = 1 * policy.HOUR
"""The longest wait of a profile that its provider asks for: after it, one call finds out whether it still holds."""
MOST_FAILING: Final = 100
"""The organizations that are remembered.  A profile that failed for so many rests for all."""
SLOTS: Final = 20
"""The parts of a period in which calls are counted together, so that the state stays small."""
CUT_OFF: Final = "cut_off"
"""How the reason of a call begins that we ended ourselves: it says nothing about the profile."""


class State(NamedTuple):
    """The state of a profile.  `version`: counts the writes of its row.

    `failures`: failures in a row, and `failing`, the organizations whose calls these were.  `level`: rests in a row, 0
    while it does not rest.  `limits`: refusals for too many calls in a row.  `began_ms`: when the last rest or wait
    began.  `until_ms`: no call begins before.  `reason`: the code of the last failure.  `recent`: calls of the period
    of `rate`, as (slot, number).  `holders`: calls in flight, for `concurrency`, as (number, time until which they
    count) by the token of the run.  `account`: the fingerprint of an account that the provider refused."""

    version: int = 0
    failures: int = 0
    level: int = 0
    limits: int = 0
    began_ms: int = 0
    until_ms: int = 0
    reason: str | None = None
    recent: tuple[tuple[int, int], ...] = ()
    holders: Mapping[str, tuple[int, int]] | None = None
    account: str | None = None
    failing: tuple[int | None, ...] = ()


UNTROUBLED: Final = State()


def for_account(state: State, fingerprint: str) -> State:
    """The state for an account: a rest because of another account is over."""
    if state.account in (None, fingerprint):
        return state
    return UNTROUBLED._replace(version=state.version, recent=state.recent, holders=state.holders)


def seen_by(state: State, organization: int | None) -> State:
    """The state as it holds for an organization.

    Failures of others may come from what they ask for, so the profile does not rest for it before a call of its own has
    failed.  It uses up no attempt that way: a failure while a profile rests counts none.  A refused account is refused
    for all."""
    concerned = organization in state.failing or len(state.failing) >= MOST_FAILING
    if not state.level or state.limits or state.account is not None or concerned:
        return state
    return state._replace(failures=0, level=0, until_ms=0, reason=None)


def after(
    state: State,
    outcome: Outcome,
    started_ms: int,
    now_ms: int,
    organization: int | None = None,
    fingerprint: str = "",
) -> State:
    """The state after a call of an organization that started at `started_ms`, with the account of this fingerprint.

    A call that started before the present rest says nothing new: many may be in flight when a profile fails."""
    if isinstance(outcome, Retry) and outcome.limited:
        return _limited(state, outcome, started_ms, now_ms)
    if isinstance(outcome, Unknown) and outcome.why.startswith(CUT_OFF):
        return state
    is_old = (state.level or state.limits) and started_ms <= state.began_ms
    if is_old:
        return state
    if isinstance(outcome, Retry) and outcome.account is not None:
        refused = state._replace(failures=max(state.failures, FAILURES - 1))
        why = f"{outcome.account} {outcome.why}"
        return _failed(refused, why, now_ms, organization)._replace(
            failures=state.failures + 1, account=fingerprint
        )
    if isinstance(outcome, Retry | Unknown):
        return _failed(state, outcome.why, now_ms, organization)
    if not (state.failures or state.level or state.limits or state.until_ms):
        return state
    return state._replace(failures=0, level=0, limits=0, until_ms=0, reason=None, account=None, failing=())


def code(why: str) -> str:
    """The code at the beginning of a reason.  Words of the provider follow it, which only their own task may show."""
    return why.partition(":")[0][:100]


def _failed(state: State, why: str, now_ms: int, organization: int | None) -> State:
    failures, reason = state.failures + 1, code(why)
    failing = tuple(dict.fromkeys((*state.failing, organization)))[:MOST_FAILING]
    state = state._replace(failing=failing)
    if failures < FAILURES and not state.level:
        return state._replace(failures=failures, reason=reason)
    length = min(LONGEST_REST, FIRST_REST * 2 ** min(state.level, 20))
    until = max(state.until_ms if not state.level else 0, now_ms + length)
    return state._replace(
        failures=min(failures, 1_000_000),
        level=min(state.level + 1, 1_000),
        began_ms=now_ms,
        until_ms=until,
        reason=reason,
        account=None,
    )


def _limited(state: State, outcome: Retry, started_ms: int, now_ms: int) -> State:
    """The provider answers, so it does not rest; but it wants no calls for a while."""
    is_old = state.limits and started_ms <= state.began_ms
    if is_old and outcome.after_ms is None:
        return state
    limits = state.limits if is_old else min(state.limits + 1, 1_000)
    wait = min(LONGEST_LIMIT, FIRST_LIMIT * 2 ** min(limits - 1, 20))
    if outcome.after_ms is not None:
        wait = min(max(outcome.after_ms, 0), LONGEST_ASKED)
    until = max(now_ms + wait, state.until_ms if is_old else 0)
    began = state.began_ms if is_old else now_ms
    return state._replace(
        failures=0,
        level=0,
        limits=limits,
        began_ms=began,
        until_ms=until,
        reason=code(outcome.why),
        account=None,
        failing=(),
    )


def probing(state: State, now_ms: int, call_ms: int) -> State:
    """The state while a probe is in flight: no other worker calls until it must have ended."""
    return state._replace(until_ms=now_ms + call_ms + policy.CLOCK_SLACK)


# --- the limits of the profile itself --------------------------------------------------------------------------------


def _width(rate: Rate) -> int:
    return max(1, rate.per_s * policy.SECOND // SLOTS)


def _counted(state: State, rate: Rate, now_ms: int) -> list[tuple[int, int]]:
    """The calls that count in the period before now.  A slot counts until a period after its end."""
    width = _width(rate)
    return [(slot, calls) for slot, calls in state.recent if (slot + 1) * width + rate.per_s * 1000 > now_ms]


def _in_flight(state: State, now_ms: int) -> int:
    return sum(calls for calls, until in (state.holders or {}).values() if until > now_ms)


def room(state: State, profile: Profile | None, now_ms: int) -> int:
    """How many calls may begin now, as far as it is known."""
    if state.until_ms > now_ms:
        return 0
    left = 1 if state.level else policy.NEVER
    if profile is not None and profile.rate is not None:
        used = sum(calls for _, calls in _counted(state, profile.rate, now_ms))
        left = min(left, profile.rate.calls - used)
    if profile is not None and profile.concurrency is not None:
        left = min(left, profile.concurrency - _in_flight(state, now_ms))
    return max(0, left)


def next_call_ms(state: State, profile: Profile | None, now_ms: int) -> int:
    """When a call may begin, as far as it is known; another worker's end of a call may make it sooner."""
    at = max(now_ms, state.until_ms)
    if profile is not None and profile.rate is not None:
        used = sum(calls for _, calls in _counted(state, profile.rate, now_ms))
        for slot, calls in sorted(_counted(state, profile.rate, now_ms)):
            if used < profile.rate.calls:
                break
            used -= calls
            at = max(at, (slot + 1) * _width(profile.rate) + profile.rate.per_s * 1000)
    return at


def taken(state: State, profile: Profile, holder: str, now_ms: int) -> State:
    """The state after a call begins that the limits of the profile count."""
    if profile.rate is not None:
        counted, slot = dict(_counted(state, profile.rate, now_ms)), now_ms // _width(profile.rate)
        counted[slot] = counted.get(slot, 0) + 1
        state = state._replace(recent=tuple(sorted(counted.items())))
    if profile.concurrency is not None:
        mine = (state.holders or {}).get(holder, (0, 0))[0]
        state = holding(state, holder, mine + 1, now_ms)
    return state


def holding(state: State, holder: str, calls: int, now_ms: int) -> State:
    """The state when a run has this number of calls in flight.  They count until the run must have ended them."""
    others = {
        token: held for token, held in (state.holders or {}).items() if token != holder and held[1] > now_ms
    }
    return state._replace(holders=others | ({holder: (calls, now_ms + policy.LEASE)} if calls else {}))


# --- the choice of a candidate ---------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A candidate of a stage: how many calls of its profile may begin now, and when the next one may.

    `promised`: that time is known.  A profile that rests may need another rest."""

    room: int
    next_ms: int
    promised: bool


class Wait(NamedTuple):
    """No candidate can be called now: wait for this one.  `in_time`: it may be called before the deadline."""

    place: int
    in_time: bool


def choose(ways: Sequence[Way], now_ms: int, deadline_ms: int | None) -> int | Wait:
    """The first candidate that can be called, or the one to wait for.

    A short wait that is sure to end is better than another candidate; any other wait is not."""
    end = policy.NEVER if deadline_ms is None else deadline_ms
    for place, way in enumerate(ways):
        if way.room > 0:
            return place
        if way.promised and way.next_ms - now_ms <= policy.PATIENCE and way.next_ms < end:
            return Wait(place, in_time=True)
    place = min(range(len(ways)), key=lambda place: ways[place].next_ms)
    return Wait(place, in_time=not ways[place].promised or ways[place].next_ms < end)
