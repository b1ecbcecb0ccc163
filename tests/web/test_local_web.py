"""The web contracts on the local host."""

from __future__ import annotations

from tests.contracts.described_apis import DescribedApiContract
from tests.contracts.endpoints import EndpointContract
from tests.contracts.web import KeysContract, TasksContract
from tests.contracts.web_bulk import BulkApiContract
from tests.contracts.web_faults import FaultsContract
from tests.contracts.web_hostile import HostileContract
from tests.contracts.web_inbox import InboxPageContract
from tests.contracts.web_keys_once import SubmissionKeyContract
from tests.contracts.web_review import ReviewPageContract
from tests.contracts.web_settings import OperationContract, OrganizationsContract, TemplatesContract
from tests.contracts.web_tiers import TierPagesContract
from tests.contracts.web_webhooks import WebhooksContract
from tests.local import host

migrated, database, kv, blobs = host.migrated, host.database, host.kv, host.blobs


class TestKeys(KeysContract):
    """The contract."""


class TestTasks(TasksContract):
    """The contract."""


class TestBulk(BulkApiContract):
    """The contract."""


class TestSubmissionKeys(SubmissionKeyContract):
    """The contract."""


class TestTemplates(TemplatesContract):
    """The contract."""


class TestTierPages(TierPagesContract):
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


class TestEndpoints(EndpointContract):
    """The contract."""


class TestDescribedApis(DescribedApiContract):
    """The contract."""
