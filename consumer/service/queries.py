"""What callers may read: a task, its history and why it is not running, lists, costs, the inbox, health.

`organization` is the caller's; None: an operator, who sees all.  `views` lists the fields that are shown."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core import budget, policy
from consumer.core.answers import REJECTED
from consumer.core.budget import blocking, seen_by_tenant
from consumer.core.decide import was_asked
from consumer.core.errors import BadInput, Forbidden, NotFound
from consumer.core.lifecycle import EXECUTION_OPEN, TASK_FINAL
from consumer.core.money import show
from consumer.core.strictjson import parse_json
from consumer.core.times import iso, parse_time
from consumer.execution import large, publish
from consumer.service import links, rests, views
from consumer.service.keys import ROLES, hash_key
from consumer.service.views import shown
from consumer.store import queries, room
from consumer.store import rests as rests_sql
from consumer.store import stops as stops_sql
from consumer.store.batch import NOTHING
from consumer.store.schema.check import broken
from consumer.store.sql import integer, mark_of, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.ports import Row
    from consumer.world import World

PAGE: Final = 50
"""Tasks on a page of a list."""
MAX_PAGE: Final = 200
LISTED: Final = 1_000
"""Row limit for small lists (organizations, templates)."""
INBOX_SIZE: Final = 200
"""Row limit for the list of assignments."""
COSTS_BY: Final = "profile"
"""The key by which costs are added up, unless the caller names another one."""
COSTS_KEYS: Final = tuple(queries.COSTS)


class Caller(NamedTuple):
    """The owner of an API key.  `organization` is None for an operator."""

    key: str
    organization: int | None
    role: str

    def need(self, role: str) -> None:
        """Raises Forbidden when this caller's role is below `role`."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"this needs a key with the role {role}; yours is {self.role}")


async def authenticate(world: World, bearer: str) -> Caller | None:
    """The owner of a key; None for a key that is unknown, wrong or revoked."""
    prefix, _, rest = bearer.partition("_")
    name, _, secret = rest.partition("_")
    if prefix != "bizq" or not name or not secret or len(bearer) > 200:
        return None
    row = one(await world.rows(queries.KEY(id=name)))
    if row is None or not hmac.compare_digest(text(row, "hash"), hash_key(secret)):
        return None
    return Caller(name, optional_integer(row, "organization_id"), text(row, "role"))


async def task(world: World, organization: int | None, number: int) -> views.Task:
    """One task with its input and its result.  Raises NotFound."""
    row = _seen(organization, await _task(world, organization, number))
    stored = optional_text(row, "input")
    result = await _result(world, row)
    return shown(
        views.Task,
        row,
        input=parse_json(stored) if stored else None,
        result=result,
        outcome=result,
        cost_micro=row["total_micro"],
    )


async def _task(world: World, organization: int | None, number: int) -> Row:
    row = one(await world.rows(queries.TASK(task=number, organization=organization)))
    if row is None:
        raise NotFound(f"no task {number}")
    return row


def _seen(organization: int | None, row: Row) -> Row:
    """A row of a task as the caller may see it: a budget of the operator has a number for the operator only."""
    return row if organization is None else {**row, "blocked_by": seen_by_tenant(_blocked_by(row))}


def _blocked_by(row: Mapping[str, object]) -> str | None:
    value = row["blocked_by"]
    return None if value is None else str(value)


async def _result(world: World, row: Row) -> Any:  # JSON is any value
    """The result in the row, or the large one that its key leads to."""
    key, stored = optional_text(row, "result_key"), optional_text(row, "result")
    if key is not None:
        data = await large.read(world, key)
        return None if data is None else parse_json(data)
    return None if stored is None else parse_json(stored)


async def task_list(
    world: World,
    organization: int | None,
    status: str | None = None,
    cursor: int | None = None,
    size: int = PAGE,
) -> views.TaskPage:
    """A page of tasks, newest first.  The cursor is None on the last page."""
    statement = queries.LIST(
        organization=organization, status=status, before=cursor or policy.NEVER, size=min(size, MAX_PAGE) + 1
    )
    rows = await world.rows(statement)
    tasks = [shown(views.ListedTask, _seen(organization, row)) for row in rows[:size]]
    return {"tasks": tasks, "cursor": tasks[-1]["id"] if len(rows) > size else None}


async def history(world: World, organization: int | None, number: int) -> views.History:
    """Everything that happened to a task, and one sentence on how it stands.  Raises NotFound."""
    found = await task(world, organization, number)
    now, blocked = world.clock.now_ms(), blocking(found["blocked_by"])
    batch = world.batch()
    full = NOTHING if blocked is None else batch.add(room.BLOCKING(id=blocked, now=now))
    executions = batch.add(queries.EXECUTIONS(task=number))
    audit = batch.add(queries.AUDIT(task=number))
    stop = batch.add(stops_sql.STOPPED())
    resting = batch.add(rests_sql.RESTS())
    results = await batch.commit()
    rows = results.rows(executions)
    why = explain(found, rows, now, results.first(full))
    if found["status"] == "pending" and (found["blocked_by"] or "").startswith(rests.BLOCKER):
        why = rests.why(str(found["blocked_by"]), results.rows(resting), now)
    stopped = results.first(stop)
    if stopped is not None and found["status"] == "pending":
        why = f"All spending is stopped: {stopped['reason']}. {why}"
    return {
        "task": found,
        "why": why,
        "executions": [await _execution(world, row) for row in rows],
        "audit": [shown(views.AuditEntry, row, at=iso(integer(row, "at_ms"))) for row in results.rows(audit)],
    }


async def _execution(world: World, row: Row) -> views.Execution:
    usage, result = optional_text(row, "usage"), await _result(world, row)
    used = row["status"] == "succeeded" or row["reason"] == REJECTED
    return shown(
        views.Execution,
        row,
        overrun=bool(row["overrun"]),
        usage=parse_json(usage) if usage else None,
        result=result,
        used=None if result is None else used,
    )


def explain(found: views.Task, executions: Sequence[Row], now_ms: int, full: Row | None = None) -> str:
    """Why a task is not running, or how it ended.  `full`: the budget that blocks it, with its current counters."""
    status = found["status"]
    latest = executions[-1] if executions else None
    if status in TASK_FINAL:
        reason = f": {found['reason']}" if found["reason"] else ""
        return f"It is {status}{reason}; its cost is {show(found['cost_micro'] if executions else 0)}."
    if status == "running":
        return (
            f"A worker holds it; its latest execution is with {latest['profile']}."
            if latest is not None and latest["status"] in EXECUTION_OPEN
            else "A worker or another application has taken it."
        )
    if status == "waiting":
        return _explain_waiting(latest)
    if full is not None and found["run_at_ms"] > now_ms:
        return _explain_full(found["needs_micro"], full, now_ms)
    return _explain_pending(found, latest, now_ms)


def _explain_waiting(latest: Row | None) -> str:
    if latest is None or latest["status"] not in EXECUTION_OPEN:
        return "Another application set it to waiting; it goes on when that application sets it to pending."
    if latest["status"] == "running":
        return "It waits for the end of a call that is in flight."
    until = optional_integer(latest, "resolve_by_ms")
    limit = f" until {iso(until)}" if until else ""
    if latest["status"] == "unknown":
        unknown = f"The outcome of {latest['profile']}'s call is unknown"
        if was_asked(optional_text(latest, "reason")):
            return f"{unknown}. It waits for a person to answer the question in the inbox{limit}."
        return f"{unknown} ({latest['reason']}). It waits for evidence{limit}."
    if latest["provider"] == "inbox":
        person = f"user {latest['assigned_to']}" if latest["assigned_to"] else "a person of its organization"
        return f"It waits for {person} to answer{limit}."
    job = f" as {latest['external_id']}" if latest["external_id"] else ""
    return f"It waits for {latest['profile']}, which accepted it{job}{limit}."


_BLOCKED: Final = {
    "adopt": "it is older than the installation: run `bizq adopt`",
    "no_organization": "it has no organization: its template or its creator must belong to one",
    "no_route": "its template has no valid route: write one with `bizq template put`",
    "no_candidate": "this deployment has no such profile for it",
    "bad_settings": "its route's settings no longer fit the provider",
    "storage": "the result of the previous stage cannot be read at the moment",
    "unpriced": "a budget applies and the maximum cost of the call is unknown: declare a price or a max_cost",
    "rest": "its profile is not called at the moment",
    "budget": "a budget has no room",
    "stopped": "an operator holds it by hand (docs/deploy.md, Hold some of the work)",
}
_OPERATOR_BLOCKS: Final = "It is blocked: the operator's limit has no room for its next call."


def _explain_full(needs: int | None, full: Row, now_ms: int) -> str:
    """What a budget has left, and what brings room."""
    cap, spent, reserved = (integer(full, name) for name in ("cap_micro", "spent_micro", "reserved_micro"))
    kind, whose = text(full, "period"), "operator's " if full["tier"] == budget.OPERATOR else ""
    limit = f"{show(cap)} {'in total' if kind == 'total' else f'a {kind}'}"
    why = f"It is blocked: a budget has no room ({whose}budget {full['id']}, {limit}"
    why += f": {show(spent)} spent, {show(reserved)} reserved by calls that have not ended)."
    if needs is not None and needs > cap:
        return f"{why} Its next call may cost {show(needs)}, more than the whole cap: raise the cap."
    call = "" if needs is None else f" Its next call may cost {show(needs)}."
    period = budget.period_of(integer(full, "id"), kind, now_ms)
    begins = "" if kind == "total" else f", or when the next {kind} begins at {iso(period.ends_ms)}"
    return (
        f"{why}{call} Room comes when a call costs less than its reservation, when the cap is raised{begins}."
    )


def _explain_pending(found: views.Task, latest: Row | None, now_ms: int) -> str:
    run_at = found["run_at_ms"]
    due = run_at <= now_ms
    until = "" if due else " until it is changed" if run_at >= policy.NEVER else f" until {iso(run_at)}"
    if found["blocked_by"] and not due:
        if found["blocked_by"] == seen_by_tenant(budget.blocker(budget.OPERATOR, 0)):
            return _OPERATOR_BLOCKS
        code, _, detail = found["blocked_by"].partition(":")
        return f"It is blocked{until}: {_BLOCKED.get(code, code)}{f' ({detail})' if detail else ''}."
    if due:
        return "It is due and waits for its turn; a worker takes it at the next doorbell or tick."
    if latest is not None and found["reason"]:
        return f"It is tried again{until.replace(' until', ' at')}: {found['reason']}."
    return f"It is scheduled{until.replace(' until', ' for')}."


async def status(world: World, organization: int | None, number: int) -> views.LiveStatus:
    """The live status, from the database: a stored one may be late, or newer than a restore.  Raises NotFound."""
    found = await publish.current(world, [number])
    if not found or (organization is not None and found[0]["organization"] != organization):
        raise NotFound(f"no task {number}")
    return shown(views.LiveStatus, found[0])


async def costs(
    world: World, organization: int | None, by: str = COSTS_BY, since: str | None = None
) -> list[views.CostLine]:
    """What executions cost, added up by org, profile, provider, template or day, in micro-dollars.  Raises BadInput.

    `by` profile is the account with a provider, `by` provider the adapter.  Only executions that started at `since`
    (ISO-8601) or later count."""
    if by not in queries.COSTS:
        raise BadInput("by", f"one of {', '.join(queries.COSTS)}")
    started = iso(parse_time(since, "since")) if since is not None else None
    statement = queries.COSTS[by](organization=organization, since=started)
    return [shown(views.CostLine, row) for row in await world.rows(statement)]


async def counts(world: World, organization: int | None) -> dict[str, int]:
    """Tasks by status."""
    rows = await world.rows(queries.COUNTS(organization=organization))
    return {text(row, "status"): integer(row, "tasks") for row in rows}


async def inbox(world: World, organization: int | None, user: int | None = None) -> list[views.InboxEntry]:
    """The assignments that are open, the highest rank first, each with its link."""
    statement = queries.INBOX(organization=organization, user=user, size=INBOX_SIZE)
    rows = await world.rows(statement)
    return [shown(views.InboxEntry, row, link=person_link(world, row)) for row in rows]


def person_link(world: World, row: Row) -> str:
    """The signed address of an assignment's form."""
    deadline = optional_integer(row, "resolve_by_ms") or 0
    purpose: links.Purpose = "question" if row["kind"] == "question" else "person"
    mark = mark_of(text(row, "lease"))
    token = links.token(world.link_secret, integer(row, "id"), mark, deadline, purpose)
    return f"{world.config.public_url}/inbox/{token}"


async def organizations(world: World, organization: int | None, name: str | None) -> list[views.Organization]:
    """The organizations that a caller may see; with a name, only those of exactly that name."""
    statement = queries.ORGANIZATIONS(organization=organization, name=name, size=LISTED)
    return [shown(views.Organization, row) for row in await world.rows(statement)]


async def templates(world: World, organization: int | None, name: str | None) -> list[views.ListedTemplate]:
    """The templates that a caller may see; with a name, only those of exactly that name."""
    statement = queries.TEMPLATES(organization=organization, name=name, size=LISTED)
    rows = await world.rows(statement)
    return [shown(views.ListedTemplate, row, usable=bool(row["usable"])) for row in rows]


async def template(world: World, organization: int | None, number: int) -> tuple[views.StoredTemplate, int]:
    """One template and its version.  Raises NotFound."""
    row = one(await world.rows(queries.TEMPLATE(id=number, organization=organization)))
    if row is None:
        raise NotFound(f"no template {number}")
    stored = {name: optional_text(row, name) for name in ("input_schema", "output_schema", "route", "limits")}
    parsed = {name: json.loads(value) if value else None for name, value in stored.items()}
    return shown(views.StoredTemplate, row, **parsed), integer(row, "version")


async def budgets(
    world: World, organization: int | None, number: int | None = None, *, operator: bool = False
) -> list[views.StoredBudget]:
    """All budgets, or the one with this number, each with its current period.  Raises NotFound for that one.

    `operator`: the caller is the operator, who sees both tiers.  Everybody else sees the tenant's budgets only."""
    tier = None if operator else budget.TENANT
    statement = queries.BUDGET(id=number, organization=organization, tier=tier, now=world.clock.now_ms())
    rows = await world.rows(statement)
    if number is not None and not rows:
        raise NotFound(f"no budget {number}")
    return [shown(views.StoredBudget, row) for row in rows]


async def health(world: World) -> list[str]:
    """The problems of the schema; an empty list if the worker can use the database.  Raises `Unavailable`."""
    return await broken(world.database, world.entropy)
