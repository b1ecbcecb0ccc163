"""A server on loopback for the Worker's outgoing calls: it answers or misbehaves as a test wants.

with Loopback(lambda seen: Answer(json={"ok": True}, delay_s=0.2)) as server:
    server.url  # "http://127.0.0.1:40123"
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self

CHUNK: Final = b"x" * 65_536
BROKEN: Final = (BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply.

    `reset`: break the connection before the headers, or in the middle of the body.  `delay_s`: before the headers.
    `flood`: send this number of bytes, in chunks, instead of the body.
    """

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    delay_s: float = 0.0
    reset: Literal["headers", "body"] | None = None
    flood: int = 0


Script = Callable[[Seen], Answer]


@dataclass
class Loopback:
    """A running server, inside `with`.  `seen` has every request, `given_up` those whose client closed early."""

    script: Script
    port: int = 0
    """The port to listen on; 0: any free one."""
    seen: list[Seen] = field(default_factory=list)
    given_up: list[Seen] = field(default_factory=list)
    peak: int = 0
    """The maximum number of requests that waited for an answer at the same time."""

    def __post_init__(self) -> None:
        self._waiting = 0
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The origin, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, seen: Seen) -> Answer:
        """Note a request and choose its reply."""
        with self._lock:
            self.seen.append(seen)
            self._waiting += 1
            self.peak = max(self.peak, self._waiting)
        try:
            chosen = self.script(seen)
            time.sleep(chosen.delay_s)
            return chosen
        finally:
            with self._lock:
                self._waiting -= 1

    def drain(self) -> list[Seen]:
        """The requests since the last call."""
        with self._lock:
            seen, self.seen = self.seen, []
        return seen

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a kept-alive connection would keep its thread, and this one, for ever
    request_queue_size = 128

    def __init__(self, owner: Loopback) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", owner.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except BROKEN:
            self.close_connection = True

    def reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, body)
        owner = self.server.owner
        try:
            self._play(owner.answer(seen))
        except BROKEN:
            owner.given_up.append(seen)
            raise

    do_GET = do_HEAD = do_POST = do_PUT = reply  # noqa: N815  # the base class's names

    def _play(self, answer: Answer) -> None:
        if answer.delay_s and self._is_gone():
            raise BrokenPipeError
        if answer.reset == "headers":
            self._break()
            return
        body = answer.body if answer.json is None else json.dumps(answer.json).encode()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("content-length", str(answer.flood or len(body)))
        self.end_headers()
        self._send(answer, body)

    def _send(self, answer: Answer, body: bytes) -> None:
        if answer.reset == "body":
            self.wfile.write(body[: len(body) // 2])
            self._break()
        elif answer.flood:
            for _ in range(0, answer.flood, len(CHUNK)):
                self.wfile.write(CHUNK)
        elif self.command != "HEAD":
            self.wfile.write(body)

    def _is_gone(self) -> bool:
        """Whether the client has closed the connection: then a read returns no bytes."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def _break(self) -> None:
        """End the connection with a reset."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""


def closed_port() -> int:
    """A port on loopback that refuses connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def completion(content: Any, *, model: str = "mock") -> dict[str, Any]:
    """A chat completion whose text is `content` as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }
