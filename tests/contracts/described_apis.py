"""An API that a profile describes as data, through the whole worker: a fake of Replicate that keeps a ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import pytest
from standardwebhooks import Webhook

from consumer.app import App
from consumer.core.policy import HOUR, MINUTE
from consumer.core.profile import accounts
from consumer.web.app import build
from tests.fixtures.http import PROFILE
from tests.support.deployment import Deployment, DeploymentSuite, stage

HOOK: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN: Final = "r8-token-of-the-tests"
OUTPUT: Final = ['{"title": ', '"by a model"}']


class Replicate:
    """Predictions by their ids.  `lost`: how many submissions do their work, and lose the reply."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.predictions: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.lost = 0

    def serve(self) -> None:
        deployment = self.deployment
        secrets = {"REPLICATE_API_TOKEN": TOKEN, "REPLICATE_HOOK": HOOK}
        known = {**deployment.world.accounts, **accounts({"replicate": PROFILE}, secrets)}
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        deployment.world = replace(deployment.world, accounts=known, http=http)
        transport = httpx2.ASGITransport(app=build(App(deployment.world)))
        deployment.client = httpx2.AsyncClient(transport=transport, base_url="http://bizq.test")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        path = request.url.path.removeprefix("/v1")
        self.asked.append((request.method, path))
        if (request.method, path) == ("POST", "/predictions"):
            return self._create(json.loads(request.content))
        _, _, name, *action = path.split("/")
        if name not in self.predictions:
            return httpx2.Response(404, json={"detail": "Not found"})
        if action == ["cancel"] and self.predictions[name]["status"] == "starting":
            self.predictions[name]["status"] = "canceled"
        return httpx2.Response(200, json=self.predictions[name])

    def _create(self, body: dict[str, Any]) -> httpx2.Response:
        name = f"job-{len(self.predictions)}"
        metrics: dict[str, Any] = {}
        prediction = {"id": name, "status": "starting", "output": None, "error": None, "metrics": metrics}
        self.predictions[name] = {**prediction, **body}
        if self.lost:
            self.lost -= 1
            return httpx2.Response(504)
        return httpx2.Response(201, json=self.predictions[name])

    def end(self, status: str = "succeeded", output: Any = OUTPUT, error: str | None = None) -> None:
        """Let the only prediction end after two seconds of work."""
        (prediction,) = self.predictions.values()
        prediction |= {"status": status, "output": output, "error": error, "metrics": {"predict_time": 2}}

    async def call_back(self) -> httpx2.Response:
        """Report the only prediction to its webhook."""
        (prediction,) = self.predictions.values()
        body, stamp = json.dumps(prediction), self.deployment.clock.ms // 1000
        signature = Webhook(HOOK).sign("msg_1", datetime.fromtimestamp(stamp, UTC), body)
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(stamp), "webhook-signature": signature}
        path = prediction["webhook"].removeprefix("http://bizq.test")
        return await self.deployment.ask("POST", path, content=body.encode(), headers=headers, key=None)


async def asked(deployment: Deployment, **limits: Any) -> int:
    """Submit a task to the API, and let the worker work; return its id."""
    template = await deployment.put(stage("ai", "replicate", model="v1"), name="replicate", limits=limits)
    task = await deployment.submit(template)
    await deployment.work()
    return task


async def shown(deployment: Deployment, task: int) -> dict[str, Any]:
    return dict((await deployment.ask("GET", f"/v1/tasks/{task}")).json())


async def execution(deployment: Deployment) -> dict[str, Any]:
    return dict((await deployment.rows("SELECT * FROM task_executions ORDER BY id DESC"))[0])


class DescribedApiContract(DeploymentSuite):
    @pytest.fixture
    async def api(self, deployment: Deployment) -> Replicate:
        api = Replicate(deployment)
        api.serve()
        return api

    async def test_a_job_is_polled_until_it_has_its_answer_and_its_cost(
        self, deployment: Deployment, api: Replicate
    ) -> None:
        task = await asked(deployment)
        assert (await shown(deployment, task))["status"] == "waiting"
        deployment.clock.advance(MINUTE)
        await deployment.work()
        assert (await shown(deployment, task))["status"] == "waiting"

        api.end()
        deployment.clock.advance(HOUR)
        await deployment.work()

        assert (await shown(deployment, task))["outcome"] == {"title": "by a model"}
        row = await execution(deployment)
        assert (row["external_id"], row["cost_micro"], row["cost_source"]) == ("job-0", 1_950, "provider")
        assert api.asked == [("POST", "/predictions"), *[("GET", "/predictions/job-0")] * 2]
        assert api.predictions["job-0"]["input"]["max_tokens"] == 1024

    async def test_a_signed_webhook_brings_the_answer_without_a_poll(
        self, deployment: Deployment, api: Replicate
    ) -> None:
        task = await asked(deployment)
        api.end()

        assert (await api.call_back()).status_code == 200
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"
        assert len(api.asked) == 1

    async def test_a_failed_job_fails_with_the_words_of_the_api_and_costs(
        self, deployment: Deployment, api: Replicate
    ) -> None:
        task = await asked(deployment)
        api.end("failed", None, "CUDA out of memory")
        deployment.clock.advance(HOUR)
        await deployment.work()

        assert (await shown(deployment, task))["reason"] == "failed: CUDA out of memory"
        assert (await execution(deployment))["cost_micro"] == 1_950

    async def test_a_cancelled_task_cancels_its_job(self, deployment: Deployment, api: Replicate) -> None:
        task = await asked(deployment)

        await deployment.ask("POST", f"/v1/tasks/{task}/cancel")
        await deployment.work()

        assert api.predictions["job-0"]["status"] == "canceled"
        assert (await execution(deployment))["status"] == "cancelled"

    async def test_a_webhook_is_evidence_for_a_submission_whose_reply_was_lost(
        self, deployment: Deployment, api: Replicate
    ) -> None:
        api.lost = 1
        task = await asked(deployment)
        assert (await execution(deployment))["status"] == "unknown"

        api.end()
        await api.call_back()
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"
        assert len(api.predictions) == 1
