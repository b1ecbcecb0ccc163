"""The inbox on every host: the pages behind a link, and attacks on them."""

from __future__ import annotations

from typing import Final

import pytest

from consumer.core.policy import DAY
from consumer.service import links
from consumer.store.sql import execution_id
from tests.contracts.browsing import (
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
from tests.contracts.house import Furnished, House, refused

NOT_OURS: Final = ["x", "1.2.3", f"1.2.{'0' * 64}", "%00", "..%2f..", "'; --", "x" * 3000, "٣.٤.x"]


class InboxPageContract(Furnished):
    """An assignment and its answer."""

    async def test_the_page_shows_the_task_and_a_form(self, house: House) -> None:
        _, place = await assigned(
            house, title="<b>Q & A</b>", description="'\"</textarea>", input={"question": "why?"}
        )

        page = await look(house, place)

        assert page.status_code == 200
        assert '<h1 dir="auto">&lt;b&gt;Q &amp; A&lt;/b&gt;</h1>' in page.text
        assert "Look at &lt;b&gt;Q &amp; A&lt;/b&gt;." in page.text
        assert "<b>" not in page.text
        assert "why?" in page.text
        for name in TYPED:
            assert f'name="{name}"' in page.text
        assert '<html lang="en">' in page.text
        assert "<script" not in page.text

    async def test_every_control_has_a_label(self, house: House) -> None:
        _, place = await assigned(house)

        page = (await look(house, place)).text

        controls = Controls(page)
        assert len(controls.ids) == len(set(controls.ids)) > len(SCHEMA["properties"])
        assert set(controls.ids) == set(controls.labels)

    async def test_the_page_loads_nothing_and_leaks_nothing(self, house: House) -> None:
        _, place = await assigned(house)

        headers = (await look(house, place)).headers

        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert "set-cookie" not in headers

    async def test_reading_changes_nothing(self, house: House) -> None:
        _, place = await assigned(house)
        before = await snapshot(house)

        for method in ("GET", "HEAD", "GET", "OPTIONS", "PUT", "DELETE"):
            await look(house, f"{place}?action=submit&action=decline", method)

        assert await snapshot(house) == before

    async def test_an_answer_is_used(self, house: House) -> None:
        task, place = await assigned(house)

        page = await send(house, place, TYPED)

        assert page.status_code == 200
        assert "Thank you" in page.text
        assert await outcome(house, task) == ANSWER

    async def test_an_answer_with_the_required_fields_only(self, house: House) -> None:
        task, place = await assigned(house)

        await send(house, place, {**dict.fromkeys(TYPED, ""), "output.answer": "x", "output.stars": "1"})

        assert await outcome(house, task) == {"answer": "x", "stars": 1}

    async def test_a_repeat_gets_the_same_receipt(self, house: House) -> None:
        _, place = await assigned(house)
        first = await send(house, place, TYPED)
        before = await snapshot(house)

        again = [await send(house, place, TYPED), await send(house, place, {"output.answer": "other"})]
        again += [await look(house, place), await send(house, place, action="accept")]
        again += [await send(house, place, action="decline"), await send(house, place, action="nonsense")]

        assert {(page.status_code, page.text) for page in again} == {(200, first.text)}
        assert await snapshot(house) == before

    async def test_an_error_is_shown_beside_the_typed_text(self, house: House) -> None:
        task, place = await assigned(house)
        wrong = {
            **TYPED,
            "output.answer": "",
            "output.stars": "6",
            "output.extra": "{",
            "output.tags": "a\nb\nc\nd",
        }

        page = await send(house, place, wrong)

        assert page.status_code == 422
        assert page.text.count('class="error"') == 2  # what cannot be read comes before what does not fit
        assert "Error: this field is required" in page.text
        assert "Error: not valid JSON" in page.text
        for name, typed in wrong.items():
            if name not in ("output.mood", "output.again"):
                assert values(page.text, name) == [typed.replace("\r\n", "\n")], name
        page = await send(house, place, {**wrong, "output.answer": "x" * 41, "output.extra": ""})
        assert page.text.count('class="error"') == 3
        assert "must be shorter than or equal to 40 characters" in page.text
        assert 'role="alert"' in page.text
        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"

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
    async def test_a_value_of_the_wrong_type(self, house: House, name: str, typed: str) -> None:
        task, place = await assigned(house)

        page = await send(house, place, {**TYPED, f"output.{name}": typed})
        problem = await send(house, place, {**TYPED, f"output.{name}": typed}, accept="application/json")

        assert page.status_code == 422
        assert page.text.count('class="error"') == 1
        assert [error["field"].partition(".")[0] for error in refused(problem, 422)["errors"]] == [name]
        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "waiting"

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE tasks; --", "a\0b", "👩\u200d👧 \u202e", "<script>&amp;", "\x01\x7f"]
    )
    async def test_any_text_is_kept(self, house: House, text: str) -> None:
        task, place = await assigned(house)
        expected = text.replace("\0", "\ufffd")

        page = await send(house, place, {"output.answer": text, "output.why": text, "output.stars": "x"})
        assert values(page.text, "output.answer") == values(page.text, "output.why") == [expected]
        await send(house, place, {"output.answer": text, "output.why": text, "output.stars": "1"})

        assert await outcome(house, task) == {"answer": expected, "why": expected, "stars": 1}

    async def test_a_malformed_form(self, house: House) -> None:
        _, place = await assigned(house)
        before = await snapshot(house)
        for content, kind, status in (
            (b"{}", "application/json", 415),
            (b"--x", "multipart/form-data; boundary=x", 415),
            (b"a=\xff", "application/x-www-form-urlencoded", 400),
            (b"", "application/x-www-form-urlencoded; charset=utf-8", 422),
            (b"action=nonsense", "application/x-www-form-urlencoded", 422),
            (b"&".join([b"a=1"] * 5_001), "application/x-www-form-urlencoded", 400),
            (b"a=" + b"x" * 1_100_000, "application/x-www-form-urlencoded", 413),
        ):
            response = await house.ask(
                "POST", place, key=None, content=content, headers={"Content-Type": kind}
            )
            assert response.status_code == status, content[:20]
            assert response.headers["content-type"].startswith("text/html")
        assert await snapshot(house) == before

    async def test_accepting_keeps_the_typed_text_and_allows_an_answer(self, house: House) -> None:
        task, place = await assigned(house)

        page = await send(house, place, {**TYPED, "output.stars": "x"}, action="accept")

        assert page.status_code == 200
        assert "You said that you will do it" in page.text
        assert values(page.text, "output.stars") == ["x"]
        assert 'value="accept"' not in page.text
        assert "You said that you will do it" in (await look(house, place)).text
        await send(house, place, TYPED)
        assert await outcome(house, task) == ANSWER

    async def test_declining_ends_it(self, house: House) -> None:
        task, place = await assigned(house)

        page = await send(house, place, action="decline", reason="no <time>")
        again = await send(house, place, action="decline")

        assert (page.status_code, again.status_code, again.text) == (200, 200, page.text)
        shown = (await house.ask("GET", f"/v1/tasks/{task}")).json()
        assert (shown["status"], shown["reason"]) == ("failed", "declined: no <time>")
        assert (await look(house, place)).status_code == 410
        assert (await send(house, place, TYPED)).status_code == 410

    @pytest.mark.parametrize("token", NOT_OURS)
    async def test_a_forged_link(self, house: House, token: str) -> None:
        before = await snapshot(house)

        for page in (await look(house, f"/inbox/{token}"), await send(house, f"/inbox/{token}", TYPED)):
            assert page.status_code == 404
            assert page.headers["content-type"].startswith("text/html")

        assert await snapshot(house) == before

    async def test_a_link_that_was_changed_or_is_not_for_a_person(self, house: House) -> None:
        task, place = await assigned(house)
        execution, expires, signature = place.removeprefix("/inbox/").split(".")
        job = await house.submit()
        await house.work()
        for token in (
            f"{int(execution) + 1}.{expires}.{signature}",
            f"{execution}.{int(expires) + 1}.{signature}",
            f"{execution}.{expires}.{signature[:-1]}0"
            if signature[-1] != "0"
            else f"{execution}.{expires}.{signature[:-1]}1",
            f"{execution}.{expires}.{signature.upper()}" if signature.upper() != signature else "x",
            links.token("another secret", int(execution), 0),
            links.token(house.world.link_secret, execution_id(job, 1), house.clock.ms),
            links.token(house.world.link_secret, execution_id(task, 9), house.clock.ms),
        ):
            assert (await look(house, f"/inbox/{token}")).status_code == 404
            assert (await send(house, f"/inbox/{token}", TYPED)).status_code == 404

    async def test_an_expired_link(self, house: House) -> None:
        _, place = await assigned(house)
        house.clock.advance(40 * DAY)

        for page in (await look(house, place), await send(house, place, TYPED)):
            assert page.status_code == 410
            assert "expired" in page.text

    async def test_a_cancelled_task(self, house: House) -> None:
        task, place = await assigned(house)
        await house.ask("POST", f"/v1/tasks/{task}/cancel")

        for page in (
            await look(house, place),
            await send(house, place, TYPED),
            await send(house, place, action="accept"),
        ):
            assert page.status_code == 410
            assert "cancelled" in page.text

    async def test_an_answer_after_the_deadline_says_whether_it_was_used(self, house: House) -> None:
        task, place = await assigned(house, PERSON, PERSON)
        house.clock.advance(8 * DAY)
        await house.work()
        assert (await house.ask("GET", f"/v1/tasks/{task}")).json()["status"] == "failed"

        receipt = await send(house, place, TYPED, accept="application/json")

        assert (receipt.status_code, receipt.json()["used"]) == (200, False)
        assert (await send(house, place, TYPED)).status_code == 200

    async def test_a_program_gets_json(self, house: House) -> None:
        task, place = await assigned(house)

        asked = (await look(house, place, accept="application/json")).json()
        accepted = (await send(house, place, action="accept", accept="application/json")).json()
        receipt = (await send(house, place, TYPED, accept="application/json")).json()

        assert (asked["state"], asked["output_schema"], asked["accepted"]) == ("open", SCHEMA, False)
        assert accepted["accepted"] is True
        assert (receipt["task"], receipt["used"], receipt["answer"]) == (task, True, ANSWER)
        refused(await look(house, "/inbox/x", accept="application/problem+json"), 404)

    async def test_a_reader_s_key_gets_no_links(self, house: House) -> None:
        await assigned(house)

        listed = {
            role: await house.ask("GET", "/v1/inbox", key=role) for role in ("reader", "member", "foreign")
        }

        counts = {role: len(each.json()["assignments"]) for role, each in listed.items()}
        assert counts == {"reader": 1, "member": 1, "foreign": 0}
        assert "link" not in listed["reader"].json()["assignments"][0]
        assert "link" in listed["member"].json()["assignments"][0]

    async def test_a_question_names_its_profile_and_its_answer_counts(self, house: House) -> None:
        job = {"kind": "ai", "candidates": [{"profile": "echo", "settings": {"asynchronous": True}}]}
        task = await house.submit(await house.put(job, name="job", output_schema=SCHEMA))
        await house.work()
        await house.rows("UPDATE task_executions SET status = 'unknown', reason = 'asked'")
        place = await link(house, task)

        page = await look(house, place)

        assert "We do not know whether this was done" in page.text
        assert "The task was given to echo" in page.text
        assert "It was not done" in page.text
        assert "I will do it" not in page.text
        receipt = await send(house, place, TYPED)
        assert "Thank you" in receipt.text
        assert await outcome(house, task) == ANSWER
