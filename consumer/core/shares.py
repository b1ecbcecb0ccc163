"""Who gets the next call of a run: organizations take turns, and no profile takes the last connection while it is slow.

A run has few connections, and a provider that hangs keeps each of its own for as long as a call may take.  So the next
call goes to the organization with the fewest calls in flight, and the last free connection to a profile that has none,
or that has just answered.  A profile that hangs leaves one connection to others that way, and a profile that answers
may use all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core.policy import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ANSWERING_MS: Final = 2 * SECOND
"""For how long an answer shows that a profile is quick to free a connection."""
SHARED_FROM: Final = 3
"""Connections from which on the last one is kept."""


class Connections(NamedTuple):
    """The connections of a run: all of them, those that are free, and what the calls in flight hold by profile.

    `answered_ms`: when each profile answered last.  `alone`: the deployment has no other profile that needs one."""

    total: int
    free: int
    held: Mapping[str, int]
    answered_ms: Mapping[str, int]
    alone: bool

    def may_take(self, profile: str, now_ms: int) -> bool:
        """Whether a call to this profile may take a connection now."""
        if self.free != 1 or self.total < SHARED_FROM or self.alone:
            return self.free > 0
        answers = now_ms - self.answered_ms.get(profile, -ANSWERING_MS - 1) <= ANSWERING_MS
        return answers or not self.held.get(profile)


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
