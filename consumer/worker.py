"""The entry on Cloudflare: fetch, queue, scheduled.  It only connects the parts.

It builds everything anew for each event, because a binding, a proxy or a secret must not outlive its invocation.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, Final

from workers import WorkerEntrypoint, asgi

from consumer import telemetry
from consumer.app import App
from consumer.cloudflare.blobs import R2Blobs
from consumer.cloudflare.clock import WorkersClock, WorkersEntropy
from consumer.cloudflare.database import D1Database
from consumer.cloudflare.http import client
from consumer.cloudflare.kv import WorkersKeyValue
from consumer.cloudflare.limiter import WorkersLimiter
from consumer.cloudflare.queue import DeliveredMessage, WorkersQueue
from consumer.core.errors import BadInput
from consumer.core.message import DEAD_LETTER_QUEUE
from consumer.core.profile import accounts, secrets_named
from consumer.core.shares import Speeds
from consumer.core.strictjson import parse_json
from consumer.run.schema import SchemaTrust
from consumer.web.app import build
from consumer.world import Config, World
from providers import PROVIDERS

if TYPE_CHECKING:
    import httpx2

TRUST: Final = SchemaTrust()
"""An isolate keeps it between events, so that it checks the schema once in ten minutes."""
SPEEDS: Final = Speeds()
"""An isolate keeps it too, so that its next run knows whose calls are slow."""


class Default(WorkerEntrypoint):
    """The Worker."""

    async def fetch(self, request: Any) -> Any:
        """HTTP: webhooks, the API, the inbox."""
        async with client() as http:
            return await asgi.fetch(build(self._app(http)), request, self.env, self.ctx)

    async def queue(self, batch: Any, _env: Any = None, _ctx: Any = None) -> None:
        """A batch of doorbells, or of dead letters."""
        messages = [DeliveredMessage(message) for message in batch.messages]
        async with client() as http:
            app = self._app(http)
            if str(batch.queue).endswith(DEAD_LETTER_QUEUE):
                await app.on_dead_letters(messages)
            else:
                await app.on_messages(messages)

    async def scheduled(self, _controller: Any, _env: Any = None, _ctx: Any = None) -> None:
        """Cron: the sweep."""
        async with client() as http:
            await self._app(http).on_tick()

    def _app(self, http: httpx2.AsyncClient) -> App:
        """The worker on the bindings of this event.  Raises BadInput naming a missing or wrong variable or secret."""
        # Workers Logs shows every line on standard error as an error.
        telemetry.configure(self._text("LOG_LEVEL", "INFO"), sys.stdout)
        profiles = parse_json(self._text("PROFILES", "{}"), "PROFILES")
        secrets = {name: self._text(name, "") for name in secrets_named(profiles)}
        link_secret = self._text("LINK_SECRET", "")
        if not link_secret:
            raise BadInput("LINK_SECRET", "set it with `wrangler secret put LINK_SECRET`")
        env = self.env
        world = World(
            database=D1Database(env.DB),
            kv=WorkersKeyValue(env.STATUS),
            blobs=R2Blobs(env.BLOBS),
            queue=WorkersQueue(env.DOORBELLS),
            clock=WorkersClock(),
            entropy=WorkersEntropy(),
            limiter=WorkersLimiter(getattr(env, "REQUESTS", None)),
            http=http,
            providers=PROVIDERS,
            accounts=accounts(profiles, secrets),
            link_secret=link_secret,
            config=Config(
                # `fetch` reports a refused connection like one that broke after the request had arrived, so the
                # worker never knows that a request was not sent.
                reports_unsent=False,
                connect_timeout_s=None,
                public_url=self._text("PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/"),
            ),
        )
        return App(world, trust=TRUST, speeds=SPEEDS)

    def _text(self, name: str, default: str) -> str:
        value = getattr(self.env, name, None)
        return value if isinstance(value, str) else default


# Modules live as long as their isolate.  Otherwise the garbage collector would visit their 40,000 objects again and
# again, for the first time while the first message is handled.
gc.freeze()
