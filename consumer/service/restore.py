"""What an operator does after the database was restored to an earlier time.

The world outside remembers the time that the database has forgotten: calls that were paid, ids that callers were given,
workers that still run.  `finish` keeps the new time from being taken for the old one, and reports what went back."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from typing_extensions import TypedDict  # pydantic reads the one of the standard library from Python 3.12 on

from consumer.core.errors import BadInput
from consumer.core.model import Model
from consumer.execution.publish import republish_later
from consumer.service import queries, stops
from consumer.service.notes import about
from consumer.service.views import Ms, StoredBudget, shown
from consumer.store import restore
from consumer.store.sql import (
    FIRST_EXECUTION,
    FIRST_FOREIGN_EXECUTION,
    PER_TASK,
    integer,
    optional_text,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row
    from consumer.world import World

GAP: Final = 1_000_000
"""How far ids are raised above the restored ones when the caller does not know the highest id that was given out."""
PART: Final = 1_000
"""Tasks of one round trip."""
PARTS: Final = 100
"""Round trips of one request.  D1 allows 1,000 statements in an invocation."""
LISTED: Final = 1_000
"""Keys that are listed, and open executions that are counted, at most."""
MAX_TASK: Final = (FIRST_FOREIGN_EXECUTION - FIRST_EXECUTION) // PER_TASK - GAP
REASON: Final = "the database was restored"


class NewRestore(Model):
    """How a restore is finished.

    `revoke`: `all`, `none`, or ids of API keys.  Keys that were revoked after the restored time work again, so there is
    no default.  `above`: the highest task id that was ever given out, if it is known.  `after`: the value `next` of the
    answer before, to go on with the rest of the tasks."""

    revoke: str | list[str]
    above: int | None = None
    after: int = 0


class LostCalls(TypedDict):
    """Unfinished tasks whose next call goes to one profile.  It may have been made in the time that was lost."""

    profile: str | None
    tasks: int
    found_by: Annotated[
        str | None,
        about(
            "lookup: before a call is repeated, the worker asks for it by its key; key: the provider knows the key of a"
            " repeated call; null: compare with the records of the provider, or the call may be paid twice"
        ),
    ]


class Ids(TypedDict):
    """The ids of a table."""

    table: str
    next: Annotated[int | None, about("The lowest id that the next row can get; null: SQLite may reuse ids")]
    reused: Annotated[
        bool, about("The table has no AUTOINCREMENT: the id of a deleted row may be given out again")
    ]


class WorkingKey(TypedDict):
    """An API key that works."""

    id: str
    organization_id: int | None
    role: str
    created_ms: Ms


class Restored(TypedDict):
    """The changes after a restore, and the values that went back in time."""

    next: Annotated[int | None, about("Send the request again with this value as `after`; null: all is done")]
    tasks: Annotated[int, about("Unfinished tasks that got a new version")]
    calls: list[LostCalls]
    executions: Annotated[int, about("Executions that were open at the restored time, at most 1,000")]
    newest_task: Annotated[str | None, about("When the newest task was made that the database knows")]
    ids: list[Ids]
    revoked: Annotated[list[str], about("Keys that were revoked now")]
    keys: Annotated[list[WorkingKey], about("Keys that work: revoke those that had been revoked")]
    budgets: Annotated[list[StoredBudget], about("Caps and counters, as they were at the restored time")]


class _Part(NamedTuple):
    """What one request has done: the tasks that it moved on by profile, and where the next request goes on."""

    profiles: Counter[str]
    next: int | None


async def finish(world: World, actor: str, own_key: str, wanted: NewRestore) -> Restored:
    """Finish a restore, or a part of it: stop spending, raise ids and versions, revoke keys, have statuses published.

    It may be repeated.  Raises BadInput."""
    revoked: list[str] = []
    if wanted.after == 0:
        _check(wanted)
        await stops.stop(world, REASON, actor)
        revoked = await _once(world, actor, own_key, wanted)
    part = await _move_on(world, wanted.after)
    return await _report(world, part, revoked)


def _check(wanted: NewRestore) -> None:
    if isinstance(wanted.revoke, str) and wanted.revoke not in ("all", "none"):
        raise BadInput("revoke", "must be all, none, or a list of ids of API keys")
    if wanted.above is not None and not 0 < wanted.above <= MAX_TASK:
        raise BadInput("above", f"must be the highest task id that was given out, 1 to {MAX_TASK}")


async def _once(world: World, actor: str, own_key: str, wanted: NewRestore) -> list[str]:
    """Raise the ids of tables and revoke keys, in one batch.  Returns the keys that were revoked."""
    now, batch = world.clock.now_ms(), world.batch()
    for row in await world.rows(restore.SEQUENCES()):
        if row["kept"]:
            name, seq = text(row, "name"), integer(row, "seq")
            known = wanted.above if name == "tasks" else None
            batch.add(restore.ADD_SEQUENCE(name=name))
            batch.add(restore.RAISE_SEQUENCE(name=name, seq=seq + GAP if known is None else max(seq, known)))
    named = [key.removeprefix("bizq_").partition("_")[0] for key in _listed(wanted.revoke)]
    revoking = batch.add(
        restore.REVOKE_KEYS(now=now, own=own_key, all=int(wanted.revoke == "all"), keys=json.dumps(named))
    )
    batch.add(restore.RESTORE_AUDIT(now=now, actor=actor, detail=f"keys revoked: {wanted.revoke}"[:200]))
    return [text(row, "id") for row in (await batch.commit()).rows(revoking)]


def _listed(revoke: str | list[str]) -> list[str]:
    return revoke if isinstance(revoke, list) else []


async def _move_on(world: World, after: int) -> _Part:
    """Give unfinished tasks a new version, and have them published.

    The version is the time in seconds: no task had it before, however often the database was restored."""
    version, profiles = world.clock.now_ms() // 1000, Counter[str]()
    for _ in range(PARTS):
        found = await world.rows(restore.OPEN_TASKS(after=after, size=PART))
        if not found:
            return _Part(profiles, None)
        profiles.update(text(row, "profile") for row in found)
        ids = [integer(row, "id") for row in found]
        await world.write(
            restore.MOVE_ON(tasks=json.dumps(ids), version=version),
            republish_later(world.clock.now_ms(), ids),
        )
        after = ids[-1]
    return _Part(profiles, after)


async def _report(world: World, part: _Part, revoked: Sequence[str]) -> Restored:
    batch = world.batch()
    tables = batch.add(restore.SEQUENCES())
    newest = batch.add(restore.NEWEST_TASK())
    opened = batch.add(restore.OPEN_EXECUTIONS(limit=LISTED))
    keys = batch.add(restore.WORKING_KEYS(limit=LISTED))
    results = await batch.commit()
    first = results.first(newest)
    return Restored(
        next=part.next,
        tasks=sum(part.profiles.values()),
        calls=[_call(world, profile, count) for profile, count in sorted(part.profiles.items())],
        executions=integer(results.rows(opened)[0], "executions"),
        newest_task=None if first is None else optional_text(first, "created_at"),
        ids=[_ids(row) for row in results.rows(tables)],
        revoked=sorted(revoked),
        keys=[shown(WorkingKey, row) for row in results.rows(keys)],
        budgets=await queries.budgets(world, None),
    )


def _ids(row: Row) -> Ids:
    return Ids(
        table=text(row, "name"), next=integer(row, "seq") + 1 if row["kept"] else None, reused=not row["kept"]
    )


def _call(world: World, profile: str, tasks: int) -> LostCalls:
    """How the worker finds a call to this profile that was made in the lost time."""
    account = world.accounts.get(profile)
    provider = None if account is None else world.adapters.get(account.name)
    abilities: Any = None if provider is None else provider.abilities
    found_by = None
    if abilities is not None and abilities.lookup:
        found_by = "lookup"
    elif abilities is not None and abilities.honours_key:
        found_by = "key"
    return LostCalls(profile=profile or None, tasks=tasks, found_by=found_by)
