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

    async def test_a_property_called_note_is_not_the_reviewers_note(self, deployment: Deployment) -> None:
        """The form's own fields and the answer's have names of their own, in the form and in errors."""
        names = ("note", "decision", "redo", "by", "sure", "reason", "action")
        schema = {
            "type": "object",
            "properties": {name: {"type": "string", "maxLength": 5} for name in names},
        }
        _, place = await reviewed(deployment, dict.fromkeys(names, "fine"), schema)
        typed = {f"output.{name}": "much too long" for name in names} | {"note": "mine"}

        page = (await send(deployment, place, typed, decision="edit")).text
        problem = refused(
            await send(deployment, place, typed, accept="application/json", decision="edit"), 422
        )

        assert page.count('class="error"') == len(names)
        assert 'id="note-error"' not in page
        assert 'id="decision-error"' not in page
        assert values(page, "note") == ["mine"]
        assert {error["field"] for error in problem["errors"]} == {f"output.{name}" for name in names}

    async def test_a_choice_that_is_called_decline_is_an_answer(self, deployment: Deployment) -> None:
        choices = {"type": "object", "properties": {"what": {"enum": ["accept", "decline"]}}}
        task, place = await assigned(deployment, PERSON, schema=choices)

        page = (await look(deployment, place)).text
        await send(deployment, place, {"output.what": "decline"})

        assert ">Decline<" not in page
        assert await outcome(deployment, task) == {"what": "decline"}

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
        await send(deployment, again, TYPED)
        await deployment.work()
        third = (await look(deployment, await link(deployment, task))).text
        assert "This is draft 2" in third
        assert "shorter &lt;please&gt;" in third

    @pytest.mark.parametrize(
        ("typed", "field"),
        [
            ({}, "decision"),
            ({"decision": "maybe"}, "decision"),
            ({"decision": "approve", "redo": "yes"}, "decision"),
            ({"decision": "edit", "output.answer": ""}, "output.answer"),
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
