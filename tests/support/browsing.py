"""A person with a browser, for the contracts of the inbox."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from tests.support.deployment import Deployment, stage

if TYPE_CHECKING:
    import httpx2

PERSON: Final = stage("human", "inbox")
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "title": "Your answer", "description": "In a word.", "maxLength": 40},
        "why": {"type": "string"},
        "mood": {"enum": ["good", "bad"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "again": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "when": {"type": "string", "format": "date"},
        "extra": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
    "required": ["answer", "stars"],
    "additionalProperties": False,
}
TYPED: Final = {
    "output.answer": "yes",
    "output.why": "because\r\nof this",
    "output.mood": "good",
    "output.stars": "4",
    "output.again": "true",
    "output.tags": "a\r\n\r\nb",
    "output.when": "2026-11-21",
    "output.extra": '{"n": 1}',
}
ANSWER: Final = {
    "answer": "yes",
    "why": "because\nof this",
    "mood": "good",
    "stars": 4,
    "again": True,
    "tags": ["a", "b"],
    "when": "2026-11-21",
    "extra": {"n": 1},
}


async def assigned(
    deployment: Deployment, *stages: dict[str, Any], schema: dict[str, Any] = SCHEMA, **fields: Any
) -> tuple[int, str]:
    """Make a task that waits for a person; return its id and the path of the link."""
    made = await deployment.put(
        *(stages or (PERSON,)), name="form", output_schema=schema, prompt="Look at {{title}}."
    )
    task = await deployment.submit(made, **fields)
    await deployment.work()
    return task, await link(deployment, task)


async def link(deployment: Deployment, task: int) -> str:
    listed = (await deployment.ask("GET", "/v1/inbox")).json()["assignments"]
    (found,) = [each["link"] for each in listed if each["task_id"] == task]
    return str(found).removeprefix("http://bizq.test")


async def look(
    deployment: Deployment, place: str, method: str = "GET", accept: str = "text/html,*/*"
) -> httpx2.Response:
    return await deployment.ask(method, place, key=None, headers={"Accept": accept})


async def send(
    deployment: Deployment,
    place: str,
    typed: dict[str, Any] | None = None,
    accept: str = "text/html,*/*",
    **more: str,
) -> httpx2.Response:
    """Press a button; by default the one that submits."""
    content = urlencode({"action": "submit", **(typed or {}), **more}, doseq=True)
    headers = {"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"}
    return await deployment.ask("POST", place, key=None, content=content, headers=headers)


async def outcome(deployment: Deployment, task: int) -> Any:
    await deployment.work()
    return (await deployment.ask("GET", f"/v1/tasks/{task}")).json()["result"]


async def snapshot(deployment: Deployment) -> list[Any]:
    """Everything that a request could have changed."""
    tables = ("tasks", "task_executions", "outbox", "audit_log", "webhooks")
    return [[dict(row) for row in await deployment.rows(f"SELECT * FROM {table}")] for table in tables] + [
        deployment.queue.sent[:]
    ]


class Controls(HTMLParser):
    """The values that a browser would send for a page, and the ids that its labels refer to."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.values: dict[str, list[str]] = {}
        self.ids: list[str] = []
        self.labels: list[str] = []
        self._area: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "label":
            self.labels.append(str(has["for"]))
        if tag in ("input", "select", "textarea"):
            self.ids.append(str(has.get("id")))
        if tag == "textarea":
            self._area = str(has["name"])
            self.values.setdefault(self._area, []).append("")
        if tag == "input" and (has["type"] not in ("radio", "checkbox") or "checked" in has):
            self.values.setdefault(str(has["name"]), []).append(str(has["value"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            typed = self.values[self._area]
            typed[-1] = typed[-1].removeprefix("\n")
            self._area = None

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self.values[self._area][-1] += data


def values(page: str, name: str) -> list[str]:
    """The values in a control of a page."""
    return Controls(page).values.get(name, [])
