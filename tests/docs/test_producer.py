"""The TypeScript side of examples/producer: what Drizzle writes and reads, and what its tool does to our tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.core.template import Route
from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from consumer.ports import Refused, Statement
from scripts import first_key
from scripts.stage import ROOT, shipped
from tests.support.ports import FakeClock, FakeEntropy
from tests.support.scene import Suite, ai, route
from tests.workerd import pytest_inside
from tests.workerd.archives import packages
from tests.workerd.configuration import Configuration
from tests.workerd.deployed import eventually
from tests.workerd.harness import Workerd
from tests.workerd.replies import Reply
from tests.workerd.toolchain import MissingToolError, Toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consumer.ports import Database
    from tests.support.scene import Scene

EXAMPLE = ROOT / "examples" / "producer"
MIGRATIONS = ROOT / "migrations"
PUBLIC = MIGRATIONS / "0001_public_tables.sql"
TABLES = dict(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) (\(.*?\n\));", PUBLIC.read_text(), re.DOTALL))
"""The public tables: the columns of each, as SQL."""

needs_node = [pytest.mark.workerd, pytest.mark.xdist_group("producer")]


def columns(table: str) -> list[str]:
    return re.findall(r"^  (\w+) ", TABLES[table], re.MULTILINE)


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """Node and the npm packages.  Without them: skipped on a laptop, failed in CI."""
    try:
        found = Toolchain.find()
    except MissingToolError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the example: {error}", pytrace=False)
        pytest.skip(str(error))
    for package in ("drizzle-orm", "typescript", "@cloudflare/workers-types"):
        assert (found.node_modules / package).is_dir(), f"{package} is missing: run `make setup`"
    return found


def run(toolchain: Toolchain, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Run Node, offline and without telling anybody."""
    quiet = {"CI": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_WRITE_LOGS": "false", "NO_COLOR": "1"}
    command = [str(toolchain.node), *map(str, arguments)]
    environment = os.environ | quiet
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------ the source


@pytest.mark.workerd
def test_the_example_is_type_checked(toolchain: Toolchain) -> None:
    run(toolchain, toolchain.node_modules / "typescript" / "bin" / "tsc", "--strict", "--project", EXAMPLE)


SHAPE = """
import { getTableConfig } from "drizzle-orm/sqlite-core";
import * as schema from "./examples/producer/schema.ts";
const tables = Object.values(schema).filter((value) => typeof value === "object" && !Array.isArray(value));
const shapes = tables.map(getTableConfig).map(({ name, columns }) => [name, columns.map((column) => column.name)]);
const states = [schema.TASK_STATES, schema.EXECUTION_STATES];
console.log(JSON.stringify({ tables: Object.fromEntries(shapes), states }));
"""


@pytest.mark.workerd
def test_the_schema_is_the_public_tables_and_nothing_else(toolchain: Toolchain) -> None:
    shape = json.loads(run(toolchain, "--input-type=module", "--eval", SHAPE))
    assert shape["tables"] == {table: columns(table) for table in TABLES}
    assert shape["states"] == [list(TaskState), list(ExecutionState)]


# ------------------------------------------------------------------------ the two sides, in one runtime

KEY, KEY_SQL = first_key.create("of the web application", "member", FakeEntropy(), 1)
"""An API key of the example, and the statements that make it known."""

BESIDE = """
// The Miniflare that the harness asks for, with one more Worker in it: the same stores, the same queue.
const real = require({real});
exports.Log = real.Log;
exports.LogLevel = real.LogLevel;
exports.Miniflare = class extends real.Miniflare {{
  constructor(options) {{
    super({{ ...options, workers: [...options.workers, {worker}] }});
  }}
}};
"""


def beside(toolchain: Toolchain, directory: Path) -> Toolchain:
    """A toolchain in whose runtime the example runs beside the Worker, built as it would be deployed."""
    secrets = {"BIZQ_KEY": {"type": "text", "value": KEY}}
    wrangler = toolchain.node_modules / "wrangler" / "bin" / "wrangler.js"
    built, modules = directory / "built", directory / "node_modules"
    run(toolchain, wrangler, "deploy", "--dry-run", "--outdir", built, cwd=EXAMPLE)
    deployment = Configuration.read(EXAMPLE / "wrangler.toml")
    source = {"worker.js": {"type": "esm", "contents": (built / "worker.js").read_text()}}
    worker = {
        "config": {
            "name": "producer",
            "compatibilityDate": deployment.compatibility_date,
            "manifest": {"mainModule": "worker.js", "modulesRoot": str(built), "modules": source},
            "env": {**deployment.environment, "TASKS": {"type": "worker", "worker": "worker"}, **secrets},
            "triggers": [{"type": "fetch", "pattern": "producer.test/*"}],
        },
        "dev": {"rootPath": str(built), "unsafeRegisterWorker": False},
    }
    (modules / "miniflare").mkdir(parents=True)
    (modules / "pyodide").symlink_to(toolchain.node_modules.resolve() / "pyodide")
    real = json.dumps(str(toolchain.node_modules.resolve() / "miniflare"))
    (modules / "miniflare" / "package.json").write_text('{"name": "miniflare", "main": "index.cjs"}')
    (modules / "miniflare" / "index.cjs").write_text(BESIDE.format(real=real, worker=json.dumps(worker)))
    return Toolchain(toolchain.node, modules)


class Producer:
    """The example, next to the Worker that it works with."""

    def __init__(self, worker: Workerd) -> None:
        self.worker = worker
        worker.database("DB").migrate(MIGRATIONS)
        self.sql("INSERT INTO organizations (id, name) VALUES (1, 'of the web application')")
        for statement in KEY_SQL.splitlines():
            self.sql(statement)

    def sql(self, text: str, *parameters: object) -> list[dict[str, Any]]:
        return self.worker.database("DB").run(text, *parameters)

    def template(self, **settings: object) -> int:
        stages = route(ai("echo", **settings))
        Route.model_validate(stages)
        (row,) = self.sql(
            "INSERT INTO task_templates (organization_id, name, output_schema, route)"
            " VALUES (1, 'echo', '{}', ?1) RETURNING id",
            json.dumps(stages),
        )
        return int(row["id"])

    def fetch(self, method: str, path: str, body: object = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        return self.worker.fetch(method, f"http://producer.test{path}", body=data)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        reply = self.fetch(method, path, body)
        assert reply.status < 300, reply.text
        return reply.json()

    def submit(self, **task: object) -> int:
        return int(self.ask("POST", "/tasks", {"title": "A task", **task})["id"])

    def until(self, task: int, status: str, view: str = "") -> Any:
        """What the example shows of a task once it stands so."""

        def look() -> Any:
            found = self.ask("GET", f"/tasks/{task}{view}")
            return found if found and found["status"] == status else None

        return eventually(look)


@pytest.fixture(scope="module")
def producer(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Producer]:
    both = beside(toolchain, tmp_path_factory.mktemp("producer"))
    deployment = Configuration.read(ROOT / "wrangler.toml").with_variables(
        LINK_SECRET="the secret of the links of the tests"
    )
    with Workerd(shipped(), packages(pytest_inside.WORKER_LOCK), deployment, toolchain=both) as running:
        yield Producer(running)


class TestBesideTheWorker:
    """Drizzle inserts, the Python Worker gets the doorbell and claims, the example reads: real D1, KV, R2, queue."""

    pytestmark = needs_node

    def test_a_task_that_drizzle_inserts_is_claimed_and_its_outcome_read(self, producer: Producer) -> None:
        template = producer.template(output={"answer": "yes"}, charge="0.25")
        task = producer.submit(templateId=template)
        found = producer.until(task, "completed")
        assert found == {
            "status": "completed",
            "answer": {"answer": "yes"},
            "cost": 0.25,
            "costIsPartial": False,
        }

    def test_a_task_with_an_input_goes_through_the_api_which_checks_it(self, producer: Producer) -> None:
        value = json.loads((EXAMPLE / "greeting.json").read_text())
        producer.sql(
            "INSERT INTO task_templates (organization_id, name, prompt, input_schema, output_schema, route)"
            " VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            *(value["name"], value["prompt"]),
            *(json.dumps(value[part]) for part in ("input_schema", "output_schema", "route")),
        )
        task = {"template": value["name"], "title": "Greet Ada", "idempotency_key": "greet-ada"}

        made = [producer.submit(**task, input={"name": "Ada"}) for _ in range(2)]
        refused = producer.fetch(
            "POST", "/tasks", {**task, "idempotency_key": "other", "input": {"nom": "Ada"}}
        )

        assert made[0] == made[1], "the same key is the same task"
        assert producer.until(made[0], "completed")["answer"] == {"name": "Ada"}
        assert (refused.status, refused.json()["errors"][0]["field"]) == (422, "input")

    def test_the_live_status_is_read_once_for_each_version(self, producer: Producer) -> None:
        task = producer.submit(templateId=producer.template())
        live = producer.until(task, "completed", "/status")  # published after the row has it
        assert (live["task"], live["organization"]) == (task, 1)
        assert producer.ask("GET", f"/tasks/{task}/status?seen={live['version'] - 1}") == live
        assert producer.ask("GET", f"/tasks/{task}/status?seen={live['version']}") is None

    def test_a_status_older_than_what_was_shown_is_dropped(self, producer: Producer) -> None:
        """What another place of the status store still has."""
        task = producer.submit(templateId=producer.template())
        (row,) = producer.sql("SELECT identity FROM tasks WHERE id = ?1", task)
        older = json.dumps({"task": task, "status": "running", "version": 0})
        producer.worker.kv("STATUS", "put", f"status:{task}:{row['identity']}", older)
        assert producer.ask("GET", f"/tasks/{task}/status?seen=1000") is None

    def test_a_large_answer_is_read_from_where_it_lies(self, producer: Producer) -> None:
        answer = {"text": "x" * 70_000}
        task = producer.submit(templateId=producer.template(output=answer))
        assert producer.until(task, "completed")["answer"] == answer
        (row,) = producer.sql("SELECT result, result_key FROM task_executions WHERE task_id = ?1", task)
        assert (row["result"], bool(row["result_key"])) == (None, True)

    def test_a_waiting_task_is_cancelled_once(self, producer: Producer) -> None:
        """The application only writes the status; the worker notices, and publishes it."""
        task = producer.submit(templateId=producer.template(asynchronous=True, check_after_ms=None))
        producer.until(task, "waiting")
        assert producer.ask("DELETE", f"/tasks/{task}") == {"cancelled": True}
        assert producer.ask("DELETE", f"/tasks/{task}") == {"cancelled": False}
        assert producer.until(task, "cancelled")["answer"] is None
        assert producer.until(task, "cancelled", "/status")["task"] == task

    def test_a_task_without_a_route_says_why_it_waits(self, producer: Producer) -> None:
        (row,) = producer.sql(
            "INSERT INTO task_templates (organization_id, name) VALUES (1, 'bare') RETURNING id"
        )
        task = producer.submit(templateId=row["id"])
        (found,) = producer.sql("SELECT status, blocked_by FROM tasks WHERE id = ?1", task)
        assert found == {"status": "pending", "blocked_by": f"no_route:{row['id']}"}


# --------------------------------------------------------------------------- unset columns, in Drizzle's way

CARELESS = """
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import * as schema from "./examples/producer/schema.ts";
const values = { templateId: 1, title: "A task" };
// As a tool writes it down that was shown the database, worker's columns and all, and without its defaults.
const shown = {
  id: integer("id").primaryKey(), templateId: integer("template_id"), title: text("title").notNull(),
  description: text("description"), priority: text("priority"), assignedTo: integer("assigned_to"),
  createdBy: integer("created_by"), dueDate: text("due_date"), organizationId: integer("organization_id"),
  blockedBy: text("blocked_by"), raiseAtMs: integer("raise_at_ms"), deadlineMs: integer("deadline_ms"),
  lease: text("lease"), replaces: integer("replaces"), fedBy: integer("input_from"), feedback: text("feedback"),
  lastExecution: integer("last_execution"), reason: text("reason"), input: text("input"),
  idempotencyKey: text("idempotency_key"), retryOf: integer("retry_of"),
  rank: integer("rank").generatedAlwaysAs(sql`0`),
};
const known = { ...shown, version: integer("version") };
const [careless, broken] = [sqliteTable("tasks", shown), sqliteTable("tasks", known)];
const db = drizzle(async () => ({ rows: [] }));
console.log(JSON.stringify([schema.tasks, careless, broken].map((table) => db.insert(table).values(values).toSQL())));
"""


@pytest.fixture(scope="module")
def inserts(toolchain: Toolchain) -> list[dict[str, Any]]:
    """Drizzle's INSERT of one task that has a template and a title, for three schemas."""
    statements: list[dict[str, Any]] = json.loads(run(toolchain, "--input-type=module", "--eval", CARELESS))
    return statements


class Local(Suite):
    """The worker on this machine."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[SqliteDatabase]:
        made = SqliteDatabase(tmp_path / "tasks.sqlite3")
        apply(made, MIGRATIONS)
        yield made
        made.close()

    @pytest.fixture
    def kv(self, tmp_path: Path) -> Iterator[SqliteKeyValue]:
        made = SqliteKeyValue(tmp_path / "kv.sqlite3", FakeClock())
        yield made
        made.close()

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FileBlobs:
        return FileBlobs(tmp_path / "blobs", fsync=False)


class TestUnsetColumns(Local):
    """Drizzle leaves no column out that it knows."""

    pytestmark = pytest.mark.workerd

    @pytest.mark.parametrize("schema", [0, 1], ids=["of the example", "without defaults"])
    async def test_null_for_every_unset_column_is_a_task_like_any_other(
        self, scene: Scene, inserts: list[dict[str, Any]], schema: int
    ) -> None:
        insert = inserts[schema]
        assert "null" in insert["sql"], "Drizzle sends NULL no more: this test shows nothing"
        await scene.organization(1)
        await scene.template(route(ai("echo", output={"answer": "yes"})))
        await scene.sql(insert["sql"], *insert["params"])
        (row,) = await scene.sql("SELECT * FROM tasks")
        assert (row["status"], row["organization_id"], row["rank"], row["blocked_by"]) == (
            "pending",
            1,
            2,
            None,
        )
        await scene.ring()
        (row,) = await scene.sql("SELECT * FROM tasks")
        assert row["status"] == "completed"

    async def test_null_where_the_worker_counts_is_refused_aloud(
        self, database: Database, inserts: list[dict[str, Any]]
    ) -> None:
        """A silent one would be a task that no fence protects."""
        with pytest.raises(Refused, match=r"NOT NULL constraint failed: tasks\.version"):
            await database.batch([Statement(inserts[2]["sql"], tuple(inserts[2]["params"]))])
