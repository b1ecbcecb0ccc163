"""Requests that bring no reply: the reason names the address and what is wrong with it."""

from __future__ import annotations

import asyncio
import socket

import httpx2
import pytest

from consumer.execution.network import address, network_reason


async def reason(url: str) -> str:
    request = httpx2.Request("GET", url)
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            await client.send(request)
        except Exception as error:  # noqa: BLE001  # the reason is about any error
            return network_reason(request, error)
    return "it was answered"


async def test_a_port_on_which_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert await reason(f"http://127.0.0.1:{port}/v1?key=secret") == (
        f"network: 127.0.0.1:{port} refused the connection: nothing listens there"
    )


async def test_a_host_that_does_not_exist() -> None:
    assert await reason("http://nosuch.invalid/v1") == "network: unknown host nosuch.invalid"


@pytest.mark.parametrize(
    ("scheme", "sent", "expected"),
    [
        ("http", b"", "closed the connection, or does not speak HTTP (RemoteProtocolError)"),
        ("http", b"hello\n\n", "closed the connection, or does not speak HTTP (RemoteProtocolError)"),
        ("https", b"hello\n\n", "offers no TLS that can be trusted (ConnectError)"),
    ],
)
async def test_a_server_that_speaks_something_else(scheme: str, sent: bytes, expected: str) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await reason(f"{scheme}://127.0.0.1:{port}/") == f"network: 127.0.0.1:{port} {expected}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx2.ConnectTimeout(""), "network: api.test:8443 did not accept a connection in time"),
        (httpx2.ConnectError(""), "network: no connection to api.test:8443 (ConnectError)"),
        (httpx2.ReadError("reset"), "network: the request to api.test:8443 broke off (ReadError)"),
        (RuntimeError("x"), "network: the request to api.test:8443 broke off (RuntimeError)"),
    ],
)
def test_an_error_names_the_address_and_nothing_secret_of_it(error: Exception, expected: str) -> None:
    request = httpx2.Request("POST", "https://user:password@api.test:8443/v1/secret?key=secret")

    assert address(request) == "api.test:8443"
    assert network_reason(request, error) == expected
