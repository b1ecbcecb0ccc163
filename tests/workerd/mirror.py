"""The server for the transport's tests inside the Worker: each path misbehaves in another way."""

from __future__ import annotations

import gzip
from typing import Final
from urllib.parse import urlsplit

from tests.workerd.loopback import Answer, Loopback, Seen

TEXT: Final = b"0123456789" * 1000

ANSWERS: Final = {
    "/empty": Answer(status=204),
    "/unchanged": Answer(status=304),
    "/text": Answer(body=TEXT, headers=[("content-type", "text/plain")]),
    "/redirect": Answer(status=302, headers=[("location", "/headers")]),
    "/cookies": Answer(
        headers=[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-two", "1"), ("x-two", "2")]
    ),
    "/gzip": Answer(body=gzip.compress(TEXT), headers=[("content-encoding", "gzip")]),
    "/flood": Answer(flood=200 * 1024 * 1024),
    "/slow": Answer(body=TEXT, delay_s=0.3),
    "/reset-headers": Answer(reset="headers"),
    "/reset-body": Answer(body=TEXT, reset="body"),
}


def serve() -> Loopback:
    """A server to enter; `/seen` lists its requests, and `/given-up` those whose client closed early."""

    def script(seen: Seen) -> Answer:
        path = urlsplit(seen.path).path
        if path == "/headers":
            return Answer(json={**seen.headers, "method": seen.method, "body": seen.body.decode()})
        if path == "/seen":
            return Answer(json=[request.path for request in server.seen])
        if path == "/given-up":
            return Answer(json=[request.path for request in server.given_up])
        return ANSWERS[path]

    server = Loopback(script)
    return server
