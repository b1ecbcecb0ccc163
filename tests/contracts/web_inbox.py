"""The inbox on every host: what a person sees and can do through a link, and what a link does not allow."""

from __future__ import annotations

from typing import Final

import pytest

from consumer.core.policy import DAY
from consumer.service import links
from consumer.store.sql import execution_id
from tests.support.browsing import (
    ANSWER,
    PERSON,
    SCHEMA,
    TYPED,
    Controls,
    assigned,
    link,
    look,
    outcome,
    send,
    snapshot,
    values,
)
from tests.support.deployment import Deployment, DeploymentSuite, refused

NOT_OURS: Final = ["x", "1.2.3", f"1.2.{'0' * 64}", "%00", "..%2f..", "'; --", "x" * 3000, "٣.٤.x"]


class InboxPageContract(DeploymentSuite):
    """An assignment and its answer."""

    async def test_the_page_shows_the_task_and_a_form(self, deployment: Deployment) -> None:
        _, place = await assigned(
            deployment, title="<b>Q & A</b>", description="'\"</textarea>", input={"question": "why?"}
        )

        page = await look(deployment, place)

        assert page.status_code == 200
        assert '<h1 dir="auto">&lt;b&gt;Q &amp; A&lt;/b&gt;</h1>' in page.text
        assert "Look at &lt;b&gt;Q &amp; A&lt;/b&gt;." in page.text
        assert "<b>" not in page.text
        assert "why?" in page.text
        for name in TYPED:
            assert f'name="{name}"' in page.text
        assert '<html lang="en">' in page.text
        assert "<script" not in page.text

    async def test_every_control_has_a_label(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)

        page = (await look(deployment, place)).text

        controls = Controls(page)
        assert len(controls.ids) == len(set(controls.ids)) > len(SCHEMA["properties"])
        assert set(controls.ids) == set(controls.labels)

    async def test_the_page_loads_stores_and_discloses_nothing(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)

        headers = (await look(deployment, place)).headers

        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert "set-cookie" not in headers

    async def test_looking_changes_nothing(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)
        before = await snapshot(deployment)

        for method in ("GET", "HEAD", "GET", "OPTIONS", "PUT", "DELETE"):
            await look(deployment, f"{place}?action=submit&action=decline", method)

        assert await snapshot(deployment) == before

    async def test_an_answer_is_used(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)

        page = await send(deployment, place, TYPED)

        assert page.status_code == 200
        assert "Thank you" in page.text
        assert await outcome(deployment, task) == ANSWER

    async def test_an_answer_needs_only_the_required_fields(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)

        await send(deployment, place, {**dict.fromkeys(TYPED, ""), "output.answer": "x", "output.stars": "1"})

        assert await outcome(deployment, task) == {"answer": "x", "stars": 1}

    async def test_a_repeat_gets_the_same_receipt(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)
        first = await send(deployment, place, TYPED)
        before = await snapshot(deployment)

        again = [
            await send(deployment, place, TYPED),
            await look(deployment, place),
            await send(deployment, place, action="accept"),
        ]

        assert {(page.status_code, page.text) for page in again} == {(200, first.text)}
        assert await snapshot(deployment) == before

    async def test_a_second_person_reads_who_answered_and_that_nothing_else_is_used(
        self, deployment: Deployment
    ) -> None:
        task, place = await assigned(deployment)
        await send(deployment, place, TYPED, by="Anna <b>")

        other = await send(deployment, place, {"output.answer": "other", "output.stars": "1"}, by="Bob")
        refusal = await send(deployment, place, action="decline", sure="yes", reason="no")
        unreadable = await send(deployment, place, {"output.answer": "other"})

        for page in (other, refusal):
            assert page.status_code == 200
            assert "Another answer came first" in page.text
            assert "Anna &lt;b&gt;" in page.text
            assert "It was kept with the task" in page.text
        assert "was not recorded" in unreadable.text
        assert await outcome(deployment, task) == ANSWER
        audit = (await deployment.ask("GET", f"/v1/tasks/{task}/history")).json()["audit"]
        assert [entry["event"] for entry in audit] == ["answered", "answer not used", "answer not used"]

    async def test_errors_are_shown_beside_the_typed_values(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)
        wrong = {
            **TYPED,
            "output.answer": "",
            "output.stars": "6",
            "output.extra": "{",
            "output.tags": "a\nb\nc\nd",
        }

        page = await send(deployment, place, wrong)

        assert page.status_code == 422
        assert (
            page.text.count('class="error"') == 2
        )  # parts that cannot be read are reported before parts that do not fit
        assert "Error: this field is required" in page.text
        assert "Error: not valid JSON" in page.text
        for name, typed in wrong.items():
            if name not in ("output.mood", "output.again"):
                assert values(page.text, name) == [typed.replace("\r\n", "\n")], name
        page = await send(deployment, place, {**wrong, "output.answer": "x" * 41, "output.extra": ""})
        assert page.text.count('class="error"') == 3
        assert "must have at most 40 characters" in page.text
        assert 'role="alert"' in page.text
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"

    @pytest.mark.parametrize(
        ("name", "typed"),
        [
            ("stars", "2.5"),
            ("stars", "9007199254740992"),
            ("stars", "1e999"),
            ("stars", "٣"),
            ("stars", "9" * 5000),
            ("mood", "ugly"),
            ("mood", "good'--"),
            ("again", "maybe"),
            ("when", "21.11.2026"),
            ("extra", "[1]"),
            ("extra", "[" * 10_000),
            ("extra", "NaN"),
            ("extra", '{"n":1,"n":2}'),
        ],
    )
    async def test_a_value_of_the_wrong_type_is_refused(
        self, deployment: Deployment, name: str, typed: str
    ) -> None:
        task, place = await assigned(deployment)

        page = await send(deployment, place, {**TYPED, f"output.{name}": typed})
        problem = await send(deployment, place, {**TYPED, f"output.{name}": typed}, accept="application/json")

        assert page.status_code == 422
        assert page.text.count('class="error"') == 1
        assert [error["field"].split(".")[:2] for error in refused(problem, 422)["errors"]] == [
            ["output", name]
        ]
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE tasks; --", "a\0b", "👩\u200d👧 \u202e", "<script>&amp;", "\x01\x7f"]
    )
    async def test_any_text_is_kept(self, deployment: Deployment, text: str) -> None:
        task, place = await assigned(deployment)
        expected = text.replace("\0", "\ufffd")

        page = await send(deployment, place, {"output.answer": text, "output.why": text, "output.stars": "x"})
        assert values(page.text, "output.answer") == values(page.text, "output.why") == [expected]
        await send(deployment, place, {"output.answer": text, "output.why": text, "output.stars": "1"})

        assert await outcome(deployment, task) == {"answer": expected, "why": expected, "stars": 1}

    async def test_a_malformed_form_is_refused(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)
        before = await snapshot(deployment)
        for content, kind, status in (
            (b"{}", "application/json", 415),
            (b"--x", "multipart/form-data; boundary=x", 415),
            (b"a=\xff", "application/x-www-form-urlencoded", 400),
            (b"", "application/x-www-form-urlencoded; charset=utf-8", 422),
            (b"action=nonsense", "application/x-www-form-urlencoded", 422),
            (b"&".join([b"a=1"] * 5_001), "application/x-www-form-urlencoded", 400),
            (b"a=" + b"x" * 1_100_000, "application/x-www-form-urlencoded", 413),
        ):
            response = await deployment.ask(
                "POST", place, key=None, content=content, headers={"Content-Type": kind}
            )
            assert response.status_code == status, content[:20]
            assert response.headers["content-type"].startswith("text/html")
        assert await snapshot(deployment) == before

    async def test_accepting_keeps_the_typed_values_and_allows_an_answer(
        self, deployment: Deployment
    ) -> None:
        task, place = await assigned(deployment)

        page = await send(deployment, place, {**TYPED, "output.stars": "x"}, action="accept")

        assert page.status_code == 200
        assert "You said that you will do it" in page.text
        assert values(page.text, "output.stars") == ["x"]
        assert 'value="accept"' not in page.text
        assert "You said that you will do it" in (await look(deployment, place)).text
        await send(deployment, place, TYPED)
        assert await outcome(deployment, task) == ANSWER

    async def test_declining_ends_the_assignment(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)

        unsure = await send(deployment, place, action="decline", reason="no <time>")
        assert (unsure.status_code, "tick the box to confirm" in unsure.text) == (422, True)
        assert values(unsure.text, "reason") == ["no <time>"]
        page = await send(deployment, place, action="decline", reason="no <time>", sure="yes")
        again = await send(deployment, place, action="decline", sure="yes")

        assert (page.status_code, again.status_code, again.text) == (200, 200, page.text)
        shown = (await deployment.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["reason"]) == ("failed", "declined: no <time>")
        assert (await look(deployment, place)).status_code == 410
        assert (await send(deployment, place, TYPED)).status_code == 410

    @pytest.mark.parametrize("token", NOT_OURS)
    async def test_a_forged_link_is_not_found(self, deployment: Deployment, token: str) -> None:
        before = await snapshot(deployment)

        for page in (
            await look(deployment, f"/inbox/{token}"),
            await send(deployment, f"/inbox/{token}", TYPED),
        ):
            assert page.status_code == 404
            assert page.headers["content-type"].startswith("text/html")

        assert await snapshot(deployment) == before

    async def test_a_changed_link_and_one_without_a_person_are_not_found(
        self, deployment: Deployment
    ) -> None:
        task, place = await assigned(deployment)
        execution, expires, mark, signature = place.removeprefix("/inbox/").split(".")
        job = await deployment.submit()
        await deployment.work()
        for token in (
            f"{int(execution) + 1}.{expires}.{mark}.{signature}",
            f"{execution}.{int(expires) + 1}.{mark}.{signature}",
            f"{execution}.{expires}.{mark}.{signature[:-1]}0"
            if signature[-1] != "0"
            else f"{execution}.{expires}.{mark}.{signature[:-1]}1",
            f"{execution}.{expires}.{mark}.{signature.upper()}" if signature.upper() != signature else "x",
            links.token("another secret", int(execution), mark, 0),
            links.token(deployment.world.link_secret, execution_id(job, 1), mark, deployment.clock.ms),
            links.token(deployment.world.link_secret, execution_id(task, 9), mark, deployment.clock.ms),
        ):
            assert (await look(deployment, f"/inbox/{token}")).status_code == 404
            assert (await send(deployment, f"/inbox/{token}", TYPED)).status_code == 404

    async def test_an_expired_link_is_gone(self, deployment: Deployment) -> None:
        _, place = await assigned(deployment)
        deployment.clock.advance(40 * DAY)

        for page in (await look(deployment, place), await send(deployment, place, TYPED)):
            assert page.status_code == 410
            assert "expired" in page.text

    async def test_the_page_of_a_cancelled_task_says_so(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)
        await deployment.ask("POST", f"/v1/tasks/{task}/cancel")

        for page in (
            await look(deployment, place),
            await send(deployment, place, TYPED),
            await send(deployment, place, action="accept"),
        ):
            assert page.status_code == 410
            assert "cancelled" in page.text

    async def test_the_receipt_of_a_late_answer_says_whether_it_was_used(
        self, deployment: Deployment
    ) -> None:
        task, place = await assigned(deployment, PERSON, PERSON)
        deployment.clock.advance(8 * DAY)
        await deployment.work()
        assert (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "failed"

        receipt = await send(deployment, place, TYPED, accept="application/json")

        assert (receipt.status_code, receipt.json()["used"]) == (200, False)
        assert (await send(deployment, place, TYPED)).status_code == 200

    async def test_a_program_gets_json(self, deployment: Deployment) -> None:
        task, place = await assigned(deployment)

        asked = (await look(deployment, place, accept="application/json")).json()
        accepted = (await send(deployment, place, action="accept", accept="application/json")).json()
        receipt = (await send(deployment, place, TYPED, accept="application/json")).json()

        assert (asked["state"], asked["output_schema"], asked["accepted"]) == ("open", SCHEMA, False)
        assert accepted["accepted"] is True
        assert (receipt["task"], receipt["used"], receipt["answer"]) == (task, True, ANSWER)
        refused(await look(deployment, "/inbox/x", accept="application/problem+json"), 404)

    async def test_a_reader_s_key_gets_no_links(self, deployment: Deployment) -> None:
        await assigned(deployment)

        listed = {
            role: await deployment.ask("GET", "/v1/inbox", key=role)
            for role in ("reader", "member", "foreign")
        }

        counts = {role: len(each.json()["assignments"]) for role, each in listed.items()}
        assert counts == {"reader": 1, "member": 1, "foreign": 0}
        assert "link" not in listed["reader"].json()["assignments"][0]
        assert "link" in listed["member"].json()["assignments"][0]

    async def test_a_question_names_its_call_and_its_answer_counts(self, deployment: Deployment) -> None:
        job = {"kind": "ai", "candidates": [{"profile": "echo", "settings": {"asynchronous": True}}]}
        task = await deployment.submit(await deployment.put(job, name="job", output_schema=SCHEMA))
        await deployment.work()
        await deployment.rows("UPDATE task_executions SET status = 'unknown', reason = 'asked'")
        place = await link(deployment, task)

        page = await look(deployment, place)

        assert "We do not know whether this was done" in page.text
        assert "The task was given to echo" in page.text
        assert "It was not done" in page.text
        assert "I will do it" not in page.text
        receipt = await send(deployment, place, TYPED)
        assert "Thank you" in receipt.text
        assert await outcome(deployment, task) == ANSWER
