"""Reviews on every host: a person approves a draft, changes it, or rejects it."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.core.policy import DAY, SECOND
from tests.contracts.browsing import (
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
from tests.contracts.house import Furnished, House, refused, stage

REVIEW = stage("review", "inbox")
DRAFT = {"answer": "maybe", "stars": 3}


async def reviewed(house: House, draft: Any = DRAFT, schema: dict[str, Any] = SCHEMA) -> tuple[int, str]:
    """A task that waits for a review of a draft."""
    return await assigned(house, stage("ai", "echo", output=draft), REVIEW, schema=schema)


class ReviewPageContract(Furnished):
    """A person judges a draft."""

    async def test_the_draft_stands_in_the_form(self, house: House) -> None:
        _, place = await reviewed(house, ANSWER)

        page = (await look(house, place)).text

        for name, typed in {**TYPED, "output.tags": "a\nb", "output.extra": '{\n  "n": 1\n}'}.items():
            assert values(page, name) == [typed.replace("\r\n", "\n")], name
        assert "novalidate" in page

    async def test_approving_takes_the_draft(self, house: House) -> None:
        task, place = await reviewed(house)

        page = await send(house, place, {"output.answer": "maybe", "output.stars": "3"}, decision="approve")

        assert page.status_code == 200
        assert await outcome(house, task) == DRAFT

    async def test_approving_needs_no_fields(self, house: House) -> None:
        task, place = await reviewed(house)

        await send(house, place, decision="approve")

        assert await outcome(house, task) == DRAFT

    async def test_approving_a_changed_draft_unchanged_is_refused(self, house: House) -> None:
        task, place = await reviewed(house)

        page = await send(
            house, place, {"output.answer": "no!", "output.stars": "3"}, decision="approve", note="hm"
        )

        assert page.status_code == 422
        assert "you have changed the draft" in page.text
        assert values(page.text, "output.answer") == ["no!"]
        assert values(page.text, "decision") == ["approve"]
        assert values(page.text, "note") == ["hm"]
        await send(house, place, {"output.answer": "no!", "output.stars": "3"}, decision="edit")
        assert await outcome(house, task) == {"answer": "no!", "stars": 3}

    async def test_rejecting_needs_no_valid_fields(self, house: House) -> None:
        task, place = await reviewed(house)

        page = await send(house, place, {"output.stars": "x"}, decision="reject", note="wrong")

        assert page.status_code == 200
        shown = (await house.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["reason"]) == ("failed", "rejected")
        assert (await send(house, place, decision="reject", note="wrong")).text == page.text

    async def test_sending_it_back_has_it_done_again(self, house: House) -> None:
        task, place = await assigned(house, PERSON, REVIEW)
        await send(house, place, TYPED)
        await house.work()
        place = await link(house, task)
        page = await send(house, place, decision="reject", redo="yes")
        assert (page.status_code, "say what to do better" in page.text) == (422, True)

        await send(house, place, decision="reject", redo="yes", note="shorter <please>")
        await house.work()

        again = await link(house, task)
        assert again != place
        assert "shorter &lt;please&gt;" in (await look(house, again)).text

    @pytest.mark.parametrize(
        ("typed", "field"),
        [
            ({}, "decision"),
            ({"decision": "maybe"}, "decision"),
            ({"decision": "approve", "redo": "yes"}, "decision"),
            ({"decision": "edit", "output.answer": ""}, "answer"),
        ],
    )
    async def test_a_wrong_decision(self, house: House, typed: dict[str, str], field: str) -> None:
        _, place = await reviewed(house)

        problem = refused(await send(house, place, typed, accept="application/json"), 422)

        assert problem["errors"][0]["field"] == field
        assert (await send(house, place, typed)).status_code == 422

    @pytest.mark.parametrize(
        "draft",
        [
            {"more": {"a": [1, {"b": None}]}, "answer": "x"},
            {"answer": "a\rb\x01"},
            {"answer": "x", "deep": 10**30},
        ],
        ids=["other names", "characters", "number"],
    )
    async def test_a_draft_that_controls_cannot_show_is_edited_as_json(
        self, house: House, draft: dict[str, Any]
    ) -> None:
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
        task, place = await reviewed(house, draft, schema)
        assert (await send(house, place, decision="approve")).status_code == 200
        assert await outcome(house, task) == draft

    async def test_the_time_of_a_review_passes(self, house: House) -> None:
        _, place = await reviewed(house)
        house.clock.advance(7 * DAY + SECOND)
        await house.work()

        assert (await send(house, place, decision="approve")).status_code in (200, 410)
