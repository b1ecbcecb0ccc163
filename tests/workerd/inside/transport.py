"""`consumer.cloudflare.http` on the platform's `fetch`, against a server on loopback.  Run inside the Worker only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from workers import env

from consumer.cloudflare.http import client

TEXT = "0123456789" * 1000


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with client() as opened:
        yield opened


def at(path: str) -> str:
    return f"{env.SERVER}{path}"


async def report(http: httpx2.AsyncClient, path: str) -> Any:
    return (await http.get(at(path))).json()


async def test_request_and_reply_cross_unchanged(http: httpx2.AsyncClient) -> None:
    headers = {"x-api-key": "k", "user-agent": "bizq-task-worker", "content-type": "text/plain"}
    reply = await http.post(at("/headers"), headers=headers, content=b"gr\xc3\xb6\xc3\x9fe")
    seen = reply.json()
    assert reply.status_code == 200
    assert {name: seen[name] for name in headers} == headers
    assert (seen["method"], seen["body"]) == ("POST", "größe")


async def test_a_redirect_is_reported_and_not_followed(http: httpx2.AsyncClient) -> None:
    reply = await http.post(at("/redirect"), content=b"x", headers={"x-api-key": "secret"})
    assert (reply.status_code, reply.headers["location"]) == (302, "/headers")


@pytest.mark.parametrize(("path", "status"), [("/empty", 204), ("/unchanged", 304)])
async def test_a_reply_without_a_body_is_read(http: httpx2.AsyncClient, path: str, status: int) -> None:
    reply = await http.get(at(path))
    assert (reply.status_code, reply.content) == (status, b"")


async def test_a_head_request_is_answered(http: httpx2.AsyncClient) -> None:
    reply = await http.head(at("/text"))
    assert (reply.status_code, reply.content) == (200, b"")


async def test_every_cookie_arrives(http: httpx2.AsyncClient) -> None:
    reply = await http.get(at("/cookies"))
    assert reply.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert reply.headers["x-two"] == "1, 2"


async def test_a_compressed_body_is_decoded_once(http: httpx2.AsyncClient) -> None:
    reply = await http.get(at("/gzip"))
    assert reply.text == TEXT
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize("path", ["/reset-headers", "/reset-body"])
async def test_a_broken_connection_is_an_error_of_reading(http: httpx2.AsyncClient, path: str) -> None:
    """It is never an error of connecting, because the request may have arrived."""
    with pytest.raises(httpx2.ReadError):
        await http.post(at(path), content=b"x")


async def test_a_refused_connection_is_an_error_of_reading_too(http: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.ReadError):
        await http.post("http://127.0.0.1:1/", content=b"x")


async def test_a_post_is_never_sent_twice(http: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.ReadError):
        await http.post(at("/reset-headers?once"), content=b"x")
    assert (await report(http, "/seen")).count("/reset-headers?once") == 1


async def test_a_cut_off_reply_stops_at_the_server(http: httpx2.AsyncClient) -> None:
    """A reader that has enough stops; the rest is neither read nor kept."""
    async with http.stream("GET", at("/flood?cut")) as reply:
        size = 0
        async for part in reply.aiter_bytes():
            size += len(part)
            if size > 100_000:
                break
    assert size < 2_000_000
    await until_given_up(http, "/flood?cut")


async def test_a_call_that_is_cancelled_is_aborted(http: httpx2.AsyncClient) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await http.get(at("/slow?cancelled"))
    await until_given_up(http, "/slow?cancelled")


async def test_an_unread_reply_is_aborted(http: httpx2.AsyncClient) -> None:
    async with http.stream("GET", at("/flood?unread")):
        pass
    await until_given_up(http, "/flood?unread")


async def until_given_up(http: httpx2.AsyncClient, path: str) -> None:
    async with asyncio.timeout(5):
        while path not in await report(http, "/given-up"):  # noqa: ASYNC110  # the event is in another process
            await asyncio.sleep(0.05)


async def test_a_fully_read_reply_is_not_aborted(http: httpx2.AsyncClient) -> None:
    assert (await http.get(at("/text?whole"))).text == TEXT
    assert "/text?whole" not in await report(http, "/given-up")


async def test_many_concurrent_requests_are_answered(http: httpx2.AsyncClient) -> None:
    replies = await asyncio.gather(*(http.get(at(f"/slow?{n}")) for n in range(20)))
    assert [reply.text for reply in replies] == [TEXT] * 20


async def test_an_impossible_address_is_an_error_of_httpx2(http: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.HTTPError):
        await http.get("http://nowhere.invalid/")
