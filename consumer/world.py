"""Everything that a run needs, in one value: the ports, the providers, and the settings of the worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from consumer.core import policy
from consumer.core.errors import BadInput
from consumer.core.pace import Pace
from consumer.ports import NoAnswer
from consumer.store.batch import Batch, five_tries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import httpx2

    from consumer.core.profile import Account
    from consumer.ports import Blobs, Clock, Database, Entropy, KeyValue, Limiter, Queue, Row, Statement
    from consumer.provider import Provider

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Config:
    """The settings of the worker.  The end of a name is its unit: `_ms` milliseconds, `_s` seconds.

    The defaults are those of Cloudflare, where a round trip to the database takes milliseconds."""

    batch_size: int = 10
    """Tasks that one claim takes at most."""
    connections: int = 5
    """Calls over the network that may be in flight at the same time."""
    all_connections: int = 6
    """Calls and writes to the status store that may wait for headers at the same time.  Cloudflare allows 6
    connections; `connections` leaves at least one of them to storage."""
    concurrency: int = 50
    """Executions in flight in one invocation, including those that wait without a connection."""
    follow_up_size: int = 10
    """Open executions, and rows of the outbox, that one round trip takes for a follow-up."""
    invocation_ms: int = 10 * policy.MINUTE
    """Milliseconds after which an invocation starts nothing new.  Calls in flight go on to their ends."""
    cut_ms: int = 14 * policy.MINUTE + 30 * policy.SECOND
    """Milliseconds after which an invocation cuts off the calls that are still in flight.  A call lasts at most
    `MAX_CALL_S`, so one that began in time ends before.  Cloudflare ends an invocation after 15 minutes: the rest of
    that time is for settling."""
    statements: int = 900
    """SQL statements after which an invocation leaves the rest to the next one, those included that it keeps for the
    ends of its calls."""
    all_statements: int = 1_000
    """SQL statements that an invocation may send.  D1 refuses more."""
    storage_s: float = 10.0
    """Seconds after which a call to the status store, the blob store or the queue counts as failed."""
    flush_after_ms: int = 50
    """Milliseconds that a finished call waits at most for others, so that they are committed as one batch."""
    flush_size: int = 50
    """Finished calls that are committed without waiting for more of them."""
    begin_size: int = 10
    """Executions that one round trip begins at most."""
    settle_with_begins_at: int = 1
    """The number of ended calls from which on the round trip that begins executions also settles them.  A larger
    number begins executions sooner, and needs more round trips."""
    prefetch_below: int = 0
    """If the worker can begin no more calls and holds fewer tasks than this, it claims more in advance; 0: never.  A
    claim ahead costs round trips, but when a call ends, the next one does not wait for a claim."""
    lease_ms: int = policy.LEASE
    """Milliseconds for which a claim or a renewal reserves tasks for this worker."""
    grace_ms: int = 5 * policy.SECOND
    """Milliseconds that calls in flight get when the process was asked to stop."""
    running_snapshot_ms: int = 1 * policy.SECOND
    """Milliseconds after which a running task publishes its status.  A task that ends sooner publishes only its end."""
    status_ttl_s: int = 7 * 86_400
    """Seconds for which the live status of a finished task is stored."""
    doorbells_per_tick: int = 10
    """Doorbells that one sweep, or one run that leaves work behind, sends at most."""
    connect_timeout_s: float | None = 10.0
    """Seconds for opening a connection; None where the host does not distinguish that from waiting for the reply."""
    reports_unsent: bool = True
    """Whether the errors of the HTTP client show that a request was certainly not sent
    (`execution.call.NEVER_SENT`)."""
    public_url: str = "http://127.0.0.1:8080"
    """The address of this worker for providers' webhooks and for people, without a slash at its end."""

    @property
    def pace(self) -> Pace:
        """How eagerly a run uses the database."""
        return Pace(
            self.flush_after_ms,
            self.flush_size,
            self.prefetch_below,
            self.settle_with_begins_at,
            self.statements,
        )


LOCAL: Final = Config(
    batch_size=50,
    begin_size=5,
    settle_with_begins_at=50,
    flush_after_ms=10,
    prefetch_below=50,
    all_connections=50,
    statements=2**53,
    all_statements=2**53,
)
"""For a database in the same process: a round trip takes microseconds, and the number of statements has no limit."""


MIN_LINK_SECRET: Final = 32
"""The fewest characters of the link secret: with it, anyone could answer every assignment of every organization."""


def check_link_secret(secret: str, name: str = "LINK_SECRET") -> None:
    """Raises BadInput when the secret is so short that it could be guessed from one link."""
    if len(secret) < MIN_LINK_SECRET:
        why = f"has {len(secret)} characters and needs at least {MIN_LINK_SECRET}"
        make = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        raise BadInput(name, f"{why}: a new one is made by `{make}`")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The ports of a host and the deployment's providers and accounts, by name.

    `adapters`: the adapter of each account, by the account's name.
    `http` is the client for calls to providers.  `link_secret` signs the links of people and the webhook addresses that
    providers get.  `limiter`: a limit on the requests of a key and of an address; None: there is none."""

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
    limiter: Limiter | None = None
    keep_trying: Callable[[], bool] = five_tries
    """Whether a batch that failed five times is sent again.  A run that holds answers has more
    patience than a caller."""
    adapters: Mapping[str, Provider] = field(init=False)

    def batch(self) -> Batch:
        """An empty batch for the database."""
        return Batch(self.database, self.entropy, self.keep_trying)

    async def within(self, answer: Awaitable[T]) -> T:
        """The answer of a port other than the database.  Raises `NoAnswer` after `storage_s`.

        Every call to these ports goes through here, so that one which hangs holds up nothing for long."""
        limit = self.config.storage_s
        try:
            async with asyncio.timeout(limit):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"no answer within {limit:g} s") from None

    @property
    def has_limits(self) -> bool:
        """Whether a profile limits its calls."""
        return any(a.profile.rate or a.profile.concurrency for a in self.accounts.values())

    async def rows(self, statement: Statement) -> Sequence[Row]:
        """The rows of one statement that may be sent twice.  Raises `Unavailable`, `Refused`."""
        batch = self.batch()
        found = batch.add(statement)
        return (await batch.commit()).rows(found)

    async def read_once(self, *statements: Statement) -> list[Sequence[Row]]:
        """The rows of heavy statements, one batch that is not repeated: that would only add to the load of a database
        which is overloaded.  Raises `Unavailable`, `Refused`."""
        batch = self.batch()
        found = [batch.add(statement) for statement in statements]
        results = await batch.commit_once()
        return [results.rows(each) for each in found]

    async def write(self, *statements: Statement) -> None:
        """Apply statements as one batch that may be sent twice.  Raises `Unavailable`, `Refused`."""
        batch = self.batch()
        batch.add(*statements)
        await batch.commit()

    def __post_init__(self) -> None:
        """Raises BadInput: the link secret is too short, or a profile's adapter does not exist or refuses it."""
        check_link_secret(self.link_secret)
        adapters: dict[str, Provider] = {}
        for name, account in self.accounts.items():
            provider = self.providers.get(account.profile.provider)
            if provider is None:
                known = ", ".join(sorted(self.providers))
                raise BadInput(f"profiles.{name}.provider", f"must be one of the providers {known}")
            try:
                provider.check(account)
            except BadInput as error:
                raise error.within(f"profiles.{name}") from None
            adapters[name] = provider.of(account)
        object.__setattr__(self, "adapters", adapters)
