"""`status` and `watch` answer at once: they import nothing that takes long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.core.snapshot import STALE_MS
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.layout import Layout
from consumer.ports import Statement
from tests.cli.conftest import Cli, submit

HEAVY = {
    "pydantic",
    "httpx2",
    "starlette",
    "uvicorn",
    "genai_prices",
    "structlog",
    "rich",
    "consumer.world",
    "providers",
}
PROBE = """
import json, sys
from consumer.cli.group import bizq
try:
    bizq.main(sys.argv[1:])
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["status", "status 1", "watch 1"])
def test_nothing_heavy_is_imported(cli: Cli, tmp_path: Path, command: str) -> None:
    submit(cli, tmp_path, {"template": "echo-title", "title": "Hello"})
    cli.fine("cancel", "1")
    args = [sys.executable, "-c", PROBE, *command.split(), "--data", str(cli.data)]
    done = subprocess.run(args, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr)
    assert code == int(command == "watch 1")  # it was cancelled, not completed
    assert "cancelled" in done.stdout
    assert HEAVY.isdisjoint(modules)


async def test_the_live_status_is_believed_while_it_is_fresh_or_final(tmp_path: Path) -> None:
    from consumer.cli.live import Reader
    from consumer.core.times import iso
    from consumer.local import migrate

    layout, clock = Layout(tmp_path), SystemClock()
    database = SqliteDatabase(layout.database)
    migrate.apply(database, "migrations")
    database.run(
        [Statement("INSERT INTO tasks (id, title, version) VALUES (1, 'a', 3), (2, 'b', 3), (3, 'c', 3)")]
    )
    status = SqliteKeyValue(layout.status, clock)
    fresh, old = iso(clock.now_ms()), iso(clock.now_ms() - 2 * STALE_MS)
    for task, state, when in ((1, "running", fresh), (2, "running", old), (3, "completed", old)):
        value = {"task": task, "status": state, "version": 2, "profile": None, "updated_at": when}
        await status.put(f"status:{task}", json.dumps(value))
    status.close()
    reader = Reader(tmp_path)
    assert [reader.task(number)["version"] for number in (1, 2, 3)] == [2, 3, 2]
    assert [reader.task(number)["status"] for number in (1, 2, 3)] == ["running", "pending", "completed"]
    reader.close()
    database.close()
