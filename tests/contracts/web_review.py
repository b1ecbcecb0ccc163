"""Reviews on every host: a person approves a draft, changes it, or rejects it."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.policy import DAY, SECOND
from tests.support.browsing import (
    ANSWER,
    PERSON,
    SCHEMA,
    TYPED,
    assigned,
    link,
    look,
    outcome,
    send,
    values,
)
from tests.support.deployment import Deployment, DeploymentSuite, refused, stage

REVIEW = stage("review", "inbox")
DRAFT = {"answer": "maybe", "stars": 3}


async def reviewed(
    deployment: Deployment, draft: Any = DRAFT, schema: dict[str, Any] = SCHEMA
) -> tuple[int, str]:
    """A task that waits for a review of a draft."""
    return await assigned(deployment, stage("ai", "echo", output=draft), REVIEW, schema=schema)


class ReviewPageContract(DeploymentSuite):
    """A person decides on a draft."""

    async def test_the_draft_stands_in_the_form(self, deployment: Deployment) -> None:
        _, place = await reviewed(deployment, ANSWER)

        page = (await look(deployment, place)).text

        for name, typed in {**TYPED, "output.tags": "a\nb", "output.extra": '{\n  "n": 1\n}'}.items():
            assert values(page, name) == [typed.replace("\r\n", "\n")], name
        assert "novalidate" in page

    async def test_approving_takes_the_draft(self, deployment: Deployment) -> None:
        task, place = await reviewed(deployment)

        page = await send(
            deployment, place, {"output.answer": "maybe", "output.stars": "3"}, decision="approve"
        )

        assert page.status_code == 200
        assert await outcome(deployment, task) == DRAFT

    async def test_approving_needs_no_fields(self, deployment: Deployment) -> None:
        task, place = await reviewed(deployment)

        await send(deployment, place, decision="approve")

        assert await outcome(deployment, task) == DRAFT

    async def test_approving_a_changed_draft_asks_for_confirmation(self, deployment: Deployment) -> None:
        task, place = await reviewed(deployment)

        page = await send(
            deployment, place, {"output.answer": "no!", "output.stars": "3"}, decision="approve", note="hm"
        )

        assert page.status_code == 422
        assert "you have changed the draft" in page.text
        assert values(page.text, "output.answer") == ["no!"]
        assert values(page.text, "decision") == ["approve"]
        assert values(page.text, "note") == ["hm"]
        await send(deployment, place, {"output.answer": "no!", "output.stars": "3"}, decision="edit")
        assert await outcome(deployment, task) == {"answer": "no!", "stars": 3}

    async def test_rejecting_needs_no_valid_fields(self, deployment: Deployment) -> None:
        task, place = await reviewed(deployment)

        page = await send(deployment, place, {"output.stars": "x"}, decision="reject", note="wrong")

        assert page.status_code == 200
        shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["reason"]) == ("failed", "rejected")
        assert (await send(deployment, place, decision="reject", note="wrong")).text == page.text

    async def test_sending_a_draft_back_has_it_done_again(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment, PERSON, REVIEW)
        await send(deployment, place, TYPED)
        await deployment.work()
        place = await link(deployment, task)
        page = await send(deployment, place, decision="reject", redo="yes")
        assert (page.status_code, "say what to do better" in page.text) == (422, True)

        await send(deployment, place, decision="reject", redo="yes", note="shorter <please>")
        await deployment.work()

        again = await link(deployment, task)
        assert again != place
        assert "shorter &lt;please&gt;" in (await look(deployment, again)).text

    @pytest.mark.parametrize(
        ("typed", "field"),
        [
            ({}, "decision"),
            ({"decision": "maybe"}, "decision"),
            ({"decision": "approve", "redo": "yes"}, "decision"),
            ({"decision": "edit", "output.answer": ""}, "answer"),
        ],
    )
    async def test_an_unknown_decision_is_refused(
        self, deployment: Deployment, typed: dict[str, str], field: str
    ) -> None:
        _, place = await reviewed(deployment)

        problem = refused(await send(deployment, place, typed, accept="application/json"), 422)

        assert problem["errors"][0]["field"] == field
        assert (await send(deployment, place, typed)).status_code == 422

    @pytest.mark.parametrize(
        "draft",
        [
            {"more": {"a": [1, {"b": None}]}, "answer": "x"},
            {"answer": "a\rb\x01"},
            {"answer": "x", "deep": 10**30},
        ],
        ids=["other names", "characters", "number"],
    )
    async def test_a_draft_that_no_form_shows_is_edited_as_json(
        self, deployment: Deployment, draft: dict[str, Any]
    ) -> None:
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
        task, place = await reviewed(deployment, draft, schema)
        assert (await send(deployment, place, decision="approve")).status_code == 200
        assert await outcome(deployment, task) == draft

    async def test_a_review_after_its_time_is_still_answered(self, deployment: Deployment) -> None:
        _, place = await reviewed(deployment)
        deployment.clock.advance(7 * DAY + SECOND)
        await deployment.work()

        assert (await send(deployment, place, decision="approve")).status_code in (200, 410)
