"""The ports of the local host, for the tests of the web."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from tests.contracts.house import House, furnished

MIGRATIONS = Path(__file__).parents[2] / "migrations"


class SecondsPass:
    """A clock that is a second later whenever it is read, so that no key is written twice within one."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        self.ms += 1_000
        return self.ms


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to be copied: applying the migrations takes longer than most tests."""
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
async def house(database: SqliteDatabase, kv: SqliteKeyValue, blobs: FileBlobs) -> AsyncIterator[House]:
    async with furnished(database, kv, blobs) as made:
        yield made
