"""What callers may look at: a task, its history and why it is not running, lists, costs, the inbox, health."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.core import policy, snapshot
from consumer.core.decide import ASKED
from consumer.core.errors import BadInput, Forbidden, NotFound
from consumer.core.lifecycle import TASK_FINAL
from consumer.core.money import show
from consumer.core.strictjson import parse_json
from consumer.core.times import iso, parse_time
from consumer.execution import publish
from consumer.ports import PortError
from consumer.service import links
from consumer.service.admin import ROLES, hash_key
from consumer.store import queries
from consumer.store import stops as stops_sql
from consumer.store.batch import commit
from consumer.store.schema.check import broken
from consumer.store.sql import integer, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from consumer.ports import Row
    from consumer.world import World

PAGE: Final = 50
LISTED: Final = 1_000
"""Of what there are few of."""
_HIDDEN: Final = (
    "lease",
    "idempotency_key",
    "lost_leases",
    "boost",
    "route",
    "outcome_key",
    "last_execution",
    "input_from",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.  `organization` is None for an operator."""

    key: str
    organization: int | None
    role: str

    def need(self, role: str) -> None:
        """Raises Forbidden when this caller's role is below `role`."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"this needs a key with the role {role}; yours is {self.role}")


async def authenticate(world: World, bearer: str) -> Caller | None:
    """Who a key belongs to; None for one that is unknown, wrong or revoked."""
    prefix, _, rest = bearer.partition("_")
    name, _, secret = rest.partition("_")
    if prefix != "bizq" or not name or not secret or len(bearer) > 200:
        return None
    row = one(await world.rows(queries.KEY(id=name)))
    if row is None or not hmac.compare_digest(text(row, "hash"), hash_key(secret)):
        return None
    return Caller(name, optional_integer(row, "organization_id"), text(row, "role"))


async def task(world: World, organization: int | None, number: int) -> dict[str, Any]:
    """One task with its outcome.  Raises NotFound."""
    row = await _task(world, organization, number)
    shown = {name: value for name, value in row.items() if name not in _HIDDEN and name != "outcome"}
    stored = optional_text(row, "input")
    return shown | {
        "input": parse_json(stored) if stored else None,
        "outcome": await _result(world, optional_text(row, "outcome"), optional_text(row, "outcome_key")),
        "cost_micro": row["total_micro"],
    }


async def _task(world: World, organization: int | None, number: int) -> Row:
    row = one(await world.rows(queries.TASK(task=number, organization=organization)))
    if row is None:
        raise NotFound(f"no task {number}")
    return row


async def _result(world: World, stored: str | None, key: str | None) -> Any:  # JSON is any value
    if key is not None:
        data = await world.blobs.get(key)
        return None if data is None else parse_json(data)
    return None if stored is None else parse_json(stored)


async def task_list(
    world: World,
    organization: int | None,
    status: str | None = None,
    cursor: int | None = None,
    size: int = PAGE,
) -> dict[str, Any]:
    """A page of tasks, newest first: {tasks, cursor}; the cursor is None on the last page."""
    statement = queries.LIST(
        organization=organization, status=status, before=cursor or policy.NEVER, size=min(size, 200) + 1
    )
    found = [dict(row) for row in await world.rows(statement)]
    more = len(found) > size
    found = found[:size]
    return {"tasks": found, "cursor": found[-1]["id"] if more else None}


async def history(world: World, organization: int | None, number: int) -> dict[str, Any]:
    """All that happened to a task, and in one sentence how it stands.  Raises NotFound."""
    shown = await task(world, organization, number)
    executions, audit, stops = await commit(
        world.database,
        world.entropy,
        [queries.EXECUTIONS(task=number), queries.AUDIT(task=number), stops_sql.STOPPED()],
    )
    why = explain(shown, executions.rows, world.clock.now_ms())
    if stops.rows and shown["status"] == "pending":
        why = f"All spending is stopped: {stops.rows[0]['reason']}. {why}"
    return {
        "task": shown,
        "why": why,
        "executions": [await _execution(world, row) for row in executions.rows],
        "audit": [dict(row) | {"at": iso(integer(row, "at_ms"))} for row in audit.rows],
    }


async def _execution(world: World, row: Row) -> dict[str, Any]:
    usage = optional_text(row, "usage")
    return {
        **{name: value for name, value in row.items() if name != "result_key"},
        "overrun": bool(row["overrun"]),
        "usage": parse_json(usage) if usage else None,
        "result": await _result(world, optional_text(row, "result"), optional_text(row, "result_key")),
    }


def explain(shown: dict[str, Any], executions: Any, now: int) -> str:  # rows
    """One sentence on why a task is not running, or how it ended."""
    status = shown["status"]
    latest = executions[-1] if executions else None
    if status in TASK_FINAL:
        reason = f": {shown['reason']}" if shown["reason"] else ""
        return f"It is {status}{reason}; its cost is {show(shown['cost_micro'] if executions else 0)}."
    if status == "running":
        return (
            f"A worker is doing it now with {latest['profile']}." if latest else "A worker has just taken it."
        )
    if status == "waiting":
        return _waiting(latest)
    return _pending(shown, latest, now)


def _waiting(latest: Row | None) -> str:
    if latest is None:
        return "It waits for another application, which set it waiting."
    until = optional_integer(latest, "resolve_by_ms")
    limit = f" until {iso(until)}" if until else ""
    if latest["status"] == "unknown" and latest["reason"] == ASKED:
        return (
            f"Nobody knows what became of {latest['profile']}'s work: a person is asked, in the inbox{limit}."
        )
    if latest["status"] == "unknown":
        return f"Nobody knows yet whether {latest['profile']} did it ({latest['reason']}); evidence is awaited{limit}."
    if latest["provider"] == "inbox":
        whom = f"user {latest['assigned_to']}" if latest["assigned_to"] else "a person of its organization"
        return f"It waits for {whom} to answer{limit}."
    return f"It waits for {latest['profile']}, which accepted it as {latest['external_id']}{limit}."


_BLOCKED: Final = {
    "adopt": "it is older than the installation: run `bizq adopt`",
    "no_organization": "it has no organization: its template or its creator must belong to one",
    "no_route": "its template has no valid route: write one with `bizq template put`",
    "no_candidate": "this deployment has no such profile for it",
    "bad_settings": "its route's settings no longer fit the provider",
    "storage": "the result of the stage before cannot be read at the moment",
    "unpriced": "a budget applies and nobody can tell what it costs at most: declare a price or a max_cost",
    "budget": "a budget has no room",
}


def _pending(shown: dict[str, Any], latest: Row | None, now: int) -> str:
    run_at = shown["run_at_ms"]
    when = (
        "" if run_at <= now else " until it is changed" if run_at >= policy.NEVER else f" until {iso(run_at)}"
    )
    blocked = shown["blocked_by"]
    if blocked:
        kind, _, detail = blocked.partition(":")
        return f"It is blocked{when}: {_BLOCKED.get(kind, kind)}{f' ({detail})' if detail else ''}."
    if not when:
        return "It is due and waits for its turn; a worker takes it at the next doorbell or tick."
    if latest is not None and shown["reason"]:
        return f"It is tried again{when.replace(' until', ' at')}: {shown['reason']}."
    return f"It is scheduled{when.replace(' until', ' for')}."


async def status(world: World, organization: int | None, number: int) -> dict[str, Any]:
    """The live status; the database's truth on a miss or a failure, or when a snapshot that is not final is old.

    Raises NotFound."""
    try:
        stored = await world.kv.get(snapshot.key(number))
    except PortError:
        stored = None
    value = parse_json(stored) if stored else None
    if value is None or not snapshot.trusted(value, world.clock.now_ms()):
        fresh = await publish.current(world, [number])
        value = fresh[0] if fresh else None
    if value is None or (organization is not None and value["organization"] != organization):
        raise NotFound(f"no task {number}")
    return dict(value)


async def costs(
    world: World, organization: int | None, by: str = "provider", since: str | None = None
) -> list[dict[str, Any]]:
    """What executions cost by org, provider, template or day: exact micro-dollars, how much of it is a bound, how
    many ended at an unknown price, and what is still reserved.  Raises BadInput."""
    if by not in queries.COSTS:
        raise BadInput("by", f"one of {', '.join(queries.COSTS)}")
    begun = iso(parse_time(since, "since")) if since is not None else None
    statement = queries.COSTS[by](organization=organization, since=begun)
    return [dict(row) for row in await world.rows(statement)]


async def counts(world: World, organization: int | None) -> dict[str, int]:
    """Tasks by status."""
    found = await world.rows(queries.COUNTS(organization=organization))
    return {text(row, "status"): integer(row, "tasks") for row in found}


async def inbox(world: World, organization: int | None, user: int | None = None) -> list[dict[str, Any]]:
    """What waits for people, first things first, each with its link."""
    statement = queries.INBOX(organization=organization, user=user, size=200)
    return [dict(row) | {"link": person_link(world, row)} for row in await world.rows(statement)]


def person_link(world: World, row: Row) -> str:
    """The address where a person answers."""
    deadline = optional_integer(row, "resolve_by_ms") or 0
    purpose: links.Purpose = "question" if row["kind"] == "question" else "person"
    token = links.token(world.link_secret, integer(row, "id"), deadline, purpose)
    return f"{world.config.public_url}/inbox/{token}"


async def organizations(world: World, organization: int | None, name: str | None) -> list[dict[str, Any]]:
    """The organizations that a caller may see; only those of a name, if one is given."""
    statement = queries.ORGANIZATIONS(organization=organization, name=name, size=LISTED)
    return [{"id": row["id"], "name": row["name"]} for row in await world.rows(statement)]


async def templates(world: World, organization: int | None, name: str | None) -> list[dict[str, Any]]:
    """What templates there are; only those of a name, if one is given."""
    statement = queries.TEMPLATES(organization=organization, name=name, size=LISTED)
    found = await world.rows(statement)
    return [dict(row) | {"usable": bool(row["usable"])} for row in found]


async def template(world: World, organization: int | None, number: int) -> dict[str, Any]:
    """One template.  Raises NotFound."""
    row = one(await world.rows(queries.TEMPLATE(id=number, organization=organization)))
    if row is None:
        raise NotFound(f"no template {number}")
    parsed = {name: optional_text(row, name) for name in ("input_schema", "output_schema", "route", "limits")}
    return dict(row) | {name: json.loads(value) if value else None for name, value in parsed.items()}


async def budgets(world: World, organization: int | None, number: int | None = None) -> list[dict[str, Any]]:
    """Budgets with their current period.  Raises NotFound when one is asked for that is not there."""
    statement = queries.BUDGET(id=number, organization=organization, now=world.clock.now_ms())
    found = [dict(row) for row in await world.rows(statement)]
    if number is not None and not found:
        raise NotFound(f"no budget {number}")
    return found


async def health(world: World) -> list[str]:
    """What is wrong with the database; an empty list when it can be worked with.  Raises `Unavailable`."""
    return await broken(world.database, world.entropy)
