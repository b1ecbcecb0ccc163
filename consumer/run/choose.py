"""Which claimed tasks begin next: as many as a run has room for, those of all organizations in turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from consumer.core.shares import Connections, Owner, turns
from consumer.run.begin import Intent, Release, impossible, prepare
from consumer.run.claim import Claimed

if TYPE_CHECKING:
    from collections import deque

    from consumer.core.profile import Account
    from consumer.run.flight import Flight
    from consumer.run.traffic import Traffic
    from consumer.world import World


class Chosen(NamedTuple):
    """What begins and what is given up.  `stalled`: a task is left that needs a connection, and none is free for it."""

    intents: list[Intent]
    releases: list[Release]
    stalled: bool


@dataclass(slots=True, eq=False, repr=False)
class _Room:
    """The calls and connections that are left, and the connections that each profile and each organization holds."""

    world: World
    calls: int
    connections: int
    held: Counter[Owner]
    one_profile: bool
    one_organization: bool

    def may_connect(self, task: Claimed, traffic: Traffic, now_ms: int) -> bool:
        """Whether the call of this task may begin, as far as connections matter."""
        account = _account(self.world, task)
        if account is None or not _connects(self.world, account):
            return True
        free = Connections(
            self.world.config.connections,
            self.connections,
            self.held,
            traffic.speeds,
            self.one_profile,
            self.one_organization,
        )
        return free.may_take(account.name, task.organization, now_ms)

    def take(self, intent: Intent) -> None:
        """A call begins, unless its outcome is known without one."""
        if intent.immediate_outcome is None:
            self.calls -= 1
            if intent.provider.needs_base_url:
                self.connections -= 1
                self.held.update((intent.account.name, intent.task.organization))


def choose(
    world: World,
    ready: deque[Claimed],
    flight: Flight,
    traffic: Traffic,
    now_ms: int,
    *,
    one_organization: bool = False,
) -> Chosen:
    """Take the tasks that can begin, or never will, out of `ready`; a task that needs no call needs no room."""
    chosen = Chosen([], [], stalled=False)
    in_flight = flight.intents
    room = _room(world, flight, in_flight, one_organization=one_organization)
    if not ready or room.calls <= 0:
        return chosen
    left, stalled = list[int](), False
    owners = Counter(intent.task.organization for intent in in_flight)
    owners.update(
        traffic.speeds.slow.keys()
    )  # the next call of such an organization takes as long as several others
    for place in turns([task.organization for task in ready], owners):
        if room.calls <= 0:
            left.append(place)
            continue
        task = ready[place]
        way = task if impossible(task, now_ms) else traffic.way(task, now_ms)
        if isinstance(way, Claimed) and not room.may_connect(way, traffic, now_ms):
            stalled = True
            left.append(place)
            continue
        prepared = prepare(world, way, now_ms) if isinstance(way, Claimed) else way
        if isinstance(prepared, Release):
            chosen.releases.append(prepared)
        else:
            chosen.intents.append(traffic.take(prepared, now_ms))
            room.take(prepared)
    tasks = [ready[place] for place in sorted(left)]
    ready.clear()
    ready.extend(tasks)
    return chosen._replace(stalled=stalled)


def _room(world: World, flight: Flight, in_flight: list[Intent], *, one_organization: bool) -> _Room:
    held = Counter[Owner]()
    for intent in in_flight:
        if intent.provider.needs_base_url:
            held.update((intent.account.name, intent.task.organization))
    one_profile = sum(_connects(world, account) for account in world.accounts.values()) < 2
    calls = min(flight.room, world.config.begin_size)
    return _Room(world, calls, flight.free_connections, held, one_profile, one_organization)


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
