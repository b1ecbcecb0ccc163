"""Open a data directory: make the World of the local host from its files, its profiles and the adapters.

A command that makes no calls gets a World without accounts and without a network, because reading the profiles and
importing an HTTP client take longer than the command.
"""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from consumer.cli.target import no_data
from consumer.core.errors import BadInput, NotFound
from consumer.core.message import DEAD_LETTER_QUEUE
from consumer.core.strictjson import parse_json
from consumer.local import migrate
from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemClock, SystemEntropy
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.limiter import MemoryLimiter
from consumer.local.presence import present
from consumer.local.queue import LocalQueue
from consumer.store import leases
from consumer.world import LOCAL, Config, World, check_link_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    import httpx2

    from consumer.core.profile import Account
    from consumer.local.layout import Layout
    from consumer.provider import Provider

ROOT: Final = Path(__file__).resolve().parent.parent.parent
MIGRATIONS: Final = ROOT / "migrations"
EXAMPLES: Final = ROOT / "examples"

DOORBELL_QUEUE: Final = "doorbells"

LOCAL_MODEL: Final = "local"
"""The profile of the model on this machine.  Its base URL is known only while the model runs."""
MODEL_NAME: Final = "smollm2"
MODEL_PROFILE: Final = {
    "provider": "openai_compatible",
    "price": {"input_per_million": "0", "output_per_million": "0"},
}
NOT_RUNNING: Final = "http://127.0.0.1"
"""Takes the place of the model's address in a command that makes no calls."""
PROFILES: Final[Mapping[str, Any]] = {
    "echo": {"provider": "echo", "price": {"per_task": "0"}},
    "people": {"provider": "inbox", "price": {"per_task": "0"}},
}
"""The profiles of a new data directory."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open a data directory."""

    create: bool = False
    """Make the directory if it does not exist."""
    migrated: bool = True
    """Apply pending migrations first."""
    accounts: bool = False
    """Read and check the profiles."""
    network: bool = False
    """Send requests.  `working` implies it."""
    working: bool = False
    """Make calls: secrets and addresses of all profiles must be known.  Implies `accounts`."""
    profiles: Path | None = None
    """The file of the profiles, in place of the one in the directory."""
    model_url: str | None = None
    """The address of the model of the profile `local`."""
    config: Config | None = None
    """The settings of the worker, in place of those for one machine."""


@dataclass(frozen=True, slots=True)
class Host:
    """An open data directory.

    `applied`: the migrations that were applied; `idle`: the profiles whose model does not run; `unset`: the secrets
    that profiles name and that have no value; `wrong`: why other secrets cannot be used."""

    layout: Layout
    world: World
    queue: LocalQueue
    dead_letters: LocalQueue
    applied: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@asynccontextmanager
async def opened(layout: Layout, options: OpenOptions) -> AsyncIterator[Host]:
    """Open a data directory, and close it at the end.

    Raises NotFound if it does not exist, BadInput for wrong profiles, `PortError` if a file cannot be used."""
    prepare(layout, create=options.create)
    wiring = _wiring(layout, options)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = SqliteDatabase(layout.database)
        stack.callback(database.close)
        applied = migrate.apply(database, MIGRATIONS) if options.migrated else []
        if options.working:
            stack.enter_context(present(layout.presence, lambda: database.run([leases.ABANDON()])))
        status = SqliteKeyValue(layout.status, clock)
        stack.callback(status.close)
        queue = LocalQueue(layout.queues, DOORBELL_QUEUE, clock)
        stack.callback(queue.close)
        dead_letters = LocalQueue(layout.queues, DEAD_LETTER_QUEUE, clock)
        stack.callback(dead_letters.close)
        world = World(
            database=database,
            kv=status,
            blobs=FileBlobs(layout.blobs),
            queue=queue,
            clock=clock,
            entropy=SystemEntropy(),
            http=await stack.enter_async_context(_client(network=options.working or options.network)),
            providers=wiring.providers,
            accounts=wiring.accounts,
            link_secret=link_secret(layout),
            limiter=MemoryLimiter(clock),
            config=_config(layout, options),
        )
        yield Host(layout, world, queue, dead_letters, applied, wiring.idle, wiring.unset, wiring.wrong)


def prepare(layout: Layout, *, create: bool) -> None:
    """Make a data directory that only its owner can read.  Raises NotFound if it does not exist and `create` is
    False."""
    if layout.database.exists():
        return
    if not create:
        raise NotFound(no_data(layout.root))
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not layout.profiles.exists():
        layout.profiles.write_text(json.dumps(PROFILES, indent=2) + "\n")


def link_secret(layout: Layout) -> str:
    """The secret that signs the links of people: BIZQ_LINK_SECRET, or a file that is created once.  Raises BadInput."""
    from_environment = os.environ.get("BIZQ_LINK_SECRET")
    if from_environment:
        check_link_secret(from_environment, "BIZQ_LINK_SECRET")
        return from_environment
    entropy = SystemEntropy()
    with suppress(FileExistsError):
        created = os.open(layout.link_secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(created, "w") as file:
            file.write(entropy.token() + entropy.token())
    secret = layout.link_secret.read_text().strip()
    if not secret:
        raise BadInput(str(layout.link_secret), "is empty: delete it, and the next command creates a new one")
    check_link_secret(secret, str(layout.link_secret))
    return secret


def read_profiles(layout: Layout, file: Path | None = None) -> dict[str, Any]:
    """The profiles of a file, else of the data directory, else those of a new one.  Raises BadInput, OSError."""
    path = file or layout.profiles
    if file is None and not path.exists():
        return dict(PROFILES)
    value = parse_json(path.read_text(encoding="utf-8-sig"), str(path))
    if not isinstance(value, dict):
        raise BadInput(str(path), "must be an object of profiles by name")
    return value


def keep_profile(layout: Layout, name: str, profile: Mapping[str, Any]) -> None:
    """Write one profile into the data directory, where other processes read it too."""
    profiles = read_profiles(layout)
    if profiles.get(name) == profile:
        return
    draft = layout.profiles.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(profiles | {name: profile}, indent=2) + "\n")
    draft.replace(layout.profiles)


@dataclass(frozen=True, slots=True)
class _Wiring:
    """The adapters, the accounts by name, the profiles whose model does not run, and what is wrong with secrets."""

    providers: Mapping[str, Provider] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _wiring(layout: Layout, options: OpenOptions) -> _Wiring:
    """The accounts of the profiles, as far as the options need them.  Raises BadInput.

    A command that makes no calls only needs the names of the secrets, and the model need not run."""
    if not (options.working or options.accounts):
        return _Wiring()
    from consumer.core.profile import accounts, secrets_named
    from providers import PROVIDERS

    profiles = read_profiles(layout, options.profiles)
    if options.model_url is not None:
        profiles[LOCAL_MODEL] = profiles.get(LOCAL_MODEL, MODEL_PROFILE) | {"base_url": options.model_url}
    local = profiles.get(LOCAL_MODEL)
    idle = [LOCAL_MODEL] if isinstance(local, dict) and not local.get("base_url") else []
    secrets = {name: os.environ.get(name, "") for name in sorted(secrets_named(profiles))}
    unset = [name for name, value in secrets.items() if not value]
    if options.working:
        profiles = {name: value for name, value in profiles.items() if name not in idle}
        return _Wiring(PROVIDERS, accounts(profiles, secrets), idle, unset)
    profiles |= {name: {**profiles[name], "base_url": NOT_RUNNING} for name in idle}
    found = accounts(profiles, secrets | dict.fromkeys(unset, "unset"))
    wrong = [
        f"profiles.{name}.{problem}" for name, account in found.items() for problem in _wrong(account, unset)
    ]
    # A command that makes no calls verifies no webhooks either.
    without = {name: replace(account, webhook_secret=None) for name, account in found.items()}
    return _Wiring(PROVIDERS, without, idle, unset, wrong)


def _wrong(account: Account, unset: list[str]) -> list[str]:
    """Why the webhook secret of an account verifies nothing; empty if it is right or not set."""
    from consumer.core.errors import BadInput
    from providers import PROVIDERS

    provider = PROVIDERS.get(account.profile.provider)
    if provider is None or account.profile.webhook_secret in (None, *unset):
        return []
    try:
        provider.check(account)
    except BadInput as error:
        return [str(problem) for problem in error.problems if problem.field == "webhook_secret"]
    return []


def _config(layout: Layout, options: OpenOptions) -> Config:
    if options.config is not None:
        return options.config
    if layout.public_url.exists():
        return replace(LOCAL, public_url=layout.public_url.read_text().strip())
    return LOCAL


class _NoNetwork:
    """Takes the place of the HTTP client in a command that makes no calls."""

    def __getattr__(self, name: str) -> Any:
        msg = f"this data directory was opened without a network: {name}"
        raise RuntimeError(msg)


def _client(*, network: bool) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    """The HTTP client.  Requests to this machine never go through a proxy of the environment."""
    if not network:
        return nullcontext(cast("httpx2.AsyncClient", _NoNetwork()))
    import ssl

    import httpx2

    no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loopback speaks plain HTTP: nothing to verify
    mounts = {f"http://{name}": httpx2.AsyncHTTPTransport(verify=no_authorities) for name in _LOOPBACK}
    return httpx2.AsyncClient(timeout=None, mounts=mounts)  # each call has its own timeout
