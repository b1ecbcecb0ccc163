"""The world that the benchmarks measure: the ports of one machine on one directory, and the echo adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from consumer.core.profile import accounts
from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemEntropy
from consumer.local.kv import SqliteKeyValue
from consumer.local.queue import LocalQueue
from consumer.world import Config, World

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.local.database import SqliteDatabase
    from consumer.ports import Clock
    from providers.echo import Echo


def world_of(place: Path, database: SqliteDatabase, clock: Clock, echo: Echo, config: Config) -> World:
    """A world on the files of a directory.  The caller closes its ports."""
    return World(
        database=database,
        kv=SqliteKeyValue(place / "kv.sqlite3", clock),
        blobs=FileBlobs(place / "blobs"),
        queue=LocalQueue(place / "queue.sqlite3", "doorbells", clock),
        clock=clock,
        entropy=SystemEntropy(),
        http=httpx2.AsyncClient(),
        providers={"echo": echo},
        accounts=accounts({"echo": {"provider": "echo", "price": {"per_task": "0"}}}, {}),
        link_secret="x" * 32,
        config=config,
    )
