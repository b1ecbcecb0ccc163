"""The pages in a real browser against the running worker: without scripts, at any width, by keyboard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.ports import Statement
from tests.cli.test_dev import BIZQ, dev, until

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("browser")]

SCREENS: Final = Path(__file__).parents[2] / ".cache" / "screens"
"""The folder of screenshots of each page."""
PHONE: Final = {"width": 360, "height": 740}
DESKTOP: Final = {"width": 1280, "height": 900}
SCHEMA: Final = {
    "type": "object",
    "properties": {
        "urgent": {"type": "boolean", "title": "Is it urgent?"},
        "mood": {"enum": ["calm", "worried", "angry"]},
        "people": {"type": "integer", "minimum": 0, "description": "How many are concerned"},
        "topics": {"type": "array", "items": {"enum": ["invoice", "delivery", "other"]}},
        "summary": {"type": "string", "maxLength": 400},
    },
    "required": ["urgent", "mood", "summary"],
}
DRAFT: Final = {
    "urgent": True,
    "mood": "worried",
    "summary": "The parcel is late; they ask for the money back.",
}
MESSAGE: Final = {
    "title": "A message from a customer",
    "description": "Read it and fill in the form. Überraschung 🧠 <b>not bold</b>",
    "input": {"message": "Where is my parcel? I want my money back!", "order": 4711},
}


class Office:
    """A worker's data, and its command line as a process: the browser's driver has this thread's event loop."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._folder = folder
        self.ask("org", "create", "Fjord")

    def ask(self, *args: object) -> Any:
        command = [*BIZQ, *map(str, args), "--json", "--data", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def task(self, *stages: dict[str, Any]) -> int:
        """A task with a template of its own."""
        template = {"name": "read", "output_schema": SCHEMA, "route": {"stages": list(stages)}}
        file = self._folder / "input.json"
        file.write_text(json.dumps(template))
        self.ask("template", "put", file)
        file.write_text(json.dumps({"template": "read", **MESSAGE}))
        return int(self.ask("submit", file)[0]["id"])

    def link(self, task: int) -> str:
        """The link at which its person answers."""
        until(self.data, task, "waiting")
        (found,) = [one["link"] for one in self.ask("inbox") if one["task_id"] == task]
        return str(found)

    def sql(self, statement: str) -> None:
        database = SqliteDatabase(Layout(self.data).database)
        try:
            database.run([Statement(statement)])
        finally:
            database.close()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium; without it the tests are skipped with a message."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without scripts.  Every message in its console is an error; it reaches this machine only."""
    context = browser.new_context(java_script_enabled=False, viewport=DESKTOP)  # type: ignore[arg-type]  # a plain dict
    context.route(lambda url: not url.startswith("http://127.0.0.1"), lambda route: route.abort())
    made = context.new_page()
    said: list[str] = []
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("requestfailed", lambda request: said.append(f"{request.url} failed"))
    yield made
    context.close()
    assert said == []


def human(kind: str = "human") -> dict[str, Any]:
    return {"kind": kind, "candidates": [{"profile": "people"}]}


def seen(page: Page, name: str) -> None:
    """Save a screenshot for a desktop and for a phone; assert that the page is not wider than the screen."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for device, size in (("phone", PHONE), ("desktop", DESKTOP)):
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a plain dict
        page.screenshot(path=SCREENS / f"{name}-{device}.png", full_page=True)
        (wide,) = {page.locator("body").evaluate("body => body.ownerDocument.documentElement.scrollWidth")}
        assert wide <= size["width"], f"{name} is wider than a {device}"


def test_a_person_answers(office: Office, page: Page) -> None:
    task = office.task(human())
    with dev(office.data):
        link = office.link(task)
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("A message from a customer")
        expect(page.get_by_text("Where is my parcel?")).to_be_visible()
        seen(page, "assignment")

        page.get_by_role("group", name="Is it urgent?").get_by_text("Yes").click()
        page.get_by_role("group", name="Mood").get_by_text("worried").click()
        page.get_by_label("delivery").check()
        page.get_by_label("People").fill("2")
        page.get_by_label("Summary").fill("   ")
        page.get_by_role("button", name="Send my answer").click()
        expect(page.get_by_role("alert")).to_contain_text("Summary: this field is required")
        expect(page.get_by_label("People")).to_have_value("2")
        seen(page, "assignment-refused")

        page.get_by_label("Summary").fill("They want their money back.")
        page.get_by_role("button", name="Send my answer").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        seen(page, "receipt")

        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        until(office.data, task, "completed")
    assert office.ask("show", task)["task"]["outcome"] == {
        "urgent": True,
        "mood": "worried",
        "people": 2,
        "topics": ["delivery"],
        "summary": "They want their money back.",
    }


def test_a_reviewer_edits_a_draft(office: Office, page: Page) -> None:
    writes = {"kind": "ai", "candidates": [{"profile": "echo", "settings": {"output": DRAFT}}]}
    task = office.task(writes, human("review"))
    with dev(office.data):
        page.goto(office.link(task))
        expect(page.get_by_label("Summary")).to_have_value(str(DRAFT["summary"]))
        seen(page, "review")

        page.get_by_role("group", name="Mood").get_by_text("angry").click()
        page.get_by_label("Approve it with my changes").check()
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        until(office.data, task, "completed")
    assert office.ask("show", task)["task"]["outcome"] == {**DRAFT, "mood": "angry"}


def test_a_person_reports_the_outcome_of_an_unknown_call(office: Office, page: Page) -> None:
    task = office.task(
        {"kind": "ai", "candidates": [{"profile": "echo", "settings": {"asynchronous": True}}]}
    )
    with dev(office.data):
        until(office.data, task, "waiting")
        office.sql(
            "UPDATE task_executions SET status = 'unknown', reason = 'asked', wake_at_ms = 9007199254740990"
        )
        page.goto(office.link(task))
        expect(page.get_by_text("We do not know whether this was done")).to_be_visible()
        seen(page, "question")

        page.get_by_label("Reason").fill("not in their list")
        page.get_by_label("it was not done").check()
        page.get_by_role("button", name="It was not done").click()
        expect(page.get_by_text("Recorded as not done")).to_be_visible()
    assert office.ask("show", task)["executions"][0]["reason"] == "declined: not in their list"


def test_the_start_page_and_a_forged_link(office: Office, page: Page) -> None:
    with dev(office.data) as (_, url):
        page.goto(url)
        page.get_by_role("link", name="Error types").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Error types")
        seen(page, "problems")
        answer = page.goto(f"{url}/inbox/1.2.{'0' * 64}")
        assert answer is not None
        assert answer.status == 404
        seen(page, "refused")
