"""A data directory, opened: the ports, the profiles, the migrations, and a secret for links."""

from __future__ import annotations

import json
import os
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2

from consumer.core.errors import BadInput, NotFound
from consumer.core.profile import accounts, secrets_named
from consumer.core.strictjson import parse_json
from consumer.local import migrate
from consumer.local.blobs import FileBlobs
from consumer.local.clock import SystemClock, SystemEntropy
from consumer.local.database import SqliteDatabase
from consumer.local.kv import SqliteKeyValue
from consumer.local.queue import LocalQueue
from consumer.world import LOCAL, Config, World
from providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from consumer.core.profile import Account
    from consumer.local.layout import Layout

ROOT: Final = Path(__file__).resolve().parent.parent.parent
MIGRATIONS: Final = ROOT / "migrations"
EXAMPLES: Final = ROOT / "examples"

DOORBELLS: Final = "doorbells"
DEAD_LETTERS: Final = "dead-letters"

LOCAL_MODEL: Final = "local"
"""The profile of the model on this machine.  Its base URL is known when the model runs."""
MODEL_NAME: Final = "smollm2"
MODEL_PROFILE: Final = {
    "provider": "openai_compatible",
    "price": {"input_per_million": "0", "output_per_million": "0"},
}
NOT_RUNNING: Final = "http://127.0.0.1"
"""Stands for the model's address while nothing is called."""
PROFILES: Final[Mapping[str, Any]] = {
    "echo": {"provider": "echo", "price": {"per_task": "0"}},
    "people": {"provider": "inbox", "price": {"per_task": "0"}},
}
"""What a new data directory begins with."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to open.  `working`: calls will be made, so secrets and addresses have to be there."""

    create: bool = False
    migrated: bool = True
    working: bool = False
    profiles: Path | None = None
    model_url: str | None = None
    config: Config | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """What was opened.  `applied`: migrations; `idle`: profiles that lack a model; `unset`: secrets without a value."""

    layout: Layout
    world: World
    queue: LocalQueue
    dead_letters: LocalQueue
    applied: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)


@asynccontextmanager
async def opened(layout: Layout, wanted: Wanted) -> AsyncIterator[Host]:
    """Open a data directory and bring its database up to date; close everything at the end.

    Raises NotFound when there is none, BadInput on the profiles, `PortError` when a file cannot be used."""
    prepare(layout, create=wanted.create)
    known, idle, unset = _accounts(layout, wanted)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = SqliteDatabase(layout.database)
        stack.callback(database.close)
        applied = migrate.apply(database, MIGRATIONS) if wanted.migrated else []
        status = SqliteKeyValue(layout.status, clock)
        stack.callback(status.close)
        queue = LocalQueue(layout.queues, DOORBELLS, clock)
        stack.callback(queue.close)
        dead_letters = LocalQueue(layout.queues, DEAD_LETTERS, clock)
        stack.callback(dead_letters.close)
        world = World(
            database=database,
            kv=status,
            blobs=FileBlobs(layout.blobs),
            queue=queue,
            clock=clock,
            entropy=SystemEntropy(),
            http=await stack.enter_async_context(_client(working=wanted.working)),
            providers=PROVIDERS,
            accounts=known,
            link_secret=link_secret(layout),
            config=_config(layout, wanted),
        )
        yield Host(layout, world, queue, dead_letters, applied, idle, unset)


def prepare(layout: Layout, *, create: bool) -> None:
    """Make a data directory, for its owner alone.  Raises NotFound when it is to be there already."""
    if layout.database.exists():
        return
    if not create:
        raise NotFound(
            f"there is no BizQ data in {layout.root}: `bizq dev` or `bizq demo` makes it, --data names it"
        )
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not layout.profiles.exists():
        layout.profiles.write_text(json.dumps(PROFILES, indent=2) + "\n")


def link_secret(layout: Layout) -> str:
    """What signs the links that people get: BIZQ_LINK_SECRET, or a file that is made once."""
    given = os.environ.get("BIZQ_LINK_SECRET")
    if given:
        return given
    entropy = SystemEntropy()
    with suppress(FileExistsError):
        made = os.open(layout.link_secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as file:
            file.write(entropy.token() + entropy.token())
    secret = layout.link_secret.read_text().strip()
    if not secret:
        raise BadInput(str(layout.link_secret), "is empty: delete it, and a new one is made")
    return secret


def read_profiles(layout: Layout, file: Path | None = None) -> dict[str, Any]:
    """The profiles of a file, of the data directory, or the first ones.  Raises BadInput, OSError."""
    path = file or layout.profiles
    if file is None and not path.exists():
        return dict(PROFILES)
    value = parse_json(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(value, dict):
        raise BadInput(str(path), "an object of profiles by name")
    return value


def keep_profile(layout: Layout, name: str, profile: Mapping[str, Any]) -> None:
    """Write one profile into the data directory, so that other processes know it too."""
    profiles = read_profiles(layout)
    if profiles.get(name) == profile:
        return
    draft = layout.profiles.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(profiles | {name: profile}, indent=2) + "\n")
    draft.replace(layout.profiles)


def _accounts(layout: Layout, wanted: Wanted) -> tuple[dict[str, Account], list[str], list[str]]:
    """Accounts by name, the profiles that wait for a model, and the names of secrets that are not set.

    Where nothing is called a secret's name is enough, and the model need not run."""
    profiles = read_profiles(layout, wanted.profiles)
    if wanted.model_url is not None:
        profiles[LOCAL_MODEL] = profiles.get(LOCAL_MODEL, MODEL_PROFILE) | {"base_url": wanted.model_url}
    local = profiles.get(LOCAL_MODEL)
    idle = [LOCAL_MODEL] if isinstance(local, dict) and not local.get("base_url") else []
    secrets = {name: os.environ.get(name, "") for name in sorted(secrets_named(profiles))}
    unset = [name for name, value in secrets.items() if not value]
    if wanted.working:
        profiles = {name: value for name, value in profiles.items() if name not in idle}
    else:
        profiles |= {name: {**profiles[name], "base_url": NOT_RUNNING} for name in idle}
        secrets |= dict.fromkeys(unset, "unset")
    return accounts(profiles, secrets), idle, unset


def _config(layout: Layout, wanted: Wanted) -> Config:
    if wanted.config is not None:
        return wanted.config
    if layout.public_url.exists():
        return replace(LOCAL, public_url=layout.public_url.read_text().strip())
    return LOCAL


def _client(*, working: bool) -> httpx2.AsyncClient:
    """The network.  A proxy that the environment names is not asked for what is on this machine.

    Reading all certificate authorities takes longer than most commands: only a worker does it."""
    no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not working:
        return httpx2.AsyncClient(verify=no_authorities)
    mounts = {f"http://{name}": httpx2.AsyncHTTPTransport(verify=no_authorities) for name in _LOOPBACK}
    return httpx2.AsyncClient(timeout=None, mounts=mounts)  # each call has its own timeout
