"""The deployed Worker with the shop's adapter added: workerd is killed, and started again on its files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.dev.loopback import listen
from consumer.core.snapshot import key
from scripts.stage import LOCK, ROOT, shipped
from tests.chaos import adapter
from tests.chaos.books import compare
from tests.chaos.clock import Fast
from tests.chaos.load import FED, Load
from tests.chaos.local import Outcome, Plan, shop
from tests.chaos.outages import Outages
from tests.chaos.shop import SECRET
from tests.chaos.worker import profiles
from tests.support.witness import WITNESS
from tests.workerd.archives import packages
from tests.workerd.configuration import Configuration, Options
from tests.workerd.harness import Workerd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.local import Say

MEAN_S: Final = 2.0
"""Seconds between a start and the next kill."""
TICK_S: Final = 1.0


class Runtime:
    """The Worker on one directory, through its restarts."""

    def __init__(self, files: Path, variables: Mapping[str, str], port: int) -> None:
        self._files = files
        self._variables = variables
        self._port = port
        self.worker = self._made()
        self.kills = 0

    def _made(self) -> Workerd:
        configuration = Configuration.read(ROOT / "wrangler.toml").with_variables(**self._variables)
        options = Options(intercept=False, persist=self._files, port=self._port, cron_every_s=TICK_S)
        return Workerd(with_shop(), packages(LOCK), configuration, options=options)

    def kill(self) -> None:
        """SIGKILL Node and workerd together, let the leases expire, and start again."""
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.kills += 1
        self.worker.stop()
        let_leases_end(self.database)
        self.worker = self._made().start()

    @property
    def database(self) -> Path:
        """The file of D1."""
        (file,) = [path for path in (self._files / "d1").rglob("*.sqlite") if path.name != "metadata.sqlite"]
        return file

    # --- a site --------------------------------------------------------------------------------------

    async def sql(self, text: str, *parameters: Any) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.worker.database("DB").run, text, *parameters)

    async def ring(self) -> None:
        await asyncio.to_thread(self.worker.send, "DOORBELLS", [{"body": {"v": 1}}])

    async def status(self, task: int) -> str | None:
        (row,) = await self.sql("SELECT identity FROM tasks WHERE id = ?1", task)
        place = key(task, row["identity"])
        stored = (await asyncio.to_thread(self.worker.kv, "STATUS", "get", place))["value"]
        return None if stored is None else str(json.loads(stored)["status"])

    async def blob(self, key: str) -> bytes:
        stored = await asyncio.to_thread(self.worker.r2, "BLOBS", "get", key)
        return base64.b64decode(stored["value"])


def with_shop() -> dict[str, Path | str]:
    """The shipped files with one more module of adapters: a file, and two lines behind the registry."""
    registry = (ROOT / "providers" / "__init__.py").read_text()
    registry += (
        "\nfrom providers.shop import Blind, Ledgered\n"
        "PROVIDERS = {**PROVIDERS, **{each.name: each() for each in (Ledgered, Blind)}}\n"
    )
    return {**shipped(), "providers/shop.py": Path(adapter.__file__), "providers/__init__.py": registry}


def let_leases_end(database: Path) -> None:
    """Let the leases of lost workers and all other delays end, by changing the rows."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE leases SET until_ms = 0")
        connection.execute("UPDATE outbox SET due_ms = 0")
        connection.execute("UPDATE task_executions SET wake_at_ms = 0 WHERE status IN ('waiting', 'unknown')")


def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Run one plan in an empty directory.  Raises `MissingToolError` without Node."""
    return asyncio.run(_run(plan, directory, say))


async def _run(plan: Plan, directory: Path, say: Say) -> Outcome:
    began = time.monotonic()
    dice = random.Random(plan.seed)  # noqa: S311  # to be repeated
    ledger = directory / "ledger.sqlite3"
    with listen(0) as listener:
        port = listener.getsockname()[1]
    with shop(ledger, plan.seed, Fast()) as provider:
        variables = {
            "LINK_SECRET": "the secret of the links of the chaos",
            "SHOP_SECRET": SECRET,
            "PROFILES": json.dumps(profiles(provider.address)),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "LOG_LEVEL": "WARNING",
        }
        site = Runtime(directory / "files", variables, port)
        try:
            site.worker.start()
            site.worker.database("DB").migrate(ROOT / "migrations")
            for statement in WITNESS:
                await site.sql(statement)
            load = Load(site, plan.profile)
            await load.prepare()
            outages = Outages(provider, dice)
            while site.kills < plan.kills:
                await load.feed(FED)
                outages.maybe_begin()
                await asyncio.sleep(dice.uniform(0, 2 * MEAN_S))
                site.kill()
                say(f"{site.kills}/{plan.kills} kills, {await load.counts()}")
            await asyncio.to_thread(outages.end)
            site.kill()  # again, so that no task sleeps long because of earlier kills
            problems = await load.calm_down(lambda: None, say)
            statuses, blobs = await load.seen()
        finally:
            site.worker.stop()
    books = compare(site.database, ledger, statuses, blobs)
    seconds = time.monotonic() - began
    return Outcome(site.kills, 0, seconds, books, problems + books.violations(), outages.counts)
