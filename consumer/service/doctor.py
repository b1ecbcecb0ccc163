"""What is wrong with a deployment, and what to do about it: one look at the schema, one bounded batch of questions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from consumer.core import policy
from consumer.core.money import show
from consumer.core.times import iso
from consumer.ports import Refused
from consumer.store import stops
from consumer.store.batch import commit
from consumer.store.schema import check
from consumer.store.schema.expected import MIGRATIONS
from consumer.store.sql import integer, optional_integer, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from consumer.ports import Row, Statement
    from consumer.world import World

    Judge = Callable[[Sequence[Row]], Iterator["Finding"]]

Level = Literal["ok", "warning", "error"]

MOST: Final = 10_000
"""How far anything is counted: beyond it, the exact number is not worth the reading."""
OVERDUE_MS: Final = 3 * policy.MINUTE
"""Cron comes every minute: what it should have done this long ago, it does not do."""
WEBHOOK_MS: Final = policy.HOUR
TIGHT: Final = 0.8
"""The part of a budget that is worth a word."""
SHOWN: Final = 20
"""Budgets named one by one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is so; `advice` says what to do, and is empty where nothing is to be done."""

    level: Level
    what: str
    advice: str = ""


async def examine(world: World) -> list[Finding]:
    """Look at everything that is known to go wrong.  Changes nothing.  Raises `Unavailable`."""
    advice = "nothing is claimed until it is mended: docs/operations.md, the schema is broken"
    problems = await check.broken(world.database, world.entropy)
    findings = [Finding("error", problem, advice) for problem in problems]
    findings = findings or [Finding("ok", "the schema is complete")]
    findings += await _migrations(world)
    asked = questions(world.clock.now_ms(), world.accounts)
    try:
        results = await commit(world.database, world.entropy, [statement for statement, _ in asked])
    except Refused as error:
        return [*findings, Finding("error", f"nothing else can be asked: {error}", "mend the schema first")]
    for (_, judge), result in zip(asked, results, strict=True):
        findings += judge(result.rows)
    return findings


def questions(now_ms: int, profiles: Iterable[str]) -> list[tuple[Statement, Judge]]:
    """What `examine` asks of the database besides its schema, and what makes findings of the answers."""
    cron = now_ms - OVERDUE_MS
    known = json.dumps(sorted(profiles))
    return [
        (stops.STOPPED(), _stopped),
        (check.BLOCKED(most=MOST), _blocked),
        (check.EXPIRED(cutoff=cron - policy.CLOCK_SLACK), _expired),
        (check.BACKLOG(since=cron, most=MOST), _backlog),
        (check.DEAD_LETTERS(most=MOST), _dead_letters),
        (check.UNKNOWN(late=cron, most=MOST), _unknown),
        (check.UNPRICED(most=MOST), _unpriced),
        (check.LACKING_PROFILES(profiles=known, most=MOST), _profiles),
        (check.UNHANDLED(since=now_ms - WEBHOOK_MS, most=MOST), _webhooks),
        (check.TIGHT_BUDGETS(now=now_ms, share=TIGHT, most=SHOWN), _budgets),
    ]


async def _migrations(world: World) -> list[Finding]:
    """The books of `wrangler d1 migrations` and of the local host against what ships."""
    try:
        found = await world.rows(check.MIGRATED())
    except Refused:
        advice = "apply the migrations with `wrangler d1 migrations apply`, or let the local host do it"
        return [Finding("warning", "there is no record of applied migrations (table d1_migrations)", advice)]
    applied = {text(row, "name") for row in found}
    pending = [name for name in MIGRATIONS if name not in applied]
    newer = sorted(name for name in applied - set(MIGRATIONS) if name > MIGRATIONS[-1])
    findings = []
    if pending:
        advice = "apply them: `wrangler d1 migrations apply`"
        findings.append(Finding("error", f"migrations are pending: {', '.join(pending)}", advice))
    if newer:
        advice = "deploy the code that they belong to"
        findings.append(Finding("warning", f"the database is ahead of this code: {', '.join(newer)}", advice))
    return findings or [Finding("ok", f"all {len(MIGRATIONS)} migrations are applied")]


def _many(count: int, one: str, several: str = "") -> str:
    """`1 task`, `7 tasks`, `10000 tasks or more`."""
    more = " or more" if count >= MOST else ""
    return f"{count} {one if count == 1 else several or one + 's'}{more}"


_BLOCKED: Final[Mapping[str, tuple[Level, str, str]]] = {
    "adopt": ("warning", "older than the installation", "let them run with `bizq adopt`, or cancel them"),
    "no_organization": (
        "warning",
        "without an organization",
        "give their template or their creator one, then write their `template_id` again",
    ),
    "no_route": ("warning", "without a valid route", "write their templates with `bizq template put`"),
    "no_candidate": (
        "error",
        "whose profile this deployment lacks",
        "add the profile, or change the route; they are tried again every 15 minutes",
    ),
    "bad_settings": (
        "error",
        "whose route's settings no longer fit the provider",
        "correct the template; they are tried again every 15 minutes",
    ),
    "unpriced": (
        "error",
        "under a budget, though nobody can tell what they cost at most",
        "declare a price in the profile or a `max_cost` in the route",
    ),
    "budget": ("warning", "for which a budget has no room", "raise the cap, or wait for the next period"),
}


def _stopped(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "nothing is stopped")
    for row in found:
        since = f"all spending is stopped since {iso(integer(row, 'at_ms'))} by {row['actor']}"
        yield Finding("warning", f"{since}: {row['reason']}", "`bizq resume` lets work go on")


def _blocked(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "no task is blocked")
    for row in found:
        kind = text(row, "kind")
        level, why, advice = _BLOCKED.get(kind, ("warning", f"blocked by {kind!r}", "look at one of them"))
        yield Finding(level, f"{_many(integer(row, 'tasks'), 'pending task')} {why}", advice)


def _expired(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "leases")
    if not count:
        yield Finding("ok", "no worker has vanished unnoticed")
        return
    what = f"{_many(count, 'lease')} expired and not swept, since {iso(integer(row, 'since'))}"
    yield Finding("error", what, "the cron trigger does not run, or fails: look at its log")


def _backlog(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "effects")
    if not count:
        yield Finding("ok", "the outbox is empty")
        return
    what = (
        f"{_many(count, 'status', 'statuses')} not published, the first due at {iso(integer(row, 'since'))}"
    )
    yield Finding(
        "warning", what, "no doorbell is answered, or KV refuses writes: look at the consumer's log"
    )


def _dead_letters(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "letters")
    if count:
        advice = "read them in table dead_letters; they are only doorbells, and deleting them loses no work"
        yield Finding("warning", _many(count, "dead letter"), advice)
    else:
        yield Finding("ok", "there are no dead letters")


def _unknown(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "executions")
    if not count:
        yield Finding("ok", "the outcome of every call is known")
        return
    earliest = optional_integer(row, "earliest")
    until = f", the first to be resolved by {iso(earliest)}" if earliest is not None else ""
    held = show(optional_integer(row, "reserved") or 0)
    yield Finding(
        "warning",
        f"{_many(count, 'execution')} of unknown outcome, which hold {held}{until}",
        "evidence is awaited; look at the provider's own records when there are many",
    )
    if late := integer(row, "late"):
        advice = "no doorbell is answered, or the consumer fails: look at its log"
        yield Finding("error", f"{_many(late, 'execution')} should have been resolved by now", advice)


def _unpriced(found: Sequence[Row]) -> Iterator[Finding]:
    row = found[0]
    count = integer(row, "executions")
    if not count:
        yield Finding("ok", "every finished execution has a cost")
        return
    held = show(optional_integer(row, "reserved") or 0)
    what = f"{_many(count, 'finished execution')} of unknown cost, which hold {held} of their budgets"
    yield Finding(
        "warning", what, "declare a price in the profile, or set cost_micro from the provider's bill"
    )


def _profiles(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", "every profile that a template names is there")
    for row in found:
        several = _many(integer(row, "templates"), "template")
        yield Finding(
            "error",
            f"profile {text(row, 'profile')!r} is named by {several} (the first is {row['first']}) and is not here",
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
        f"{_many(count, 'webhook')} not handled for an hour, the first of {iso(integer(row, 'since'))}",
        "they match no open execution: somebody else uses the address, or their execution had ended",
    )


def _budgets(found: Sequence[Row]) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", f"no budget is more than {TIGHT:.0%} full")
    for row in found:
        spent, reserved, cap = (integer(row, name) for name in ("spent_micro", "reserved_micro", "cap_micro"))
        whose = f"budget {row['id']} ({row['scope']} {row['scope_id']}, {row['period']})"
        sums = f"{show(spent)} spent and {show(reserved)} reserved of {show(cap)}"
        if spent + reserved > cap:
            advice = "a provider charged more than its declared maximum, or the cap was lowered: nothing more is begun"
            yield Finding("error", f"{whose} is overdrawn: {sums}", advice)
        else:
            yield Finding(
                "warning", f"{whose} is nearly full: {sums}", "raise the cap, or expect tasks to wait"
            )
