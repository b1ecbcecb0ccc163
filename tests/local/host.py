"""The ports of the local host, with a migrated database, for tests of the whole worker.

A test module takes the fixtures by assignment: `database, kv, blobs = host.database, host.kv, host.blobs`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemClock
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from consumer.local.queue import LocalQueue

if TYPE_CHECKING:
    from collections.abc import Iterator


MIGRATIONS = Path(__file__).parents[2] / "migrations"


class SecondsPass:
    """A clock that is a second later at each read, so that no key is written twice within a second."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        self.ms += 1_000
        return self.ms


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: applying the migrations takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "tasks.sqlite3"
    apply(file, MIGRATIONS)
    return file


@pytest.fixture
def database(tmp_path: Path, migrated: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(shutil.copy(migrated, tmp_path))
    yield made
    made.close()


@pytest.fixture
def kv(tmp_path: Path) -> Iterator[SqliteKeyValue]:
    made = SqliteKeyValue(tmp_path / "kv.sqlite3", SecondsPass())
    yield made
    made.close()


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs", fsync=False)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path / "queue.sqlite3", "doorbells", SystemClock())
    yield made
    made.close()
