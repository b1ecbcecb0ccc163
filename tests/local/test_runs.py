"""The whole worker on the local host."""

from __future__ import annotations

from consumer.cli.journal import entries
from consumer.service import queries
from tests.contracts.background import BackgroundContract
from tests.contracts.budget_room import BudgetRoomContract
from tests.contracts.budgets import BudgetContract
from tests.contracts.bulk import BulkContract, FilterContract
from tests.contracts.callbacks import CallbackContract
from tests.contracts.cancelling import CancelCommandContract, CancelContract
from tests.contracts.capping import CapContract
from tests.contracts.claiming import ClaimContract
from tests.contracts.deleting import DeleteContract
from tests.contracts.doorbells import DoorbellContract
from tests.contracts.edited_routes import EditedRouteContract
from tests.contracts.evidence import EvidenceContract
from tests.contracts.fairness import FairnessContract
from tests.contracts.foreign import ForeignContract
from tests.contracts.foreign_rows import ForeignRowContract
from tests.contracts.interleaving import InterleavingContract
from tests.contracts.jobs import JobContract
from tests.contracts.late_people import LatePeopleContract
from tests.contracts.lost_follow_ups import LostFollowUpContract
from tests.contracts.outages import OutageOfServicesContract, TimeContract
from tests.contracts.people import PeopleContract
from tests.contracts.prompts import PromptContract
from tests.contracts.publishing import PublishContract
from tests.contracts.questions import QuestionContract
from tests.contracts.refused_accounts import RefusedAccountContract
from tests.contracts.releasing import ReleaseContract
from tests.contracts.repairs import RepairContract
from tests.contracts.replies import AdapterContract, ReplyContract
from tests.contracts.resting import LimitContract, RestContract
from tests.contracts.restoring import RestoreContract
from tests.contracts.reused_ids import ReusedIdContract
from tests.contracts.reviews import ReviewContract
from tests.contracts.routes import RouteContract
from tests.contracts.runs import RunContract
from tests.contracts.settling import AmbiguousCommitContract, OutageContract, SettleContract
from tests.contracts.storing import StoringContract
from tests.contracts.sweeping import SweepContract
from tests.contracts.tiers import TierContract
from tests.contracts.two_people import TwoPeopleContract
from tests.contracts.unknowns import UnknownContract
from tests.contracts.unusual_webhooks import UnusualWebhookContract
from tests.contracts.waking import WakeContract
from tests.local import host
from tests.support.scene import Scene

migrated, database, kv, blobs, queue = host.migrated, host.database, host.kv, host.blobs, host.queue


class TestRuns(RunContract):
    """The contract."""


class TestBackground(BackgroundContract):
    """The contract."""


class TestClaims(ClaimContract):
    """The contract."""


class TestFairness(FairnessContract):
    """The contract."""


class TestRests(RestContract):
    """The contract."""


class TestRefusedAccounts(RefusedAccountContract):
    """The contract."""


class TestLimits(LimitContract):
    """The contract."""


class TestRoutes(RouteContract):
    """The contract."""


class TestStoring(StoringContract):
    """The contract."""


class TestReplies(ReplyContract):
    """The contract."""


class TestRepairs(RepairContract):
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


class TestEditedRoutes(EditedRouteContract):
    """The contract."""


class TestForeignRows(ForeignRowContract):
    """The contract, and the journal, which only this host has."""

    async def test_a_journal_shows_sizes_of_what_cannot_be_read(self, scene: Scene) -> None:
        tasks = await self.rows_with(scene, "tasks", "title")
        await scene.drain()

        for task in tasks:
            (line, *_) = entries(await queries.history(scene.world, None, task))
            assert line["title"] is None or line["title"].keys() == {"bytes", "sha256"}


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


class TestTime(TimeContract):
    """The contract."""


class TestOutagesOfServices(OutageOfServicesContract):
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


class TestBudgetRoom(BudgetRoomContract):
    """The contract."""


class TestWaking(WakeContract):
    """The contract."""


class TestTiers(TierContract):
    """The contract."""


class TestEvidence(EvidenceContract):
    """The contract."""


class TestQuestions(QuestionContract):
    """The contract."""


class TestLatePeople(LatePeopleContract):
    """The contract."""


class TestTwoPeople(TwoPeopleContract):
    """The contract."""


class TestUnusualWebhooks(UnusualWebhookContract):
    """The contract."""


class TestPrompts(PromptContract):
    """The contract."""


class TestPublishing(PublishContract):
    """The contract."""


class TestLostFollowUps(LostFollowUpContract):
    """The contract."""


class TestReusedIds(ReusedIdContract):
    """The contract."""


class TestRestores(RestoreContract):
    """The contract."""


class TestBulk(BulkContract):
    """The contract."""


class TestFilters(FilterContract):
    """The contract."""


class TestReleases(ReleaseContract):
    """The contract."""
