"""The whole worker on the local host."""

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
from tests.contracts.budgets import BudgetContract
from tests.contracts.callbacks import CallbackContract
from tests.contracts.cancelling import CancelCommandContract, CancelContract
from tests.contracts.capping import CapContract
from tests.contracts.claiming import ClaimContract
from tests.contracts.deleting import DeleteContract
from tests.contracts.doorbells import DoorbellContract
from tests.contracts.foreign import ForeignContract
from tests.contracts.interleaving import InterleavingContract
from tests.contracts.jobs import JobContract
from tests.contracts.people import PeopleContract
from tests.contracts.replies import AdapterContract, ReplyContract
from tests.contracts.reviews import ReviewContract
from tests.contracts.routes import RouteContract
from tests.contracts.runs import RunContract
from tests.contracts.settling import AmbiguousCommitContract, OutageContract, SettleContract
from tests.contracts.storing import StoringContract
from tests.contracts.sweeping import SweepContract
from tests.contracts.unknowns import UnknownContract

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


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path / "queue.sqlite3", "doorbells", SystemClock())
    yield made
    made.close()


class TestRuns(RunContract):
    """The contract."""


class TestClaims(ClaimContract):
    """The contract."""


class TestRoutes(RouteContract):
    """The contract."""


class TestStoring(StoringContract):
    """The contract."""


class TestReplies(ReplyContract):
    """The contract."""


class TestAdapters(AdapterContract):
    """The contract."""


class TestDoorbells(DoorbellContract):
    """The contract."""


class TestUnknowns(UnknownContract):
    """The contract."""


class TestJobs(JobContract):
    """The contract."""


class TestPeople(PeopleContract):
    """The contract."""


class TestReviews(ReviewContract):
    """The contract."""


class TestForeign(ForeignContract):
    """The contract."""


class TestCancels(CancelContract):
    """The contract."""


class TestCancelCommand(CancelCommandContract):
    """The contract."""


class TestBudgets(BudgetContract):
    """The contract."""


class TestCaps(CapContract):
    """The contract."""


class TestOutages(OutageContract):
    """The contract."""


class TestAmbiguousCommits(AmbiguousCommitContract):
    """The contract."""


class TestSettles(SettleContract):
    """The contract."""


class TestSweeps(SweepContract):
    """The contract."""


class TestCallbacks(CallbackContract):
    """The contract."""


class TestInterleavings(InterleavingContract):
    """The contract."""


class TestDeletes(DeleteContract):
    """The contract."""
