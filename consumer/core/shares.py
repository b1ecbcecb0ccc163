"""Who gets the next call of a run: organizations take turns, and none keeps all connections with slow calls.

A run has few connections, and a call keeps its own for as long as it lasts.  So the next call goes to the organization
with the fewest calls in flight.  The last free connections go only where they come back soon: to owners that have none,
or that have just answered.  The last one is kept for other profiles, and the one before it for other organizations.
A profile that hangs and an organization whose calls are slow so leave room to others, and those that answer may use all
connections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core.policy import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ANSWERING_MS: Final = 2 * SECOND
"""For how long an answer shows that a profile is quick to free a connection."""
SLOW_MS: Final = 10 * SECOND
"""A call that lasts longer shows that its organization keeps connections for long."""
SHARED_FROM: Final = 3
"""Connections from which on some are kept."""
REMEMBERED: Final = 1_000
"""Owners whose speed is remembered."""


Owner = str | int | None
"""The name of a profile, or the id of an organization."""


@dataclass(slots=True)
class Speeds:
    """How quickly owners got their last answers, as far as this process has seen it.

    `answered_ms`: when each owner got an answer, for organizations a quick one.  `slow`: organizations whose last call
    was slow."""

    answered_ms: dict[Owner, int] = field(default_factory=dict)
    slow: dict[int | None, None] = field(default_factory=dict)

    def note(
        self, profile: str, organization: int | None, lasted_ms: int, now_ms: int, *, answered: bool
    ) -> None:
        """Note how long a call lasted, and whether the profile answered."""
        if answered:
            self._answered(profile, now_ms)
        if lasted_ms > SLOW_MS:
            self.slow[organization] = self.slow.pop(organization, None)
            self.answered_ms.pop(organization, None)
        else:
            self.slow.pop(organization, None)
            self._answered(organization, now_ms)
        if len(self.answered_ms) > REMEMBERED:
            del self.answered_ms[next(iter(self.answered_ms))]
        if len(self.slow) > REMEMBERED:
            del self.slow[next(iter(self.slow))]

    def _answered(self, owner: Owner, now_ms: int) -> None:
        self.answered_ms.pop(owner, None)
        self.answered_ms[owner] = now_ms

    def is_answering(self, owner: Owner, now_ms: int) -> bool:
        """Whether an owner has just got an answer."""
        return now_ms - self.answered_ms.get(owner, -ANSWERING_MS - 1) <= ANSWERING_MS


class Connections(NamedTuple):
    """The connections of a run: all of them, those that are free, and what the calls in flight hold by owner.

    `one_profile`: the deployment has no other profile that needs a connection.  `one_organization`: the run knows of no
    other organization."""

    total: int
    free: int
    held: Mapping[Owner, int]
    speeds: Speeds
    one_profile: bool
    one_organization: bool

    def may_take(self, profile: str, organization: int | None, now_ms: int) -> bool:
        """Whether a call of this organization to this profile may take a connection now."""
        if self.total < SHARED_FROM or not any(self.held.values()):
            return self.free > 0
        for_profiles = 0 if self.one_profile or self._comes_back(profile, now_ms) else 1
        for_organizations = 0 if self.one_organization or self._comes_back(organization, now_ms) else 1
        if for_organizations and not self.one_profile and self.total > SHARED_FROM:
            for_organizations = 2  # one of them is kept for other profiles
        return self.free > max(for_profiles, for_organizations)

    def _comes_back(self, owner: Owner, now_ms: int) -> bool:
        """Whether a connection is expected back soon from this owner."""
        return self.speeds.is_answering(owner, now_ms) or not (
            self.held.get(owner) or owner in self.speeds.slow
        )


def turns(owners: Sequence[int | None], held: Mapping[int | None, int]) -> Iterable[int]:
    """The order in which claimed tasks get their turn, as their positions.

    `owners`: the organization of each.  `held`: the calls in flight by organization.  A turn counts as one more call of
    its organization, so that all organizations alternate.  Within an organization the tasks stay in order."""
    if len(set(owners)) <= 1:
        return range(len(owners))
    counts = dict(held)
    keys = []
    for place, owner in enumerate(owners):
        before = counts.get(owner, 0)
        counts[owner] = before + 1
        keys.append((before, place))
    return [place for _, place in sorted(keys)]
