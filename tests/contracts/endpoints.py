"""Tasks for a system or a person behind an HTTP endpoint, from the route to the signed callback."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.policy import HOUR, MINUTE
from consumer.core.times import iso
from tests.support.deployment import Deployment, DeploymentSuite, stage
from tests.support.endpoint import NEW, OLD, OUTPUT, Endpoint, report


async def asked(deployment: Deployment, kind: str = "human", **limits: Any) -> int:
    """Submit a task to the endpoint, and let the worker work; return its id."""
    template = await deployment.put(stage(kind, "endpoint"), name="endpoint", limits=limits)
    task = await deployment.submit(template, input={"scan": 7})
    await deployment.work()
    return task


async def shown(deployment: Deployment, task: int) -> dict[str, Any]:
    response = await deployment.ask("GET", f"/v1/tasks/{task}")
    return dict(response.json())


async def execution(deployment: Deployment) -> dict[str, Any]:
    (row,) = await deployment.rows("SELECT * FROM task_executions")
    return dict(row)


class EndpointContract(DeploymentSuite):
    @pytest.fixture
    async def endpoint(self, deployment: Deployment) -> Endpoint:
        endpoint = Endpoint(deployment)
        await endpoint.serve()
        return endpoint

    async def test_an_endpoint_that_answers_at_once_completes_the_task_at_its_cost(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        endpoint.replies = [
            (200, report("succeeded", output=OUTPUT, cost={"amount": "0.4", "currency": "USD"}))
        ]

        task = await shown(deployment, await asked(deployment))

        assert (task["status"], task["outcome"]) == ("completed", OUTPUT)
        row = await execution(deployment)
        assert (row["cost_micro"], row["cost_source"], row["provider"]) == (400_000, "provider", "webhook")
        assert endpoint.task["input"] == {"scan": 7}
        assert endpoint.task["schema"]["required"] == ["title"]

    async def test_without_a_cost_the_declared_price_counts(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        endpoint.replies = [(200, report("succeeded", output=OUTPUT))]

        await asked(deployment)

        assert (await execution(deployment))["cost_micro"] == 250_000

    async def test_a_signed_callback_brings_the_answer_of_a_task_that_was_accepted(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        task = await asked(deployment)
        assert (await shown(deployment, task))["status"] == "waiting"

        response = await endpoint.call_back(report("succeeded", id=endpoint.task["id"], output=OUTPUT))
        await deployment.work()

        assert response.status_code == 200
        assert (await shown(deployment, task))["outcome"] == OUTPUT
        assert len(endpoint.sent) == 1

    async def test_a_refusal_ends_the_execution_with_its_reason(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        task = await asked(deployment)

        await endpoint.call_back(report("refused", reason="not legible"))
        await deployment.work()

        assert (await shown(deployment, task))["reason"] == "refused: not legible"
        assert (await execution(deployment))["cost_micro"] == 0

    async def test_progress_changes_nothing_and_the_answer_still_counts(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        task = await asked(deployment)
        await endpoint.call_back(report("progress", percent=50), "event-1")
        await deployment.work()
        assert (await shown(deployment, task))["status"] == "waiting"

        await endpoint.call_back(report("succeeded", output=OUTPUT), "event-2")
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"

    async def test_a_callback_that_is_forged_old_or_for_another_task_changes_nothing(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        task, done = await asked(deployment), report("succeeded", output=OUTPUT)

        answers = [
            await endpoint.call_back(done, secret=NEW),
            await endpoint.call_back(done, **{"webhook-id": "another"}),
            await endpoint.call_back(done, **{"webhook-timestamp": "1"}),
        ]
        endpoint.task["callback_url"] = endpoint.task["callback_url"].replace("mark=", "mark=0")
        answers.append(await endpoint.call_back(done))
        await deployment.work()

        assert {answer.status_code for answer in answers} == {401}
        assert (await shown(deployment, task))["status"] == "waiting"
        assert await deployment.rows("SELECT * FROM webhooks") == []

    async def test_a_replayed_callback_counts_once(self, deployment: Deployment, endpoint: Endpoint) -> None:
        await asked(deployment)
        done = report("succeeded", output=OUTPUT, cost={"amount": 1, "currency": "USD"})

        for _ in range(3):
            await endpoint.call_back(done)
            await deployment.work()

        assert (await execution(deployment))["cost_micro"] == 1_000_000
        assert len(await deployment.rows("SELECT * FROM webhooks")) == 1

    async def test_our_own_request_sent_back_is_no_answer(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        """Both directions share a secret, so a stranger who sees our request has a genuine signature of it."""
        task = await asked(deployment)

        await endpoint.call_back(report("created", output=OUTPUT))
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "waiting"

    async def test_an_endpoint_that_is_gone_rests_its_profile_and_fails_no_task(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        endpoint.replies = [(410, None)]
        tasks = [await asked(deployment, attempts=1), await asked(deployment, attempts=1)]

        rows = [await shown(deployment, task) for task in tasks]
        assert [row["status"] for row in rows] == ["pending", "pending"]
        assert len(endpoint.sent) == 1
        (rest,) = await deployment.rows("SELECT * FROM rests")
        assert (rest["profile"], rest["reason"]) == ("endpoint", "endpoint_gone")
        history = (await deployment.ask("GET", f"/v1/tasks/{tasks[1]}/history")).json()
        assert "because its provider refused one (endpoint_gone)" in history["why"]

        deployment.clock.advance(HOUR + MINUTE)
        for _ in range(3):
            await deployment.work()
            deployment.clock.advance(HOUR)
        assert {entry.type for entry in endpoint.sent} == {"task.created"}
        assert [(await shown(deployment, task))["status"] for task in tasks] == ["waiting", "waiting"]

    async def test_a_cancelled_task_is_cancelled_at_the_endpoint(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        task = await asked(deployment)
        endpoint.replies = [
            (200, report("cancelled", cost={"amount": "0.10", "currency": "USD"})),
        ]

        await deployment.ask("POST", f"/v1/tasks/{task}/cancel")
        await deployment.work()

        cancel = endpoint.sent[-1]
        assert (cancel.type, cancel.data["id"]) == ("task.cancel", endpoint.task["id"])
        assert (await shown(deployment, task))["status"] == "cancelled"
        assert (await execution(deployment))["cost_micro"] == 100_000

    async def test_an_endpoint_without_cancel_is_not_asked_to(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        await endpoint.serve(cancel=False)
        task = await asked(deployment)

        await deployment.ask("POST", f"/v1/tasks/{task}/cancel")
        await deployment.work()

        assert [entry.type for entry in endpoint.sent] == ["task.created"]

    async def test_an_endpoint_is_polled_at_the_address_of_its_job(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        await endpoint.serve(kind="ai", poll=True, callbacks=False)
        endpoint.replies = [
            (202, report("accepted", job="jobs/17")),
            (202, None),
            (200, report("succeeded", output=OUTPUT)),
        ]
        task = await asked(deployment, "ai")
        for _ in range(2):
            deployment.clock.advance(HOUR)
            await deployment.work()

        assert [(entry.method, entry.path) for entry in endpoint.sent] == [
            ("POST", "/tasks"),
            ("GET", "/tasks/jobs/17"),
            ("GET", "/tasks/jobs/17"),
        ]
        assert len({entry.id for entry in endpoint.sent}) == 3
        assert (await shown(deployment, task))["status"] == "completed"
        assert endpoint.task["callback_url"] is None

    async def test_after_a_callback_about_progress_the_endpoint_is_still_polled(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        await endpoint.serve(poll=True)
        task = await asked(deployment)
        await endpoint.call_back(report("progress"))
        await deployment.work()
        endpoint.replies = [(200, report("succeeded", output=OUTPUT))]

        deployment.clock.advance(HOUR)
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"
        assert [entry.method for entry in endpoint.sent] == ["POST", "GET"]

    async def test_the_deadline_is_that_of_a_person_or_of_the_task(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        now = deployment.clock.ms
        endpoint.replies = [(200, report("succeeded", output=OUTPUT))] * 2
        await asked(deployment, person_s=7_200, job_s=60)
        await asked(deployment, person_s=7_200, task_s=600)

        assert [entry.data["deadline"] for entry in endpoint.sent] == [
            iso(now + 2 * HOUR),
            iso(now + 10 * MINUTE),
        ]

    async def test_the_profile_says_whether_a_person_does_the_work(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        with pytest.raises(BadInput, match=r"candidates\[0\]\.profile: a stage of kind ai needs"):
            await deployment.put(stage("ai", "endpoint"), name="wrong")
        await endpoint.serve(kind="ai")

        await deployment.put(stage("ai", "endpoint"), name="right")

        with pytest.raises(BadInput, match="a stage of kind human needs"):
            await deployment.put(stage("human", "endpoint"), name="wrong")

    @pytest.mark.parametrize("knows", [OLD, NEW])
    async def test_both_secrets_count_while_one_is_being_changed(
        self, deployment: Deployment, endpoint: Endpoint, knows: str
    ) -> None:
        await endpoint.serve(f"{NEW} {OLD}")
        endpoint.secret = knows
        task = await asked(deployment)

        await endpoint.call_back(report("succeeded", output=OUTPUT))
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"

    async def test_a_lost_reply_is_repeated_under_its_key_and_the_work_is_done_once(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        await endpoint.serve(kind="ai", honours_key=True)
        endpoint.replies = [(502, None), (200, report("succeeded", output=OUTPUT))]
        task = await asked(deployment, "ai")
        deployment.clock.advance(HOUR)
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"
        assert (len(endpoint.sent), len(endpoint.ledger)) == (2, 1)

    async def test_a_callback_after_a_lost_reply_is_evidence(
        self, deployment: Deployment, endpoint: Endpoint
    ) -> None:
        endpoint.replies = [(504, None)]
        task = await asked(deployment)

        await endpoint.call_back(report("succeeded", output=OUTPUT))
        await deployment.work()

        assert (await shown(deployment, task))["status"] == "completed"
        assert len(endpoint.sent) == 1

    async def test_a_redirect_is_not_followed(self, deployment: Deployment, endpoint: Endpoint) -> None:
        """It could lead into a private network, with a body that we signed."""
        endpoint.replies = [httpx2.Response(307, headers={"location": "http://169.254.169.254/"})]

        task = await asked(deployment)

        assert endpoint.hosts == ["endpoint.test"]
        assert (await shown(deployment, task))["status"] == "failed"
