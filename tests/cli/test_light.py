"""A command starts fast, because it imports only the modules that it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumer.cli.group import COMMANDS
from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.ports import Statement
from tests.cli.conftest import ECHO, Cli, lines, submit

CHECKS_VALUES = frozenset({"pydantic", "fastjsonschema"})
"""The modules of a command that checks tasks, a budget or a template from outside."""
USES_PROFILES = CHECKS_VALUES | {"standardwebhooks", "httpx2", "providers"}
"""The modules of a command that reads the profiles, and so imports the adapters."""
HEAVY = USES_PROFILES | {
    "starlette",
    "uvicorn",
    "genai_prices",
    "structlog",
    "rich",
    "consumer.app",
    "consumer.web",
    "consumer.run.run",
}
"""The modules that a command must not import, except those that `allowed` names."""


@dataclass(frozen=True)
class Case:
    """A command, its exit code, and the heavy modules that it needs."""

    command: str
    code: int = 0
    allowed: frozenset[str] = frozenset()


LIGHT = [
    Case("status"),
    Case("status 1"),
    Case("watch 1", code=1),  # the task was cancelled, not completed
    Case("tick"),
    Case("show 1"),
    Case("journal 1"),
    Case("inbox"),
    Case("cost"),
    Case("cancel 1"),
    Case("retry 1"),
    Case("release 1"),
    Case("cancel --status pending --yes", allowed=CHECKS_VALUES),
    Case("adopt"),
    Case("submit TASKS", allowed=CHECKS_VALUES),
    Case("resume"),
    Case("stop reason"),
    Case("org create Oslo"),
    Case("user create a@b.example A"),
    Case("key create"),
    Case("key revoke x", code=1),
    Case("budget put 5", allowed=CHECKS_VALUES),
    Case("template put TEMPLATE", allowed=USES_PROFILES),
    Case("restore --revoke none", allowed=USES_PROFILES),
    Case("doctor", allowed=USES_PROFILES),
]
PROBE = """
import json, sys
from consumer.cli.group import bizq
try:
    bizq.main(sys.argv[1:])
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(sys.modules)]), file=sys.stderr)
"""


def probe(*args: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the modules that its process has imported."""
    command = [sys.executable, "-c", PROBE, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize("case", LIGHT, ids=lambda case: case.command)
def test_a_command_imports_only_what_it_needs(cli: Cli, tmp_path: Path, case: Case) -> None:
    (task,) = submit(cli, tmp_path, {"template": "echo-title", "title": "Hello"})
    cli.fine("cancel", task["id"])
    template = tmp_path / "template.json"
    template.write_text(json.dumps(ECHO))
    files = {"TASKS": str(tmp_path / "tasks.jsonl"), "TEMPLATE": str(template)}
    args = [files.get(word, word) for word in case.command.split()]

    code, modules = probe(*args, "--data", str(cli.data))

    assert code == case.code
    assert modules & (HEAVY - case.allowed) == set()


@pytest.mark.parametrize("case", LIGHT, ids=lambda case: case.command)
def test_a_command_opens_its_data_before_it_imports_anything_heavy(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command starts as fast as `bizq status`: what it checks values with is imported after the start."""
    monkeypatch.delenv("BIZQ_DATA", raising=False)
    template = tmp_path / "template.json"
    template.write_text(json.dumps(ECHO))
    tasks = lines(tmp_path, {"template": "echo-title", "title": "Hello"})
    files = {"TASKS": str(tasks), "TEMPLATE": str(template)}
    args = [files.get(word, word) for word in case.command.split()]

    code, modules = probe(*args, "--data", str(tmp_path / "missing"))

    creates_its_data = case.command.startswith("org create")
    assert code == (0 if creates_its_data else 1)
    assert modules & HEAVY == set()


def test_every_command_has_a_case() -> None:
    without_data = {"providers"}  # it lists the adapters, so it imports each of them
    long_running = {"dev", "demo"}
    assert {case.command.split()[0] for case in LIGHT} == COMMANDS.keys() - without_data - long_running


def test_the_list_of_adapters_imports_the_adapters_and_no_more() -> None:
    code, modules = probe("providers")

    assert code == 0
    assert modules & (HEAVY - USES_PROFILES) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    code, modules = probe(name, "--help")

    assert code == 0
    assert modules & HEAVY == set()


def test_the_status_comes_from_the_database(tmp_path: Path) -> None:
    from consumer.cli.live import Reader
    from consumer.local import migrate

    database = SqliteDatabase(Layout(tmp_path).database)
    migrate.apply(database, "migrations")
    database.run([Statement("INSERT INTO tasks (id, title, version) VALUES (1, 'a', 3)")])
    reader = Reader(tmp_path)
    shown = reader.task(1)
    assert (shown["version"], shown["status"], len(shown["identity"])) == (3, "pending", 16)
    reader.close()
    database.close()
