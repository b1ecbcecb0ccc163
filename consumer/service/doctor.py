"""Finds the faults of a deployment, each with the next step.

It compares the schema with the expected one, and asks the database one batch of questions that read limited numbers of
rows."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

from consumer.core import policy
from consumer.core.money import show
from consumer.core.times import iso
from consumer.ports import Refused
from consumer.service import rests
from consumer.service.findings import Finding, Level
from consumer.store import rests as rests_sql
from consumer.store import stops
from consumer.store.schema import check
from consumer.store.schema.expected import MIGRATIONS
from consumer.store.sql import integer, optional_integer, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from consumer.ports import Row, Statement
    from consumer.world import World

    Judge = Callable[[Sequence[Row]], Iterator["Finding"]]


MAX_COUNTED: Final = 10_000
"""Where counting stops: beyond it, the exact number is not worth the reads."""
OVERDUE_MS: Final = 3 * policy.MINUTE
"""How late the work of cron may be.  Cron runs every minute, so work that is later than this was not done."""
UNHANDLED_MS: Final = policy.HOUR
"""How long a webhook may stay unhandled."""
NEARLY_FULL: Final = 0.8
"""The part of its cap from which a budget is reported."""
MAX_BUDGETS: Final = 20
"""Budgets that are reported one by one."""


async def examine(world: World) -> list[Finding]:
    """Check everything that is known to go wrong.  Changes nothing.  Raises `Unavailable`."""
    advice = "no task is claimed until this is fixed: docs/operations.md, The schema is broken"
    problems = await check.broken(world.database, world.entropy)
    findings = [Finding("error", problem, advice) for problem in problems]
    findings = findings or [Finding("ok", "the schema is complete")]
    findings += await _migrations(world)
    batch = world.batch()
    asked = [
        (batch.add(statement), judge) for statement, judge in questions(world.clock.now_ms(), world.accounts)
    ]
    try:
        results = await batch.commit_once()  # heavy: it is not repeated
    except Refused as error:
        skipped = Finding("error", f"the other checks were skipped: {error}", "fix the schema first")
        return [*findings, skipped]
    for handle, judge in asked:
        findings += judge(results.rows(handle))
    return findings


def questions(now_ms: int, profiles: Iterable[str]) -> list[tuple[Statement, Judge]]:
    """The questions of `examine` to the database, besides its schema, each with the function that judges the answer."""
    cron = now_ms - OVERDUE_MS
    known = json.dumps(sorted(profiles))
    return [
        (stops.STOPPED(), _stopped),
        (check.REUSED_IDS(), _reused_ids),
        (check.ALIVE(now=now_ms), partial(_alive, now_ms)),
        (check.FAILURES(since=now_ms - policy.HOUR, limit=MAX_COUNTED), _failures),
        (rests_sql.RESTS(), partial(_rests, now_ms)),
        (check.BLOCKED(limit=MAX_COUNTED), _blocked),
        (check.TAKEN(never=policy.NEVER, limit=MAX_COUNTED), _taken),
        (check.EXPIRED(cutoff=cron - policy.CLOCK_SLACK), _expired),
        (check.BACKLOG(since=cron, limit=MAX_COUNTED), _backlog),
        (check.DEAD_LETTERS(limit=MAX_COUNTED), _dead_letters),
        (check.UNKNOWN(late=cron, limit=MAX_COUNTED), _unknown),
        (check.WITHOUT_COST(limit=MAX_COUNTED), _without_cost),
        (check.LACKING_PROFILES(profiles=known, limit=MAX_COUNTED), _profiles),
        (check.UNHANDLED(since=now_ms - UNHANDLED_MS, limit=MAX_COUNTED), _webhooks),
        (check.TIGHT_BUDGETS(now=now_ms, share=NEARLY_FULL, limit=MAX_BUDGETS), _budgets),
    ]


async def _migrations(world: World) -> list[Finding]:
    """Compare the recorded migrations (of `wrangler d1 migrations` or of the local host) with those that ship."""
    try:
        found = await world.rows(check.MIGRATED())
    except Refused:
        what = "table d1_migrations, the record of applied migrations, is missing"
        advice = "run `wrangler d1 migrations apply`; the local host applies migrations when it starts"
        return [Finding("warning", what, advice)]
    applied = {text(row, "name") for row in found}
    pending = [name for name in MIGRATIONS if name not in applied]
    newer = sorted(name for name in applied - set(MIGRATIONS) if name > MIGRATIONS[-1])
    findings = []
    if pending:
        advice = "run `wrangler d1 migrations apply`"
        findings.append(Finding("error", f"migrations have not been applied: {', '.join(pending)}", advice))
    if newer:
        advice = "deploy the version of the code that has these migrations"
        what = f"the database has migrations that this code does not have: {', '.join(newer)}"
        findings.append(Finding("warning", what, advice))
    return findings or [Finding("ok", f"all {len(MIGRATIONS)} migrations are applied")]


def _many(count: int, singular: str, plural: str = "") -> str:
    """`1 task`, `7 tasks`, `10000 tasks or more`."""
    more = " or more" if count >= MAX_COUNTED else ""
    return f"{count} {singular if count == 1 else plural or singular + 's'}{more}"


_BLOCKED: Final[Mapping[str, tuple[Level, str, str]]] = {
    "adopt": ("warning", "older than the installation", "run `bizq adopt` to let them run, or cancel them"),
    "bad_row": (
        "error",
        "with a value that cannot be read in their rows",
        "`bizq show` names the column: correct it by SQL, then they run; or cancel them",
    ),
    "no_organization": (
        "warning",
        "without an organization",
        "give their template or their creator an organization, then write their `template_id` again",
    ),
    "no_route": ("warning", "without a valid route", "write a valid route with `bizq template put`"),
    "no_candidate": (
        "error",
        "whose profile is missing in this deployment",
        "add the profile, or change the route; the worker tries these tasks again every 15 minutes",
    ),
    "bad_settings": (
        "error",
        "whose route has settings that the provider does not accept",
        "correct the template; the worker tries these tasks again every 15 minutes",
    ),
    "unpriced": (
        "error",
        "under a budget, and the most that they can cost is unknown",
        "set a price in the profile, or a `max_cost` in the route",
    ),
    "rest": ("warning", "whose profile is not called at the moment", "they are done when it answers again"),
    "budget": ("warning", "for which a budget has no room", "raise the cap, or wait for the next period"),
    "storage": (
        "warning",
        "whose previous result cannot be read at the moment",
        "the worker tries these tasks again every minute; if it lasts, check the blob store",
    ),
    "stopped": (
        "warning",
        "held by hand",
        "release them when the reason is gone: docs/deploy.md, Hold some of the work",
    ),
}


def _stopped(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "spending is not stopped")
    for row in found:
        since = f"by {row['actor']} since {iso(integer(row, 'at_ms'))}"
        yield Finding(
            "warning", f"all spending is stopped {since}: {row['reason']}", "run `bizq resume` to continue"
        )


def _reused_ids(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "no task gets the id of a deleted task")
        return
    what = "table tasks has no AUTOINCREMENT: if the newest task is deleted, the next one gets its id"
    advice = (
        "links, keys and live statuses know them apart by tasks.identity;"
        " let your own applications do so too, or do not delete the newest task"
    )
    yield Finding("warning", what, advice)


def _rests(now_ms: int, found: Sequence[Row]) -> Iterator[Finding]:
    words = [(row, what) for row in found if (what := rests.in_words(row, now_ms)) is not None]
    if not words:
        yield Finding("ok", "no profile rests")
    for row, what in words:
        fault = rests.account_fault(row)
        advice = "look at the provider's status, and at its address; the worker calls it again by itself"
        yield (
            Finding("warning", what, advice)
            if fault is None
            else Finding("error", what, rests.FAULT_ADVICE[fault])
        )


def _alive(now_ms: int, found: Sequence[Row]) -> Iterator[Finding]:
    """Whether cron works, and whether workers take the tasks that are due."""
    ticked, due, started = (optional_integer(found[0], name) for name in ("ticked", "due", "started"))
    if ticked is not None and now_ms - ticked > OVERDUE_MS:
        advice = "the cron trigger does not run, or fails: read its log; on one machine, start `bizq dev`"
        yield Finding("error", f"the last tick was at {iso(ticked)}", advice)
    else:
        yield Finding(
            "ok", "the last tick is not overdue" if ticked is not None else "no tick is missing yet"
        )
    if due is None or now_ms - due <= OVERDUE_MS:
        yield Finding("ok", "no task is overdue for a worker")
        return
    minutes = (now_ms - due) // policy.MINUTE
    last = f"the last call began at {iso(started)}" if started is not None else "no call has begun yet"
    workers = integer(found[0], "leases")
    if workers:
        what = f"the oldest due task has waited for {minutes} minutes; {_many(workers, 'lease')} held, {last}"
        yield Finding("warning", what, "more work is due than the workers do: raise their number, or wait")
        return
    what = f"no worker takes tasks: the oldest due one has waited for {minutes} minutes; {last}"
    yield Finding(
        "error", what, "the queue consumer does not run, or fails: read its log; or start `bizq dev`"
    )


REFUSED_KEYS: Final = ("http_401", "http_403")
"""Codes of failures by which a provider says that it does not accept the key."""


def _failures(found: Sequence[Row]) -> Iterator[Finding]:
    """The failures of the last hour.  A key that is refused fails every call."""
    if not found:
        yield Finding("ok", "no call failed in the last hour")
    for row in found:
        profile, code = text(row, "profile"), text(row, "code")
        what = (
            f"profile {profile!r}: {_many(integer(row, 'failures'), 'failed call')} in the last hour: {code}"
        )
        if code in REFUSED_KEYS:
            yield Finding(
                "error", what, "the provider refuses the key: set the secret that the profile names"
            )
        else:
            yield Finding(
                "warning",
                what,
                "run `bizq show` for one of its tasks; docs/operations.md, A provider is down",
            )


def _blocked(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "no task is blocked")
    for row in found:
        kind = text(row, "kind")
        level, why, advice = _BLOCKED.get(
            kind, ("warning", f"blocked by {kind!r}", "run `bizq show` for one of these tasks")
        )
        yield Finding(level, f"{_many(integer(row, 'tasks'), 'pending task')} {why}", advice)


def _taken(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "tasks")
    if not count:
        yield Finding("ok", "another application has set no task to running")
        return
    since = iso(integer(row, "since"))
    what = f"{_many(count, 'task')} set to running by another application, the first at {since}"
    advice = (
        "the worker takes each one back after a day: `waiting` holds a task for longer (docs/database.md)"
    )
    yield Finding("warning", what, advice)


def _expired(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "leases")
    if not count:
        yield Finding("ok", "no expired leases")
        return
    what = f"{_many(count, 'expired lease')} not swept, the first since {iso(integer(row, 'since'))}"
    yield Finding("error", what, "the cron trigger does not run, or fails: read its log")


def _backlog(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "effects")
    if not count:
        yield Finding("ok", "the outbox is empty")
        return
    what = f"{_many(count, 'outbox row')} not handled, the first due since {iso(integer(row, 'since'))}"
    advice = "the queue consumer does not run, or KV refuses writes: read the log of the consumer"
    yield Finding("warning", what, advice)


def _dead_letters(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "letters")
    if count:
        advice = "read table dead_letters, then delete them: they are only doorbells, so no work is lost"
        yield Finding("warning", _many(count, "dead letter"), advice)
    else:
        yield Finding("ok", "no dead letters")


def _unknown(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "executions")
    if not count:
        yield Finding("ok", "the outcome of every call is known")
        return
    earliest = optional_integer(row, "earliest")
    until = f"; the first must be resolved by {iso(earliest)}" if earliest is not None else ""
    held = show(optional_integer(row, "reserved") or 0)
    yield Finding(
        "warning",
        f"{_many(count, 'execution')} of unknown outcome, with {held} reserved{until}",
        "the worker waits for evidence; if there are many, check the records of the provider",
    )
    if late := integer(row, "late"):
        advice = "the queue consumer does not run, or fails: read its log"
        yield Finding(
            "error", f"{_many(late, 'execution')} of unknown outcome should have been resolved by now", advice
        )


def _without_cost(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "executions")
    if not count:
        yield Finding("ok", "every ended execution has a cost")
        return
    held = show(optional_integer(row, "reserved") or 0)
    what = f"{_many(count, 'ended execution')} of unknown cost, with {held} still reserved"
    yield Finding(
        "warning", what, "set a price in the profile, or write cost_micro from the bill of the provider"
    )


def _profiles(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "every profile that a template names exists")
    for row in found:
        count = integer(row, "templates")
        templates, verb = _many(count, "template"), "names" if count == 1 else "name"
        yield Finding(
            "error",
            f"profile {text(row, 'profile')!r} is missing: {templates} {verb} it, the first is template {row['first']}",
            "add it to PROFILES, or change the routes",
        )


def _webhooks(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "webhooks")
    if not count:
        yield Finding("ok", "every webhook was handled")
        return
    yield Finding(
        "warning",
        f"{_many(count, 'webhook')} not handled within an hour, the first received at {iso(integer(row, 'since'))}",
        "they match no execution, or the template or profile that could read them is missing",
    )


def _budgets(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", f"no budget is more than {NEARLY_FULL:.0%} full")
    for row in found:
        spent, reserved, cap = (integer(row, name) for name in ("spent_micro", "reserved_micro", "cap_micro"))
        whose = f"budget {row['id']} ({row['scope']} {row['scope_id']}, {row['period']})"
        sums = f"{show(spent)} spent and {show(reserved)} reserved of {show(cap)}"
        if spent + reserved > cap:
            advice = "a provider charged more than its declared maximum, or the cap was lowered: no more work begins"
            yield Finding("error", f"{whose} is over its cap: {sums}", advice)
        else:
            yield Finding(
                "warning", f"{whose} is nearly full: {sums}", "raise the cap, or expect tasks to wait"
            )
