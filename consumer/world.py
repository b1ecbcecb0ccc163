"""Everything a run needs, in one value: the ports, the providers, and how it may behave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx2

from consumer.core import policy
from consumer.core.errors import BadInput
from consumer.store.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.core.profile import Account
    from consumer.ports import Blobs, Clock, Database, Entropy, KeyValue, Queue, Row, Statement
    from consumer.provider import Provider

NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""What a connected client raises when certainly no byte of a request has left."""


@dataclass(frozen=True, slots=True)
class Config:
    """How the worker behaves.  Times in milliseconds."""

    batch_size: int = 10
    """Tasks claimed at once."""
    connections: int = 5
    """Calls that wait for a provider's headers at once."""
    all_connections: int = 6
    """The same with those to the status store: what Cloudflare allows.  One at least is left for storage."""
    concurrency: int = 50
    """Executions in flight in one invocation, those that wait without a connection included."""
    follow_up_size: int = 10
    """Open executions and outbox rows attended to at once."""
    invocation_ms: int = 10 * policy.MINUTE
    """After this nothing new is started; an invocation is ended by the platform after 15 minutes."""
    statements: int = 900
    """Statements after which an invocation leaves the rest to the next: D1 allows 1,000."""
    flush_after_ms: int = 50
    """How long a finished call may wait for company before it is settled."""
    flush_size: int = 50
    begin_size: int = 10
    """Calls begun in one round trip."""
    settle_with_begins_at: int = 1
    """Finished calls that are worth settling in the round trip that begins the next ones.  More than 1 starts calls
    sooner, where a round trip costs next to nothing."""
    prefetch_below: int = 0
    """While nothing more can be started, more is claimed once fewer tasks than this are left in hand: where a round
    trip costs next to nothing, the next call then never waits for a claim."""
    lease_ms: int = policy.LEASE
    grace_ms: int = 5 * policy.SECOND
    """What calls in flight get when the worker is stopped."""
    running_snapshot_ms: int = 1 * policy.SECOND
    """A task that is done sooner is published once, at its end."""
    status_ttl_s: int = 7 * 86_400
    """How long the live status of a finished task is kept."""
    doorbells_per_tick: int = 10
    connect_timeout_s: float | None = 10.0
    """None where waiting for headers cannot be told from connecting."""
    never_sent: tuple[type[Exception], ...] = NEVER_SENT
    public_url: str = "http://127.0.0.1:8080"
    """Where webhooks and people reach us."""


LOCAL: Final = Config(
    batch_size=50,
    begin_size=5,
    settle_with_begins_at=50,
    flush_after_ms=10,
    prefetch_below=50,
    all_connections=50,
    statements=2**53,
)
"""With the storage in the same process, where a round trip costs next to nothing and nobody counts statements."""


@dataclass(frozen=True, slots=True)
class World:
    """`link_secret` signs the links that people and providers get; `http` is the network."""

    database: Database
    kv: KeyValue
    blobs: Blobs
    queue: Queue
    clock: Clock
    entropy: Entropy
    http: httpx2.AsyncClient
    providers: Mapping[str, Provider]
    accounts: Mapping[str, Account]
    link_secret: str = field(repr=False)
    config: Config = field(default_factory=Config)

    def batch(self) -> Batch:
        """An empty batch for the database."""
        return Batch(self.database, self.entropy)

    async def rows(self, statement: Statement) -> Sequence[Row]:
        """The rows of one statement that may be sent twice.  Raises `Unavailable`, `Refused`."""
        batch = self.batch()
        found = batch.add(statement)
        return (await batch.commit()).rows(found)

    async def write(self, *statements: Statement) -> None:
        """Apply statements as one batch that may be sent twice.  Raises `Unavailable`, `Refused`."""
        batch = self.batch()
        batch.add(*statements)
        await batch.commit()

    def __post_init__(self) -> None:
        """Raises BadInput naming the profile that no adapter can work with."""
        for name, account in self.accounts.items():
            provider = self.providers.get(account.profile.provider)
            if provider is None:
                known = ", ".join(sorted(self.providers))
                raise BadInput(f"profiles.{name}.provider", f"there are the providers {known}")
            try:
                provider.check(account)
            except BadInput as error:
                raise error.within(f"profiles.{name}") from None
