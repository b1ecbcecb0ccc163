"""The API of tasks and of operation.  The table at the end is what routes, checks and documents it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from consumer.core.errors import BadInput
from consumer.core.lifecycle import TaskState
from consumer.core.strictjson import dump_json
from consumer.service import commands, doctor, queries
from consumer.web.ask import Ask, query_number
from consumer.web.problems import Unhealthy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address.

    `role`: the least that a key needs; None where none is asked for.  `query`: the parameters it knows; None where
    others may add their own.  `body` and `answers` name schemas of the document in `openapi`."""

    method: str
    path: str
    handler: Callable[[Ask], Awaitable[Response]]
    summary: str
    role: str | None = None
    query: tuple[str, ...] | None = ()
    body: str | None = None
    answers: Mapping[int, str] = field(default_factory=dict)


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(dump_json(value), status, headers, "application/json")


# --- tasks ----------------------------------------------------------------------------------------------------------


async def submit(ask: Ask) -> Response:
    """One task, or a list of them: all or none."""
    value = await ask.json()
    several = isinstance(value, list)
    owner = None if ask.organization is None else await ask.owner()
    done = await commands.submit(ask.world, owner, value if several else [value])
    status = 201 if any(one.created for one in done) else 200
    if several:
        return reply({"tasks": [asdict(one) for one in done]}, status)
    return reply(asdict(done[0]), status, {"Location": f"/v1/tasks/{done[0].id}"})


async def task_list(ask: Ask) -> Response:
    """Newest first."""
    status = ask.query.get("status")
    if status is not None and status not in set(TaskState):
        raise BadInput("status", f"one of {', '.join(TaskState)}")
    cursor = query_number(ask.query, "cursor")
    return reply(await queries.task_list(ask.world, ask.organization, status, cursor))


async def task(ask: Ask) -> Response:
    """The row, its input and outcome."""
    return reply(await queries.task(ask.world, ask.organization, ask.number))


async def history(ask: Ask) -> Response:
    """All that happened, and why it is not running."""
    return reply(await queries.history(ask.world, ask.organization, ask.number))


async def status(ask: Ask) -> Response:
    """What is polled.  The version is a weak tag: a late bill changes the cost, and not the version."""
    found = await queries.status(ask.world, ask.organization, ask.number)
    tag = f'W/"{found["version"]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _matches(ask.request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return reply(found, headers=headers)


def _matches(header: str, tag: str) -> bool:
    """Whether `If-None-Match` names a tag, weak or not."""
    given = [each.strip() for each in header.split(",")]
    return "*" in given or tag.removeprefix("W/") in [each.removeprefix("W/") for each in given]


async def cancel(ask: Ask) -> Response:
    """A second time changes nothing."""
    done = await commands.cancel(ask.world, ask.organization, ask.number, ask.actor)
    return reply({"id": ask.number, "status": done})


async def retry(ask: Ask) -> Response:
    """A new task like a finished one, once until that has ended too."""
    done = await commands.retry(ask.world, ask.organization, ask.number)
    return reply(asdict(done), 201 if done.created else 200, {"Location": f"/v1/tasks/{done.id}"})


async def counts(ask: Ask) -> Response:
    """How many tasks are in each state."""
    found = await queries.counts(ask.world, ask.organization)
    return reply({"total": sum(found.values()), "tasks": found})


async def adopt(ask: Ask) -> Response:
    """Tasks older than the installation may run."""
    return reply(asdict(await commands.adopt(ask.world, ask.organization)))


async def costs(ask: Ask) -> Response:
    """What executions cost."""
    by = ask.query.get("by", "provider")
    found = await queries.costs(ask.world, ask.organization, by, ask.query.get("since"))
    return reply({"by": by, "costs": found})


async def inbox(ask: Ask) -> Response:
    """What waits for people.  Whoever has a link can answer, so that a reader gets none."""
    found = await queries.inbox(ask.world, ask.organization, query_number(ask.query, "user"))
    if ask.role == "reader":
        found = [{name: value for name, value in row.items() if name != "link"} for row in found]
    return reply({"assignments": found})


# --- operation ------------------------------------------------------------------------------------------------------


async def tick(ask: Ask) -> Response:
    """What cron does."""
    return reply(asdict(await ask.app.on_tick()))


async def examine(ask: Ask) -> Response:
    """What the doctor finds."""
    return reply({"findings": [asdict(finding) for finding in await doctor.examine(ask.world)]})


async def health(ask: Ask) -> Response:
    """One look at the database's schema."""
    found = await queries.health(ask.world)
    if found:
        raise Unhealthy(found)
    return reply({"status": "ok"})


_ONE: Final = ("organization",)

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        "POST",
        "/v1/tasks",
        submit,
        "Submit one task, or a list of at most 1,000: all or none.  A task whose idempotency_key made a task before"
        " is not made again; 200 when that is so for all",
        "member",
        _ONE,
        "NewTasks",
        {200: "Submissions", 201: "Submissions"},
    ),
    Operation(
        "GET",
        "/v1/tasks",
        task_list,
        "List tasks, newest first",
        "reader",
        ("status", "cursor", "organization"),
        answers={200: "TaskPage"},
    ),
    Operation(
        "GET", "/v1/tasks/{id}", task, "Show a task and its outcome", "reader", _ONE, answers={200: "Task"}
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/history",
        history,
        "Show all that happened to a task, and why it is not running",
        "reader",
        _ONE,
        answers={200: "History"},
    ),
    Operation(
        "GET",
        "/v1/tasks/{id}/status",
        status,
        "Poll the live status.  Send the ETag of the last answer as If-None-Match",
        "reader",
        _ONE,
        answers={200: "Status", 304: ""},
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/cancel",
        cancel,
        "End a task, whatever it does.  A second time changes nothing",
        "member",
        _ONE,
        answers={200: "Cancelled"},
    ),
    Operation(
        "POST",
        "/v1/tasks/{id}/retry",
        retry,
        "Make a new task like one that has ended.  A second time shows that task, until it has ended too",
        "member",
        _ONE,
        answers={200: "Submission", 201: "Submission"},
    ),
    Operation(
        "GET",
        "/v1/counts",
        counts,
        "Count the tasks in each state",
        "reader",
        _ONE,
        answers={200: "Counts"},
    ),
    Operation(
        "POST",
        "/v1/adopt",
        adopt,
        "Let tasks run that are older than the installation.  Where `more` is true, ask again",
        "admin",
        _ONE,
        answers={200: "Adopted"},
    ),
    Operation(
        "GET",
        "/v1/costs",
        costs,
        "Add up what executions cost, and what is reserved for those whose price is not known yet",
        "reader",
        ("by", "since", "organization"),
        answers={200: "Costs"},
    ),
    Operation(
        "GET",
        "/v1/inbox",
        inbox,
        "List what waits for people.  The links answer without a key, so that a reader's key gets none",
        "reader",
        ("user", "organization"),
        answers={200: "Inbox"},
    ),
    Operation(
        "POST", "/tick", tick, "Sweep now, as cron does every minute", "operator", answers={200: "Swept"}
    ),
    Operation(
        "GET",
        "/v1/doctor",
        examine,
        "Check everything that the worker stands on",
        "operator",
        answers={200: "Findings"},
    ),
    Operation(
        "GET", "/healthz", health, "Say whether the database can be worked with", answers={200: "Health"}
    ),
)
