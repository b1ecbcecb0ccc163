"""Which claimed tasks begin next: as many as a run has room for, those of all organizations in turn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from consumer.core.shares import Connections, turns
from consumer.run.begin import Intent, Release, prepare

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping

    from consumer.core.profile import Account
    from consumer.run.claim import Claimed
    from consumer.run.flight import Flight
    from consumer.world import World


class Chosen(NamedTuple):
    """What begins and what is given up.  `stalled`: a task is left that needs a connection, and none is free for it."""

    intents: list[Intent]
    releases: list[Release]
    stalled: bool


def choose(
    world: World,
    ready: deque[Claimed],
    flight: Flight,
    answered_ms: Mapping[str, int],
    now_ms: int,
    is_over: Callable[[], bool],
) -> Chosen:
    """Take the tasks that can begin, or never will, out of `ready`; a task that needs no call needs no room."""
    chosen = Chosen([], [], stalled=False)
    room = min(flight.room, world.config.begin_size)
    if not ready or room <= 0:
        return chosen
    in_flight = [intent for intent in flight.calls.values() if intent is not None]
    held = Counter(intent.account.name for intent in in_flight if intent.provider.needs_base_url)
    free = flight.free_connections
    alone = sum(_connects(world, account) for account in world.accounts.values()) < 2
    taken, stalled = set(), False
    owners = Counter(intent.task.organization for intent in in_flight)
    for place in turns([task.organization for task in ready], owners):
        if room <= 0 or is_over():
            break
        task = ready[place]
        account = _account(world, task)
        if account is not None and _connects(world, account):
            connections = Connections(world.config.connections, free, held, answered_ms, alone)
            if not connections.may_take(account.name, now_ms):
                stalled = True
                continue
        taken.add(place)
        prepared = prepare(world, task, now_ms)
        if isinstance(prepared, Release):
            chosen.releases.append(prepared)
            continue
        chosen.intents.append(prepared)
        if prepared.immediate_outcome is None:
            room -= 1
            if prepared.provider.needs_base_url:
                free -= 1
                held[prepared.account.name] += 1
    left = [task for place, task in enumerate(ready) if place not in taken]
    ready.clear()
    ready.extend(left)
    return chosen._replace(stalled=stalled)


def _account(world: World, task: Claimed) -> Account | None:
    """The account of the task's candidate; None if `prepare` finds that the task cannot begin."""
    at, plan = task.position, task.plan
    if plan is None or at.stage >= len(plan.route.stages):
        return None
    candidates = plan.route.stages[at.stage].candidates
    return world.accounts.get(candidates[at.candidate].profile) if at.candidate < len(candidates) else None


def _connects(world: World, account: Account) -> bool:
    """Whether calls to this account take a connection."""
    return world.providers[account.profile.provider].needs_base_url
