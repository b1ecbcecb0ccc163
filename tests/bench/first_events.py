"""Imports the Worker's entry in a fresh interpreter, handles its first events, and prints what that took as JSON.

`tests.bench.imports` runs it as a file, also on the product of another checkout.  Packages that a Worker does not have
are hidden, because httpx2 and structlog import them where they are installed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ONLY_HERE = (
    "better_exceptions",
    "brotli",
    "click",
    "greenlet",
    "h2",
    "pygments",
    "rich",
    "socksio",
    "zstandard",
)
"""Packages that are installed on a developer's machine alone."""
HEAP = "--heap" in sys.argv
TEMPLATE = """
    INSERT INTO task_templates (id, organization_id, name, output_schema, route) VALUES (1, 1, 'first', ?1, ?2)
"""
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
ROUTE = {
    "stages": [{"kind": "ai", "candidates": [{"profile": "echo", "settings": {"output": {"title": "done"}}}]}]
}


class Runtime(ModuleType):
    """Replaces a module that only the Workers runtime has: each of its attributes is a class."""

    __path__: list[str] = []  # noqa: RUF012  # this attribute makes it a package

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


class Doorbell:
    """A delivered message."""

    id = "first"
    body: object = {"v": 1}
    attempts = 1

    def ack(self) -> None:
        """Ignore the verdict."""

    def retry(self, delay_s: int) -> None:
        """The first message may not fail."""
        raise AssertionError(delay_s)


class Spent:
    """What each step took: CPU milliseconds without those of SQLite, or the KiB that are in use after it.

    A Worker does not pay for the CPU time of D1."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._before = time.process_time_ns()

    def begin(self) -> None:
        """Leave out everything since the last step."""
        self._before = time.process_time_ns()

    def without(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time counts for no step."""

        def call(*arguments: Any) -> Any:
            before = time.process_time_ns()
            try:
                return function(*arguments)
            finally:
                self._before += time.process_time_ns() - before

        return call

    def end(self, step: str) -> None:
        """Note a step."""
        spent = (time.process_time_ns() - self._before) / 1e6
        if HEAP:
            gc.collect()
            spent = tracemalloc.get_traced_memory()[0] / 1024
        self.steps[step] = spent
        self.begin()


def open_world(place: Path, spent: Spent) -> Callable[[], Any]:
    """Fill a database, and return what makes a world on it."""
    import httpx2

    from consumer.core.profile import accounts
    from consumer.local import migrate
    from consumer.local.blobs import FileBlobs
    from consumer.local.clock import SystemClock, SystemEntropy
    from consumer.local.database import SqliteDatabase
    from consumer.local.kv import SqliteKeyValue
    from consumer.local.queue import LocalQueue
    from consumer.ports import Statement
    from consumer.world import World
    from providers import PROVIDERS

    clock, database = SystemClock(), SqliteDatabase(place / "tasks.sqlite3")
    migrate.apply(database, Path.cwd() / "migrations")
    values = (json.dumps(SCHEMA), json.dumps(ROUTE))
    add = "INSERT INTO organizations (id, name) VALUES (1, 'first')"
    task = "INSERT INTO tasks (template_id, organization_id, title) VALUES (1, 1, 'first')"
    database.run([Statement(add), Statement(TEMPLATE, values), Statement(task)])
    database.run = spent.without(database.run)  # type: ignore[method-assign]
    ports: dict[str, Any] = {
        "database": database,
        "kv": SqliteKeyValue(place / "kv.sqlite3", clock),
        "blobs": FileBlobs(place / "blobs"),
        "queue": LocalQueue(place / "queue.sqlite3", "doorbells", clock),
        "clock": clock,
        "entropy": SystemEntropy(),
        "http": httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(500))),
    }

    def connect() -> Any:
        known = accounts({"echo": {"provider": "echo", "price": {"per_task": "0"}}}, {})
        return World(**ports, providers=PROVIDERS, accounts=known, link_secret="x" * 32)

    return connect


async def request(world: Any, key: str) -> None:
    """Submit a task over HTTP, and read it."""
    from consumer.app import App
    from consumer.web.app import build

    body = json.dumps({"template": 1, "title": "second"}).encode()
    for method, path, sent in (("POST", "/v1/tasks", body), ("GET", "/v1/tasks/1", b"")):
        answer: list[dict[str, Any]] = []

        async def receive(sent: bytes = sent) -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: dict[str, Any], answer: list[dict[str, Any]] = answer) -> None:
            answer.append(message)

        headers = [
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(sent)).encode()),
        ]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": headers,
            "scheme": "http",
            "server": ("127.0.0.1", 80),
        }
        await build(App(world))(scope, receive, send)  # type: ignore[arg-type]  # our dictionaries are ASGI's
        assert answer[0]["status"] in {200, 201}, answer


async def main(place: Path) -> dict[str, float]:
    """Measure the import, a message, a request and a tick, in this order."""
    spent = Spent()
    import consumer.worker  # noqa: F401

    spent.end("import")
    connect = open_world(place, spent)
    from consumer import telemetry
    from consumer.app import App

    spent.begin()
    telemetry.configure("INFO")
    world = connect()
    await App(world).on_messages([Doorbell()])
    spent.end("message")
    from consumer.service import keys

    key = await keys.create_key(world, 1, "member")
    spent.begin()
    await request(world, key)
    spent.end("request")
    await App(world).on_tick()
    spent.end("tick")
    spent.steps["modules"] = sum(name.partition(".")[0] in {"consumer", "providers"} for name in sys.modules)
    return spent.steps


if __name__ == "__main__":
    for name in ("js", "pyodide", "pyodide.ffi", "workers"):
        sys.modules[name] = Runtime(name)
    for name in ONLY_HERE:
        sys.modules[name] = None  # type: ignore[assignment]  # this value makes its import fail
    if HEAP:
        tracemalloc.start()
    with tempfile.TemporaryDirectory() as directory:
        sys.stdout.write(json.dumps(asyncio.run(main(Path(directory)))))
