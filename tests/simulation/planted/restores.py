"""Bugs in what tells a restored time from the lost one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core import snapshot
from consumer.execution import call, webhooks
from consumer.service import people
from consumer.service import restore as finishing
from consumer.store import restore
from tests.simulation.planted.patch import Patch, bug

if TYPE_CHECKING:
    from consumer.execution.webhooks import Named


@bug
def key_ignores_the_identity(patch: Patch) -> None:
    """The key of a call is made of ids alone: a provider returns the answer of another task."""

    def provider_key(execution: int, _identity: str, *place: int) -> Any:
        return original(execution, "", *place)

    original = patch.set(call, "provider_key", provider_key)


@bug
def key_names_the_lease(patch: Patch) -> None:
    """The key of a call contains its lease: no provider knows a call again that the database has forgotten."""
    original = call.build_call

    def build_call(world: Any, plan: Any, attempt: Any, *arguments: Any, **options: Any) -> Any:
        made = original(world, plan, attempt, *arguments, **options)
        return made._replace(key=f"{made.key}-{attempt.lease[:8]}")

    patch.everywhere(original, build_call)


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@bug
def link_ignores_the_mark(patch: Patch) -> None:
    """A link opens whatever assignment has the id now."""
    patch.set(people, "mark_of", lambda _lease: _Any())


@bug
def callback_ignores_the_mark(patch: Patch) -> None:
    """A webhook belongs to whatever execution has the id now."""

    async def present(
        _world: Any, named: Named | None, external: str | None
    ) -> tuple[int | None, str | None]:
        return None if named is None else named.execution, external

    patch.set(webhooks, "present", present)


@bug
def status_ignores_the_identity(patch: Patch) -> None:
    """The key of a live status is made of the id alone: readers of a new task see the status of an old one."""
    patch.everywhere(snapshot.key, lambda task, _identity: f"status:{task}")


@bug
def sequences_not_raised(patch: Patch) -> None:
    """After a restore, ids that callers know are given to new tasks."""
    patch.sql(restore.RAISE_SEQUENCE, "max(seq,", "min(seq,")


@bug
def versions_not_renewed(patch: Patch) -> None:
    """Restored tasks keep their versions, which workers and readers of the lost time know."""
    patch.sql(restore.MOVE_ON, "max(version,", "min(version,")


@bug
def lost_calls_not_looked_up(patch: Patch) -> None:
    """A call that may have been made in the lost time is made again, although its provider could be asked."""
    patch.sql(restore.MOVE_ON, "restored = 1 +", "restored = NULL +")


@bug
def lost_calls_not_reported(patch: Patch) -> None:
    """`bizq restore` reports that keys find every lost call."""

    def found(world: Any, profile: str, tasks: int) -> Any:
        return original(world, profile, tasks) | {"found_by": "key"}

    original = patch.set(finishing, "_call", found)


@bug
def revoked_keys_work_again(patch: Patch) -> None:
    """`bizq restore` revokes no key."""
    patch.sql(restore.REVOKE_KEYS, "WHERE ", "WHERE false AND ")
