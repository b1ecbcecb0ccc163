"""The cost of a claim, a run and a sweep does not depend on the size of the database."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from consumer.core.policy import NEVER
from consumer.local.database import SqliteDatabase
from consumer.local.migrate import apply
from consumer.ports import Result, Statement
from consumer.run import claim, sweep
from consumer.service import doctor
from consumer.store import admin, begin, commands, facts, leases, people, publish, settle, webhooks
from consumer.store import claim as claim_sql
from consumer.store import queries as queries_sql
from consumer.store import sweep as sweep_sql
from consumer.store.batch import Batch
from consumer.store.schema import check
from consumer.store.sql import execution_id
from consumer.world import Config, World
from tests.schema import databases
from tests.schema.databases import MIGRATIONS, Sql, on_sqlite
from tests.store.many_tasks import START, database
from tests.support.ports import FakeEntropy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from consumer.ports import Database

empty, sql = databases.empty, databases.sql

SMALL: Final = 1_000
LARGE: Final = [20_000, pytest.param(1_000_000, marks=[pytest.mark.heavy, pytest.mark.xdist_group("large")])]
CLAIMED: Final = 10
STEPS_PER_TASK: Final = 3_000
"""Steps of SQLite's virtual machine for each claimed task.  It needs 700, and 2,200 behind a large organization."""
NOW: Final = {
    "nothing is due": START,
    "one organization is due": START + 150_000_000,
    "one organization is in front of others": START + 250_000_000,
    "all are due": START + 400_000_000,
}
"""Times at which different quarters of the database are due."""


@pytest.fixture(scope="module", autouse=True)
def _forget() -> Iterator[None]:
    yield
    database.cache_clear()


@pytest.fixture(params=LARGE)
def pair(request: pytest.FixtureRequest) -> Iterator[list[SqliteDatabase]]:
    """A small and a large database without any claim yet."""
    copies = [SqliteDatabase(":memory:") for _ in range(2)]
    for size, copy in zip((SMALL, request.param), copies, strict=True):
        database(size)._connection.backup(copy._connection)
    yield copies
    for copy in copies:
        copy.close()


def steps(made: SqliteDatabase, statements: Iterable[Statement]) -> list[int]:
    """The steps of each statement."""
    counts = []
    for statement in statements:
        with made.vm_steps() as count:
            made.run([statement])
        counts.append(count[0])
    return counts


def same(small: list[int], large: list[int]) -> None:
    """Assert equality except for a few steps: the number of organizations that a scan meets varies a little."""
    assert len(small) == len(large)
    for place, (one, other) in enumerate(zip(small, large, strict=True)):
        assert abs(one - other) <= 20 + one // 20, (place, small, large)


# --- statements as the product sends them -------------------------------------------------------------------

_numbers = itertools.count()


def claim_statements(world: World, token: str, now: int) -> list[Statement]:
    batch = Batch(world.database, world.entropy)
    claim.claim(batch, world, token, now)
    return list(batch.statements)


def a_claim(now: int, token: str | None = None) -> list[Statement]:
    world = cast("World", _Piece())
    return claim_statements(world, token or f"token {next(_numbers)}", now)


class _Piece:
    """As much of a world as a claim needs."""

    config = Config(batch_size=CLAIMED)
    database = None
    entropy = FakeEntropy(value=0.3)


def a_run(made: SqliteDatabase, token: str) -> list[Statement]:
    """Statements that begin, settle and publish the claimed tasks."""
    rows: list[dict[str, Any]] = [
        {"task": row["id"], "version": row["version"], "execution": execution_id(int(str(row["id"])), 2)}
        | {"execution_type": "ai", "provider": "echo", "profile": "echo", "reserved_micro": 5}
        | {"budgets": '["1:total"]', "lease": token, "state": "succeeded", "status": "completed", "stage": 0}
        | {"candidate": 0, "attempt": 1, "repairs": 0, "redos": 0, "run_at_ms": 0, "result": "{}"}
        | {"cost_micro": 5, "feeds_next": 0, "external_id": "x"}
        for row in made.run([claim_sql.CLAIMED(token=token)])[0].rows
    ]
    text, ids = json.dumps(rows), json.dumps([row["task"] for row in rows])
    period = [{"id": "1:total", "budget": 1, "starts_ms": 0, "ends_ms": NEVER}]
    executions = json.dumps([row["execution"] for row in rows])
    return [
        begin.BEGIN_PERIODS(rows=json.dumps(period)),
        begin.BEGIN(rows=text, now=1, at="now"),
        begin.BEGUN(rows=text),
        begin.FULL_PERIODS(periods='["1:total"]'),
        facts.SITUATIONS(executions=executions),
        settle.SETTLE_EXECUTIONS(rows=text),
        settle.SETTLE_TASKS(rows=text, at="now"),
        settle.SETTLE_SIBLINGS(rows=text),
        settle.SETTLE_OUTBOX(rows=text, holder=token, due=1),
        settle.SETTLED(rows=text),
        webhooks.WAKE_FOR_EARLY(rows=text),
        webhooks.QUEUE_UNHANDLED(executions=executions, now=1),
        webhooks.UNHANDLED_OF_TASKS(tasks=ids),
        webhooks.UNQUEUE(tasks=ids),
        begin.UNSENT(rows=text, at="now"),
        begin.UNSENT_AWAITED(rows=text),
        begin.RELEASE(rows=text, at="now"),
        publish.SNAPSHOTS(tasks=ids),
        publish.PUBLISH_LATER(tasks=ids, holder="", due=1),
        claim_sql.CLAIM_OUTBOX(token=token, until=2, now=1, size=10),
        publish.DONE_OUTBOX(rows=text, token=token),
        publish.OVERTAKEN(rows=text, due=1),
        leases.RENEW(tokens=json.dumps([token]), until=3),
        leases.FINISH(tokens=json.dumps([token])),
    ]


def requests(template: int) -> list[Statement]:
    """Statements of callers' requests, for one organization."""
    new = {"template": template, "title": "t", "priority": "low", "run_at": 5, "key": f"new {next(_numbers)}"}
    rows = json.dumps([new])
    every = dict.fromkeys(queries_sql.FILTERED)
    waiting = every | {"status": "waiting"}
    keyed = json.dumps([{"organization": 7, "key": new["key"], "submitted": "{}"}])
    return [
        commands.TEMPLATES_NAMED(organization=7, names='["template"]'),
        commands.SUBMIT(organization=7, at="now", rows=rows, keyed=keyed),
        commands.SUBMITTED(organization=7, rows=rows),
        queries_sql.TASK(task=42, organization=None),
        queries_sql.EXECUTIONS(task=42),
        queries_sql.LIST(organization=7, before=NEVER, **every, size=5, most=6),
        queries_sql.LIST(organization=7, before=NEVER, **waiting, size=5, most=100),
        queries_sql.LIST_ALL(before=NEVER, **every, size=5, most=6),
        queries_sql.READ(organization=7, before=NEVER, most=100),
        queries_sql.COUNTS_ALL(most=100),
        *(costs(before=NEVER, most=100, since=None) for costs in queries_sql.COSTS_ALL.values()),
        *of_organization(8),
        commands.CANCEL(task=42, organization=None, reason="r", at="now"),
        commands.CANCEL_CALLS(task=42, organization=None),
        people.NOTE_ACCEPTED(execution=execution_id(42, 1), note="n"),
        webhooks.WAKE(profile="echo", execution=None, external="unknown", event="e"),
        webhooks.UNHANDLED(execution=execution_id(42, 1), profile="echo", external="x"),
    ]


def of_organization(organization: int) -> list[Statement]:
    """What callers read of one organization, at most three tasks.  The rows of others must not add to the cost."""
    place, page = {"organization": organization}, {"rank": -1, "after": 0, "size": 10}
    whole = {**place, "before": NEVER, "most": 3}
    return [
        queries_sql.INBOX(**place, **page, user=None),
        queries_sql.INBOX_SIZE(**place, user=None),
        queries_sql.COUNTS(**place, most=3),
        queries_sql.LIST(**whole, **dict.fromkeys(queries_sql.FILTERED) | {"status": "failed"}, size=5),
        *(costs(**whole, since=None) for costs in queries_sql.COSTS.values()),
        queries_sql.TEMPLATES(**place, name=None, size=10),
        queries_sql.ORGANIZATION(**place, name=None),
        commands.USERS_NAMED(**place, names='["a@b.c"]'),
        commands.ORGANIZATIONS_NAMED(names='["eight"]'),
        admin.CREATE_ORGANIZATION(name="eight", at="now"),
        admin.CREATE_USER(**place, email="a@b.c", name="n", role="member", at="now"),
    ]


# --- the same cost for few and many rows --------------------------------------------------------------------


@pytest.mark.parametrize("now", NOW.values(), ids=NOW.keys())
def test_a_claim_costs_the_same_in_a_large_database(pair: list[SqliteDatabase], now: int) -> None:
    small, large = (steps(made, a_claim(now)) for made in pair)
    same(small, large)
    assert sum(large) / CLAIMED <= STEPS_PER_TASK


def test_a_run_costs_the_same_in_a_large_database(pair: list[SqliteDatabase]) -> None:
    found = []
    for made in pair:
        on_sqlite(made).run(
            "INSERT INTO budgets (id, organization_id, scope, scope_id, period, cap_micro)"
            " VALUES (1, 1, 'task', 1, 'total', 1000000)"
        )
        token = f"run {next(_numbers)}"
        made.run(a_claim(NOW["all are due"], token))
        found.append(steps(made, a_run(made, token)))
        done = on_sqlite(made).run(
            "SELECT id FROM task_executions WHERE id % 1024 = 2 AND status = 'succeeded'"
        )
        assert len(done) >= CLAIMED
    same(*found)


def test_a_sweep_costs_the_same_in_a_large_database(pair: list[SqliteDatabase]) -> None:
    """One expired lease with lost calls, deadlines, and a budget with room, among many rows without work."""
    now = NOW["all are due"]
    found = []
    for made in pair:
        sql = on_sqlite(made)
        made.run(a_claim(now))
        sql.run("UPDATE leases SET until_ms = 5")
        (row,) = sql.run("SELECT token, task_ids FROM leases ORDER BY token DESC LIMIT 1")
        for task in json.loads(row["task_ids"])[:3]:
            sql.new_execution(task, 9, status="running", lease=row["token"])
        sql.run("UPDATE tasks SET deadline_ms = 1 WHERE id IN (13, 14)")
        duties = [
            sweep.repair_leases(now),
            sweep.raise_ranks(now),
            sweep.end_overdue(now),
            sweep.unblock(now),
            sweep.alert(now),
        ]
        statements = [statement for duty in duties for statement in duty]
        found.append(steps(made, [*statements, sweep_sql.DUE(now=now, most=100)]))
        assert sql.run("SELECT * FROM leases") == []
        assert sql.value("SELECT count(*) FROM task_executions WHERE reason = 'worker_lost'") >= 3
    same(*found)


def test_a_request_costs_the_same_in_a_large_database(pair: list[SqliteDatabase]) -> None:
    found = []
    for made in pair:
        sql = on_sqlite(made)
        sql.run("INSERT INTO organizations (id, name) VALUES (7, 'seven')")
        template = sql.insert("task_templates", organization_id=7, name="template", route="{}")
        sql.run("INSERT INTO organizations (id, name) VALUES (8, 'eight')")
        for _ in range(6):
            sql.new_task(organization_id=7, template_id=template)
            sql.new_task(organization_id=8, template_id=template, status="waiting")
        found.append(steps(made, requests(template)))
    same(*found)


def test_the_doctor_reads_no_more_than_it_counts(pair: list[SqliteDatabase]) -> None:
    """In a large database, counting stops at ten thousand rows of each kind."""
    asked = [statement for statement, _ in doctor.questions(NOW["all are due"], ["echo"])]
    assert sum(steps(pair[1], asked)) < 40 * doctor.MAX_COUNTED


async def test_the_doctors_queries_run_on_both_engines(sql: Sql) -> None:
    """Each answer becomes a finding."""
    asked = doctor.questions(NOW["all are due"], ["echo"])
    answers = sql.send(*(statement for statement, _ in asked))
    found = [finding for (_, judge), rows in zip(asked, answers, strict=True) for finding in judge(rows)]
    assert len(found) >= len(asked)
    assert {finding.level for finding in found} == {"ok"}
    assert await check.broken(cast("Database", _AsPort(sql)), FakeEntropy()) == []


class _AsPort:
    """The worker's port on a database of a test."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        return [Result(rows) for rows in self._sql.send(*statements)]


# --- fairness ------------------------------------------------------------------------------------------------


def test_every_organization_is_reached_behind_a_large_one() -> None:
    """Behind a large organization, a claim reads a few others from a random place on; in time it reaches all."""
    made = SqliteDatabase(":memory:")
    apply(made, MIGRATIONS)
    sql = on_sqlite(made)
    crowd, busy, far = (
        [(1, 1_000, 1)],
        [(n, 30, 900) for n in range(2, 60)],
        [(n, 1, 500) for n in range(60, 120)],
    )
    for organization, count, run_at in crowd + busy + far:
        for _ in range(count):
            sql.new_task(organization_id=organization, run_at_ms=run_at, template_id=None)
    piece = _Piece()
    for draw in range(100):
        piece.entropy = FakeEntropy(value=draw * 0.618034 % 1)
        made.run(claim_statements(cast("World", piece), f"token {next(_numbers)}", START)[:2])
    left = sql.run(
        "SELECT DISTINCT organization_id FROM tasks WHERE organization_id >= 60 AND status = 'pending'"
    )
    assert left == []
    assert sql.value("SELECT count(*) FROM tasks WHERE organization_id = 1 AND status = 'running'") == 100
    made.close()
