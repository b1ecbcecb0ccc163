"""What callers may read: a task, its history and why it is not running, lists, costs, the inbox, health.

`organization` is the caller's; None: an operator, who sees all.  `views` lists the fields that are shown."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.core import budget, policy
from consumer.core.budget import blocking, seen_by_tenant
from consumer.core.errors import BadInput, Forbidden, NotFound
from consumer.core.outcome import REJECTED
from consumer.core.strictjson import parse_json
from consumer.core.times import iso, parse_time
from consumer.execution import large, publish
from consumer.service import links, rests, views
from consumer.service.keys import ROLES, hash_key
from consumer.service.views import shown
from consumer.service.why import Lease, explain, explain_taken
from consumer.store import leases as leases_sql
from consumer.store import queries, room
from consumer.store import rests as rests_sql
from consumer.store import stops as stops_sql
from consumer.store.batch import NOTHING
from consumer.store.schema.check import broken
from consumer.store.sql import integer, known_integer, mark_of, one, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.ports import Row, Value
    from consumer.service.task_filter import TaskFilter
    from consumer.world import World

PAGE: Final = 50
"""Tasks on a page of a list."""
MAX_PAGE: Final = 200
LISTED: Final = 1_000
"""Row limit for small lists (organizations, templates)."""
INBOX_PAGE: Final = 200
"""Assignments on a page of the inbox."""
MAX_READ: Final = 10_000
"""Tasks that are read for one page of a list with a filter, and for one page of a bulk action."""
MAX_SUMMED: Final = 50_000
"""Tasks that are read for counts, and for one page of costs."""
_PLACE: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
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
        input=_object(stored),
        result=result,
        outcome=result,
        cost_micro=row["total_micro"],
    )


def _object(stored: str | None) -> dict[str, Any] | None:
    """An object that is stored as JSON.  None for any other text, which another application may have written."""
    try:
        value = parse_json(stored) if stored else None
    except BadInput:
        return None
    return value if isinstance(value, dict) else None


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
    wanted: TaskFilter | None = None,
    cursor: int | None = None,
    size: int = PAGE,
) -> views.TaskPage:
    """A page of the tasks that a filter wants, newest first.  The cursor is None on the last page.

    With a filter, a page may have few tasks and a cursor: at most `MAX_READ` tasks are read for it."""
    size, before = min(size, MAX_PAGE), cursor or policy.NEVER
    filtered = wanted is not None and bool(wanted.given())
    most = MAX_READ if filtered else size + 1
    values: dict[str, Value] = {"before": before, "most": most}
    fields = dict.fromkeys(queries.FILTERED) if wanted is None else wanted.parameters()
    if organization is None:
        statements = [queries.LIST_ALL(**values, **fields, size=size + 1), queries.READ_ALL(**values)]
    else:
        values["organization"] = organization
        statements = [queries.LIST(**values, **fields, size=size + 1), queries.READ(**values)]
    rows, (read,) = await world.read_once(*statements)
    tasks = [shown(views.ListedTask, _seen(organization, row)) for row in rows[:size]]
    if len(rows) > size:
        return {"tasks": tasks, "cursor": tasks[-1]["id"]}
    more = filtered and read["tasks"] == most
    return {"tasks": tasks, "cursor": integer(read, "last") if more else None}


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
    leased = batch.add(leases_sql.LEASE(task=number))
    taken = batch.add(queries.TAKEN(task=number))
    results = await batch.commit()
    rows = results.rows(executions)
    held = results.first(leased)
    lease = None if held is None else Lease(integer(held, "until_ms"), world.config.lease_ms)
    why = explain(found, rows, now, results.first(full), lease)
    if found["status"] == "pending" and (found["blocked_by"] or "").startswith(rests.BLOCKER):
        why = rests.why(str(found["blocked_by"]), results.rows(resting), now)
    if (row := results.first(taken)) is not None:
        why = explain_taken(known_integer(row, "run_at_ms") or 0)
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


async def status(world: World, organization: int | None, number: int) -> views.LiveStatus:
    """The live status, from the database: a stored one may be late, or newer than a restore.  Raises NotFound."""
    found = await publish.current(world, [number])
    if not found or (organization is not None and found[0]["organization"] != organization):
        raise NotFound(f"no task {number}")
    return shown(views.LiveStatus, found[0])


async def costs(
    world: World,
    organization: int | None,
    by: str = COSTS_BY,
    since: str | None = None,
    cursor: int | None = None,
) -> views.Costs:
    """What executions cost, added up by org, profile, provider, template or day, in micro-dollars.  Raises BadInput.

    `by` profile is the account with a provider, `by` provider the adapter.  Only executions that started at `since`
    (ISO-8601) or later count.  The newest `MAX_SUMMED` tasks are read; the cursor leads to the sums of the others."""
    if by not in queries.COSTS:
        raise BadInput("by", f"one of {', '.join(queries.COSTS)}")
    started = iso(parse_time(since, "since")) if since is not None else None
    values: dict[str, Value] = {"before": cursor or policy.NEVER, "most": MAX_SUMMED}
    if organization is None:
        statements = [queries.COSTS_ALL[by](**values, since=started), queries.READ_ALL(**values)]
    else:
        values["organization"] = organization
        statements = [queries.COSTS[by](**values, since=started), queries.READ(**values)]
    rows, (read,) = await world.read_once(*statements)
    more = read["tasks"] == MAX_SUMMED
    lines = [shown(views.CostLine, row) for row in rows]
    return {"by": by, "costs": lines, "cursor": integer(read, "last") if more else None}


async def counts(world: World, organization: int | None) -> views.Counts:
    """Tasks by status, among the newest `MAX_SUMMED`."""
    statement = (
        queries.COUNTS_ALL(most=MAX_SUMMED)
        if organization is None
        else queries.COUNTS(organization=organization, most=MAX_SUMMED)
    )
    (rows,) = await world.read_once(statement)
    found = {text(row, "status"): integer(row, "tasks") for row in rows}
    total = sum(found.values())
    return {"total": total, "tasks": found, "more": total == MAX_SUMMED}


async def inbox(world: World, organization: int | None, user: int | None = None) -> list[views.InboxEntry]:
    """All assignments that are open, the highest rank first, each with its link."""
    found: list[views.InboxEntry] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await inbox_page(world, organization, user, cursor)
        found += page["assignments"]
        cursor = page["cursor"]
    return found


async def inbox_page(
    world: World, organization: int | None, user: int | None = None, cursor: str = "", size: int = INBOX_PAGE
) -> views.Inbox:
    """A page of the assignments that are open, the highest rank first, and the number of all.  Raises BadInput."""
    rank, after = _inbox_place(cursor)
    page: dict[str, Value] = {"rank": rank, "after": after, "size": size + 1}
    if organization is None:
        statements = [queries.INBOX_ALL(user=user, **page), queries.INBOX_SIZE_ALL(user=user)]
    else:
        whose: dict[str, Value] = {"organization": organization, "user": user}
        statements = [queries.INBOX(**whose, **page), queries.INBOX_SIZE(**whose)]
    rows, (counted,) = await world.read_once(*statements)
    entries = [shown(views.InboxEntry, row, link=person_link(world, row)) for row in rows[:size]]
    last = rows[size - 1] if len(rows) > size else None
    return {
        "assignments": entries,
        "total": integer(counted, "assignments"),
        "cursor": None if last is None else f"{last['rank']}-{last['id']}",
    }


def _inbox_place(cursor: str) -> tuple[int, int]:
    """The rank and the execution after which a page begins.  Raises BadInput."""
    if not cursor:
        return -1, 0
    rank, _, after = cursor.partition("-")
    if not (_PLACE.fullmatch(rank) and _PLACE.fullmatch(after)):
        raise BadInput("cursor", "must be the cursor of the page before")
    return int(rank), int(after)


def person_link(world: World, row: Row) -> str:
    """The signed address of an assignment's form."""
    deadline = optional_integer(row, "resolve_by_ms") or 0
    purpose: links.Purpose = "question" if row["kind"] == "question" else "person"
    mark = mark_of(text(row, "lease"))
    token = links.token(world.link_secret, integer(row, "id"), mark, deadline, purpose)
    return f"{world.config.public_url}/inbox/{token}"


async def organizations(world: World, organization: int | None, name: str | None) -> list[views.Organization]:
    """The organizations that a caller may see; with a name, only those of exactly that name."""
    if organization is not None:
        statement = queries.ORGANIZATION(organization=organization, name=name)
    elif name is not None:
        statement = queries.ORGANIZATIONS_OF_NAME(name=name, size=LISTED)
    else:
        statement = queries.ORGANIZATIONS(size=LISTED)
    return [shown(views.Organization, row) for row in await world.rows(statement)]


async def templates(world: World, organization: int | None, name: str | None) -> list[views.ListedTemplate]:
    """The templates that a caller may see; with a name, only those of exactly that name."""
    values: dict[str, Value] = {"name": name, "size": LISTED}
    if organization is None:
        statement = queries.TEMPLATES_ALL(**values)
    else:
        statement = queries.TEMPLATES(organization=organization, **values)
    rows = await world.rows(statement)
    return [shown(views.ListedTemplate, row, usable=bool(row["usable"])) for row in rows]


async def template(world: World, organization: int | None, number: int) -> tuple[views.StoredTemplate, int]:
    """One template and its version.  Raises NotFound."""
    row = one(await world.rows(queries.TEMPLATE(id=number, organization=organization)))
    if row is None:
        raise NotFound(f"no template {number}")
    names = ("input_schema", "output_schema", "route", "limits")
    parsed = {name: _object(optional_text(row, name)) for name in names}
    return shown(views.StoredTemplate, row, **parsed), known_integer(row, "version") or 0


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
