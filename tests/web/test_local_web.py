"""The web contracts on the local host."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumer.local.blobs import FileBlobs
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.migrate import apply
from tests.contracts.web import KeysContract, TasksContract
from tests.contracts.web_faults import FaultsContract
from tests.contracts.web_hostile import HostileContract
from tests.contracts.web_inbox import InboxPageContract
from tests.contracts.web_review import ReviewPageContract
from tests.contracts.web_settings import OperationContract, OrganizationsContract, TemplatesContract
from tests.contracts.web_webhooks import WebhooksContract

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class TestKeys(KeysContract):
    """The contract."""


class TestTasks(TasksContract):
    """The contract."""


class TestTemplates(TemplatesContract):
    """The contract."""


class TestOrganizations(OrganizationsContract):
    pass


class TestOperation(OperationContract):
    """The contract."""


class TestHostile(HostileContract):
    """The contract."""


class TestWebhooks(WebhooksContract):
    """The contract."""


class TestInbox(InboxPageContract):
    """The contract."""


class TestReview(ReviewPageContract):
    """The contract."""


class TestFaults(FaultsContract):
    """The contract."""
