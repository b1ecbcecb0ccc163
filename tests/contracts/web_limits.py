"""The limit on requests: of an address before its key is read, and of a key.  Fixtures: `database`, `kv`, `blobs`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2

from consumer.app import App
from consumer.web.app import build
from tests.support.deployment import Deployment, DeploymentSuite, refused


class Limit:
    """A limiter that allows everything except some callers."""

    def __init__(self, *refused_prefixes: str) -> None:
        self._refused = refused_prefixes
        self.counted: list[str] = []

    async def allow(self, who: str) -> bool:
        self.counted.append(who)
        return not who.startswith(self._refused)


async def answer(
    deployment: Deployment, limit: Limit, path: str = "/v1/tasks", key: str = "member", **headers: str
) -> httpx2.Response:
    """The answer to a request of a client with a known address."""
    app = build(App(replace(deployment.world, limiter=limit)))
    transport = httpx2.ASGITransport(app=app, client=("203.0.113.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://bizq.test") as client:
        given = {"authorization": f"Bearer {deployment.keys.get(key, key)}", **headers}
        return await client.get(path, headers=given)


class LimitsContract(DeploymentSuite):
    async def test_an_address_with_too_many_requests_is_refused_before_its_key_is_read(
        self, deployment: Deployment
    ) -> None:
        before = deployment.database.batches

        response = await answer(deployment, Limit("address"), key="bizq_0123456789ab_guessed")

        refused(response, 429)
        assert response.headers["retry-after"] == "60"
        assert deployment.database.batches == before

    async def test_a_key_with_too_many_requests_is_refused(self, deployment: Deployment) -> None:
        limit = Limit("key")

        refused(await answer(deployment, limit), 429)

        assert limit.counted == ["address 203.0.113.9", f"key {deployment.keys['member'].split('_')[1]}"]

    async def test_a_request_within_the_limit_is_answered(self, deployment: Deployment) -> None:
        assert (await answer(deployment, Limit("another"))).status_code == 200

    async def test_a_client_cannot_choose_the_address_that_is_counted(self, deployment: Deployment) -> None:
        limit = Limit()

        await answer(deployment, limit, **{"cf-connecting-ip": "198.51.100.1"})

        assert limit.counted[0] == "address 203.0.113.9"

    async def test_pages_and_health_are_not_counted(self, deployment: Deployment) -> None:
        limit = Limit("address", "key")
        for path in ("/", "/healthz", "/openapi.json", "/problems"):
            response: Any = await answer(deployment, limit, path)
            assert response.status_code == 200, path
        assert limit.counted == []
