"""The Worker in workerd for `bizq dev --runtime workerd`: D1, KV and R2 on disk, cron every minute, HTTP on loopback.

One line of JSON on standard input has the settings; one on standard output has the address, or the error.  It ends with
its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from consumer.local import migrate
from consumer.local.clock import SystemClock, SystemEntropy
from consumer.service.keys import hash_key
from scripts.stage import LOCK, shipped
from tests.workerd.archives import ROOT, packages
from tests.workerd.configuration import Configuration, Options
from tests.workerd.harness import Workerd, WorkerdError
from tests.workerd.tables import Tables
from tests.workerd.toolchain import MissingToolError

CRON_S: Final = 60.0
FIRST_ORGANIZATION: Final = "My company"


def main() -> int:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_IGN
        )  # the terminal sends SIGINT to the whole group; the starting process decides
    settings = json.loads(sys.stdin.readline())
    try:
        worker = started(settings)
    except (MissingToolError, WorkerdError, TimeoutError, RuntimeError) as error:
        tell({"error": " ".join(str(error).split()) or type(error).__name__})
        return 1
    try:
        applied = migrated(worker.database("DB"), ROOT / "migrations")
        create_organization(
            worker.database("DB"), {name: Path(file) for name, file in settings["keys"].items()}
        )
        worker.tick()  # work left by an earlier run is due now, not in a minute
        tell({"url": worker.info["url"].rstrip("/"), "pid": worker.pid, "applied": applied})
        sys.stdin.read()
    finally:
        worker.stop()
    return 0


def tell(value: Mapping[str, object]) -> None:
    """Send one line to the starting process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def started(settings: Mapping[str, Any]) -> Workerd:
    """The deployed Worker, with the given variables and secrets."""
    configuration = Configuration.read(ROOT / "wrangler.toml", hurry=False).with_variables(
        **settings["variables"]
    )
    options = Options(
        intercept=False,
        persist=Path(settings["persist"]),
        port=settings["port"],
        cron_every_s=CRON_S,
        echo_logs=True,
    )
    return Workerd(shipped(), packages(LOCK), configuration, options=options).start()


def migrated(database: Tables, directory: Path) -> list[str]:
    """Apply pending migrations: each file with its row for `wrangler d1 migrations` in one transaction."""
    database.run(migrate._CREATE_TABLE)
    applied = {row["name"] for row in database.run("SELECT name FROM d1_migrations")}
    pending = sorted((file for file in directory.glob("*.sql") if file.name not in applied), key=_order)
    for file in pending:
        book = ("INSERT INTO d1_migrations (name) VALUES (?1)", (file.name,))
        database.batch([*((statement, ()) for statement in migrate.split(file.read_text())), book])
    return [file.name for file in pending]


def _order(file: Path) -> tuple[float, str]:
    return migrate._order(file.name)


def create_organization(database: Tables, files: Mapping[str, Path]) -> None:
    """Make the first organization and the keys of the files, if they are missing, and write both to D1."""
    database.run(
        "INSERT INTO organizations (name) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM organizations)",
        FIRST_ORGANIZATION,
    )
    for name, file in files.items():
        number, _, secret = key_in(file).removeprefix("bizq_").partition("_")
        role = name.removesuffix("-key")
        database.run(
            "INSERT INTO api_keys (id, hash, organization_id, role, created_ms)"
            " SELECT ?1, ?2, CASE WHEN ?3 <> 'operator' THEN (SELECT min(id) FROM organizations) END, ?3, ?4"
            " WHERE NOT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1)",
            *(number, hash_key(secret), role, SystemClock().now_ms()),
        )


def key_in(file: Path) -> str:
    """The key in a file that only its owner can read; a new one if there is no file."""
    if not file.exists():
        entropy = SystemEntropy()
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as made:
            made.write(f"bizq_{entropy.token()[:12]}_{entropy.token()}\n")
        draft.replace(file)  # the file is complete or absent
    return file.read_text().strip()


if __name__ == "__main__":
    sys.exit(main())
