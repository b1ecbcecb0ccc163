"""Runs the commands of docs/deploy.md and docs/operations.md that need no account, exactly as the pages have them.

A block `sh offline` runs in a copy of the checkout, with `--local` in place of `--remote` and a dry run in place of
a deployment.  A block `sh api` runs against the Worker in workerd.  A block `toml offline` replaces the last two tables
of wrangler.toml, [secrets] and [vars].
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tomllib
import zipfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from consumer.core.profile import accounts, secrets_named
from consumer.core.strictjson import dump_json, parse_json
from consumer.service.keys import hash_key
from consumer.store import installation
from providers import PROVIDERS
from scripts import bundle, first_key
from scripts.stage import ROOT, shipped
from tests.support.documents import DEPLOY, FENCE, OPERATIONS, blocks, rehearsed, sections, shell
from tests.support.ports import FakeEntropy
from tests.workerd import pytest_inside
from tests.workerd.archives import packages
from tests.workerd.configuration import Configuration, Options
from tests.workerd.deployed import eventually
from tests.workerd.harness import Workerd
from tests.workerd.tables import split_statements
from tests.workerd.toolchain import MissingToolError, Toolchain

WALKED = {
    "wrangler dev",
    "2. Tables",
    "3. Accounts with providers",
    "4. Secrets, and the Worker itself",
    "5. The first organization and its key",
    "6. The first task",
    "Adopt the tasks of an existing database",
    "Export and restore",
    "Rotate keys",
    "Stop all spending",
    "Hold some of the work",
    "The schema is broken",
    "Dead letters",
    "Look at a copy",
}
"""The sections whose blocks the tests below run."""

ROUTE = '{"stages": [{"kind": "ai", "candidates": [{"profile": "echo"}]}]}'


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of the files that a deployment needs, with a database of its own."""

    root: Path
    wrangler: str
    """The command that starts wrangler without npx, because npx takes as long as wrangler itself."""

    def run(self, block: str) -> str:
        """Rehearse a block and return its output."""
        return shell(rehearsed(block).replace("npx wrangler", self.wrangler), self.root)

    def walk(self, document: Path, section: str) -> str:
        """Rehearse the blocks of a section and return their output."""
        return "".join(self.run(block) for block in blocks(document, section))

    def sql(self, text: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement on wrangler's local database."""
        state = self.root / ".wrangler" / "state" / "v3" / "d1"
        (file,) = [path for path in state.rglob("*.sqlite") if path.stem != "metadata"]
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA foreign_keys = ON")
            return [dict(row) for row in database.execute(text, parameters)]

    def add_tasks(self, *titles: str) -> None:
        """Insert an organization with pending tasks."""
        self.sql("INSERT INTO organizations (id, name) VALUES (1, 'one')")
        self.sql("INSERT INTO task_templates (id, organization_id, name, route) VALUES (1, 1, 't', ?)", ROUTE)
        for title in titles:
            self.sql("INSERT INTO tasks (template_id, title) VALUES (1, ?)", title)


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """Node and the npm packages.  If they are missing, the tests are skipped on a laptop and fail in CI."""
    try:
        return Toolchain.find()
    except MissingToolError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the commands of the pages: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bare(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout without a database."""
    directory = tmp_path_factory.mktemp("deploy")
    root, modules = directory / "checkout", directory / "python_modules"
    for name in ("consumer", "providers", "scripts", "migrations", "requirements"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("wrangler.toml", "pyproject.toml", "package.json"):
        shutil.copy(ROOT / name, root)
    with zipfile.ZipFile(packages(pytest_inside.WORKER_LOCK)) as archive:
        archive.extractall(modules)
    (root / "python_modules").symlink_to(modules)
    (root / "node_modules").symlink_to(toolchain.node_modules.resolve())
    return Checkout(root, f"'{toolchain.node}' node_modules/wrangler/bin/wrangler.js")


@pytest.fixture(scope="module")
def migrated(bare: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the tables of step 2."""
    copy = copied(bare, tmp_path_factory.mktemp("migrated"))
    copy.walk(DEPLOY, "2. Tables")
    return copy


@pytest.fixture
def checkout(migrated: Checkout, tmp_path: Path) -> Checkout:
    return copied(migrated, tmp_path)


def copied(checkout: Checkout, to: Path) -> Checkout:
    return replace(checkout, root=Path(shutil.copytree(checkout.root, to / "checkout", symlinks=True)))


# ------------------------------------------------------------------------------------------ the documents


@pytest.mark.parametrize("document", [DEPLOY, OPERATIONS], ids=lambda path: path.stem)
def test_every_marked_block_is_run_by_a_test(document: Path) -> None:
    marked = {title for title, text in sections(document).items() if FENCE.search(text)}
    assert marked - WALKED == set()


def test_a_first_key_is_quoted_and_an_operators_has_no_organization() -> None:
    _, sql = first_key.create("O'Hara", "member", FakeEntropy(), 1)
    assert "'O''Hara'" in sql
    _, sql = first_key.create(None, "operator", FakeEntropy(), 1)
    assert "organizations" not in sql
    with pytest.raises(ValueError, match="NUL"):
        first_key.create("a\0b", "member", FakeEntropy(), 1)


@pytest.mark.parametrize("arguments", [[], ["one", "--role", "operator"], ["one", "--role", "chief"]])
def test_a_key_that_could_not_be_used_is_not_created(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        first_key.main(arguments)
    assert capsys.readouterr().out == ""


# --------------------------------------------------------------------------------------------- the steps


@pytest.mark.heavy
@pytest.mark.workerd
@pytest.mark.xdist_group("deploy-steps")
class TestSteps:
    """One test for each step, each with a migrated database of its own."""

    def test_the_accounts_fit_their_providers_and_the_worker_is_built(self, checkout: Checkout) -> None:
        (shown,) = blocks(DEPLOY, "3. Accounts with providers", "toml offline")
        profiles = parse_json(tomllib.loads(shown)["vars"]["PROFILES"])
        secrets = dict.fromkeys(secrets_named(profiles), "a secret")
        for account in accounts(profiles, secrets).values():
            PROVIDERS[account.profile.provider].check(account)
        configuration = checkout.root / "wrangler.toml"
        head, last_tables, _ = configuration.read_text().partition("[secrets]\n")
        assert last_tables
        configuration.write_text(head + shown)
        output = checkout.walk(DEPLOY, "4. Secrets, and the Worker itself")
        assert all(
            f"env.{name}" in output
            for name in ("DB", "STATUS", "BLOBS", "DOORBELLS", "PUBLIC_URL", "LINK_SECRET")
        )
        assert not (checkout.root.parent / "bizq-secrets.env").exists()

    def test_pywrangler_uploads_what_make_bundle_installed(self, checkout: Checkout) -> None:
        bundle.mark_synced(checkout.root)
        output = checkout.run("pywrangler deploy --outdir dist")
        assert "npx wrangler: npx --yes wrangler deploy --dry-run" in output
        assert bundle.bundled(checkout.root / "dist") == set(shipped())
        assert (checkout.root / "dist" / "python_modules" / "workers" / "__init__.py").is_file()
        assert not (checkout.root / "pylock.toml").exists(), "pywrangler must not resolve the packages again"

    def test_the_development_server_finds_a_secret_tables_and_a_key(self, checkout: Checkout) -> None:
        checkout.walk(DEPLOY, "wrangler dev")
        secrets = checkout.root / ".dev.vars"
        assert re.fullmatch(r"LINK_SECRET=\S{43}\n", secrets.read_text())
        assert secrets.stat().st_mode & 0o077 == 0
        assert secrets.name in (ROOT / ".gitignore").read_text().split()
        assert checkout.sql("SELECT role FROM api_keys") == [{"role": "admin"}]

    def test_the_first_key_belongs_to_the_first_organization(self, checkout: Checkout) -> None:
        output = checkout.walk(DEPLOY, "5. The first organization and its key")
        found = re.search(r"bizq_(\w+)_(\w+)", output)
        assert found
        (key,) = checkout.sql(
            "SELECT hash, role, (SELECT name FROM organizations WHERE id = organization_id) AS name"
            " FROM api_keys WHERE id = ?",
            found[1],
        )
        assert key == {"hash": hash_key(found[2]), "name": "My company", "role": "admin"}
        assert checkout.sql("SELECT organization_id, name FROM users") == [
            {"organization_id": 1, "name": "Ada"}
        ]
        checkout.run(blocks(DEPLOY, "5. The first organization and its key")[0])
        counts = checkout.sql(
            "SELECT (SELECT count(*) FROM organizations) AS o, (SELECT count(*) FROM api_keys) AS k"
        )
        assert counts == [{"o": 1, "k": 2}], "a second key must belong to the same organization"

    def test_a_key_is_revoked(self, checkout: Checkout) -> None:
        checkout.sql(
            "INSERT INTO api_keys (id, hash, role, created_ms) VALUES ('0123456789ab', '', 'operator', 1)"
        )
        checkout.walk(DEPLOY, "Rotate keys")
        (key,) = checkout.sql("SELECT revoked_ms FROM api_keys")
        assert key["revoked_ms"] > 1

    def test_all_spending_stops_and_resumes(self, checkout: Checkout) -> None:
        stop, resume = blocks(DEPLOY, "Stop all spending")
        checkout.run(stop)
        assert checkout.sql("SELECT reason FROM stops") == [{"reason": "a runaway loop"}]
        checkout.run(resume)
        assert checkout.sql("SELECT reason FROM stops") == []

    def test_some_of_the_work_is_held_and_released(self, checkout: Checkout) -> None:
        checkout.add_tasks("due", "scheduled")
        checkout.sql("UPDATE tasks SET run_at_ms = 9007199254740000 WHERE title = 'scheduled'")
        hold, release = blocks(DEPLOY, "Hold some of the work")
        before = checkout.sql("SELECT title, run_at_ms > 0 AS timed, blocked_by FROM tasks")
        checkout.run(hold)
        assert checkout.sql(
            "SELECT title FROM tasks WHERE blocked_by = 'stopped' AND run_at_ms = 9007199254740990"
        ) == [{"title": "due"}]
        checkout.run(release)
        assert [row["blocked_by"] for row in checkout.sql("SELECT blocked_by FROM tasks")] == [None] * len(
            before
        )

    def test_a_backup_fills_an_empty_database(self, checkout: Checkout) -> None:
        """The largest rows that the worker writes: inputs, answers while R2 is away, webhooks."""
        checkout.add_tasks("one", "two")
        checkout.sql("UPDATE tasks SET input = ? WHERE id = 1", dump_json({"text": "it's\n" * 50_000}))
        answer = dump_json({"text": "\U0001f9e0" * 480_000})
        checkout.sql(
            "INSERT INTO task_executions (task_id, execution_type, result) VALUES (1, 'ai', ?)", answer
        )
        checkout.sql(
            "INSERT INTO webhooks (profile, event_id, received_ms, body) VALUES ('p', 'e', 1, ?)",
            "w;" * 500_000,
        )
        export, restore = blocks(DEPLOY, "Export and restore")
        checkout.run(export)
        everything_else = [checkout.sql(f"SELECT * FROM {name}") for name in ("task_executions", "webhooks")]
        everything = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '_cf%' ORDER BY 2, 1"
        before = (
            checkout.sql(everything),
            checkout.sql("SELECT * FROM tasks"),
            checkout.sql("SELECT * FROM d1_migrations"),
        )
        shutil.rmtree(checkout.root / ".wrangler")
        checkout.run(restore.replace("bizq-restored", "bizq"))
        assert everything_else == [
            checkout.sql(f"SELECT * FROM {name}") for name in ("task_executions", "webhooks")
        ]
        after = (
            checkout.sql(everything),
            checkout.sql("SELECT * FROM tasks"),
            checkout.sql("SELECT * FROM d1_migrations"),
        )
        assert after == before

    def test_dead_letters_are_read_and_cleared(self, checkout: Checkout) -> None:
        checkout.sql("INSERT INTO dead_letters VALUES ('m', 1, 'of a test', 'x')")
        read, clear = blocks(OPERATIONS, "Dead letters")
        assert "of a test" in checkout.run(read)
        checkout.run(clear)
        assert checkout.sql("SELECT * FROM dead_letters") == []

    def test_a_broken_schema_is_repaired(self, checkout: Checkout) -> None:
        rules = "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY 1"
        complete = checkout.sql(rules)
        checkout.sql("DROP TRIGGER executions_admission")
        checkout.sql("DROP INDEX tasks_due")
        checkout.walk(OPERATIONS, "The schema is broken")
        assert checkout.sql(rules) == complete

    def test_the_doctor_checks_a_copy(self, checkout: Checkout) -> None:
        checkout.add_tasks("one")
        checkout.walk(OPERATIONS, "Look at a copy")
        assert "the schema is complete" in checkout.run("bizq doctor --data ../copy")


# A database as an ORM creates it: other types and quotes, none of our defaults, and some rows.
OLD = """
CREATE TABLE `organizations` (`id` integer PRIMARY KEY NOT NULL, `name` text NOT NULL, `created_at` text);
CREATE TABLE `users` (`id` integer PRIMARY KEY NOT NULL, `organization_id` integer, `email` text NOT NULL, `name` text,
  `role` text, `created_at` text, FOREIGN KEY (`organization_id`) REFERENCES `organizations`(`id`));
CREATE TABLE `task_templates` (`id` integer PRIMARY KEY NOT NULL, `organization_id` integer, `name` text NOT NULL,
  `description` text, `category` text, `estimated_duration` integer, `created_by` integer, `created_at` text);
CREATE TABLE `tasks` (`id` integer PRIMARY KEY NOT NULL, `template_id` integer, `title` text NOT NULL,
  `description` text, `status` text DEFAULT 'pending', `priority` text DEFAULT 'medium', `assigned_to` integer,
  `created_by` integer, `due_date` text, `created_at` text, `updated_at` text);
CREATE TABLE `task_executions` (`id` integer PRIMARY KEY NOT NULL, `task_id` integer NOT NULL,
  `execution_type` text NOT NULL, `provider` text, `cost` real, `started_at` text, `completed_at` text,
  `status` text DEFAULT 'running', `result` text, FOREIGN KEY (`task_id`) REFERENCES `tasks`(`id`));
INSERT INTO organizations (id, name) VALUES (1, 'old');
INSERT INTO task_templates (id, organization_id, name) VALUES (1, 1, 'with a route soon'), (2, 1, 'without');
INSERT INTO tasks (template_id, title, status) VALUES (1, 'a', 'pending'), (2, 'b', 'pending'), (1, 'c', 'completed');
"""


@pytest.mark.heavy
@pytest.mark.workerd
@pytest.mark.xdist_group("deploy-steps")
def test_the_tasks_of_an_existing_database_are_adopted(bare: Checkout, tmp_path: Path) -> None:
    checkout = copied(bare, tmp_path)
    (tmp_path / "old.sql").write_text(OLD)
    checkout.run("npx wrangler d1 execute bizq --local --file ../old.sql")
    checkout.walk(DEPLOY, "2. Tables")
    blocked = "SELECT title, blocked_by FROM tasks ORDER BY id"
    for part in installation.part():  # the deployed Worker's cron sends these
        checkout.sql(part.sql, *part.parameters)
    assert [row["blocked_by"] for row in checkout.sql(blocked)] == ["adopt", "adopt", None]
    checkout.sql("UPDATE task_templates SET route = ? WHERE id = 1", ROUTE)
    checkout.walk(DEPLOY, "Adopt the tasks of an existing database")
    assert [row["blocked_by"] for row in checkout.sql(blocked)] == [None, "adopt", None]
    (due,) = checkout.sql("SELECT run_at_ms FROM tasks WHERE title = 'a'")
    assert due == {"run_at_ms": 0}


@pytest.mark.heavy
@pytest.mark.workerd
@pytest.mark.xdist_group("deploy-steps")
def test_the_first_task_is_executed(toolchain: Toolchain, tmp_path: Path) -> None:
    """The Worker in workerd executes a task that is submitted over HTTP with the key of step 5."""
    if shutil.which("curl") is None:
        pytest.skip("the page calls the API with curl, which is not installed here")
    key, sql = first_key.create("My company", "admin", FakeEntropy(), 1)
    deployment = Configuration.read(ROOT / "wrangler.toml").with_variables(
        LINK_SECRET="the secret of the links of the tests"
    )
    site, options = packages(pytest_inside.WORKER_LOCK), Options(intercept=False)
    with Workerd(shipped(), site, deployment, toolchain=toolchain, options=options) as worker:
        worker.database("DB").migrate(ROOT / "migrations")
        worker.database("DB").batch([(statement, ()) for statement in split_statements(sql)])
        script = "\n".join(blocks(DEPLOY, "6. The first task", "sh api"))
        shell(script, tmp_path, {"URL": worker.info["url"].rstrip("/"), "KEY": key, "NO_PROXY": "127.0.0.1"})
        headers = {"authorization": f"Bearer {key}"}

        def completed() -> Any:
            task = worker.fetch("GET", "/v1/tasks/1", headers=headers).json()
            return task if task["status"] == "completed" else None

        assert isinstance(eventually(completed)["outcome"]["greeting"], str)
        (budget,) = worker.fetch("GET", "/v1/budgets", headers=headers).json()["budgets"]
        assert (budget["cap_micro"], budget["period"]) == (10_000_000, "day")
