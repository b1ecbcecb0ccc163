"""The API of tasks: submit, list, show, poll, cancel, retry, release, bulk actions, count, adopt, costs, inbox."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.service import commands, queries, releases, retries, submissions, views
from consumer.service.task_filter import TaskFilter
from consumer.store.queries import FILTERED
from consumer.web.operation import ORGANIZATION, Operation, reply
from consumer.web.request import query_flag, query_number

if TYPE_CHECKING:
    from consumer.web.request import RequestContext


IDEMPOTENCY_KEY: Final = "Idempotency-Key"


async def submit(context: RequestContext) -> Response:
    """Add one task, or a list of tasks: all or none."""
    value = _keyed(await context.json(), context.request.headers.get("idempotency-key"))
    is_list = isinstance(value, list)
    owner = None if context.organization is None else await context.owner()
    submitted = await submissions.submit(context.world, owner, value if isinstance(value, list) else [value])
    status = 201 if any(task.created for task in submitted) else 200
    if is_list:
        return reply({"tasks": [asdict(task) for task in submitted]}, status)
    (task,) = submitted
    return reply(asdict(task), status, {"Location": f"/v1/tasks/{task.id}"})


def _keyed(value: object, header: str | None) -> object:
    """The request with its tasks under the key of the header `Idempotency-Key`.

    A task of a list gets the key and its place in the list.  A key in the body must agree.  Raises BadInput."""
    if header is None:
        return value
    key = header.strip()
    key = (
        key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    )  # as the draft of the header writes it
    if not key:
        raise BadInput(IDEMPOTENCY_KEY, "must have 1 to 200 characters")
    if isinstance(value, list):
        return [
            {"idempotency_key": f"{key}:{place}", **item} if isinstance(item, dict) else item
            for place, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if value.get("idempotency_key") not in (None, key):
        raise BadInput("idempotency_key", "must be absent, or the same as the header Idempotency-Key")
    return {**value, "idempotency_key": key}


async def task_list(context: RequestContext) -> Response:
    """A page of the tasks that fit a filter, newest first."""
    given = {name: value for name, value in context.query.items() if name in FILTERED}
    cursor = query_number(context.query, "cursor")
    wanted = parse(TaskFilter, given)
    return reply(await queries.task_list(context.world, context.organization, wanted, cursor))


async def task(context: RequestContext) -> Response:
    """One task with its input and its result."""
    return reply(await queries.task(context.world, context.organization, context.number))


async def history(context: RequestContext) -> Response:
    """Everything that happened to a task, and one sentence on why it is not running."""
    return reply(await queries.history(context.world, context.organization, context.number))


async def status(context: RequestContext) -> Response:
    """The live status.  The tag is the version, and weak: a late bill changes the cost without a new version."""
    found = await queries.status(context.world, context.organization, context.number)
    tag = f'W/"{found["version"]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _matches(context.request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return reply(found, headers=headers)


def _matches(header: str, tag: str) -> bool:
    """Whether `If-None-Match` names a tag, weak or not."""
    names = [name.strip() for name in header.split(",")]
    return "*" in names or tag.removeprefix("W/") in [name.removeprefix("W/") for name in names]


async def cancel(context: RequestContext) -> Response:
    """End a task.  A second time changes nothing."""
    ended = await commands.cancel(context.world, context.organization, context.number, context.actor)
    return reply(views.Cancelled(id=context.number, status=ended))


async def retry(context: RequestContext) -> Response:
    """Make a new task like a finished one.  While that task has not ended, a second call returns it."""
    made = await retries.retry(context.world, context.organization, context.number)
    status = 201 if made.created else 200
    return reply(asdict(made), status, {"Location": f"/v1/tasks/{made.id}"})


async def release(context: RequestContext) -> Response:
    """Release a task from calls of unknown outcome."""
    questions = query_flag(context.query, "questions")
    scope = (context.world, context.organization, context.number, context.actor)
    return reply(asdict(await releases.release(*scope, questions=questions)))


async def act_in_bulk(context: RequestContext) -> Response:
    """Count what an action on many tasks covers, or act on a page of them."""
    from consumer.service import bulk  # noqa: PLC0415  # start-up is limited, and a bulk action is rare

    action = parse(bulk.BulkAction, await context.json())
    return reply(await bulk.act(context.world, context.organization, action, context.actor))


async def counts(context: RequestContext) -> Response:
    """How many tasks are in each state."""
    return reply(await queries.counts(context.world, context.organization))


async def adopt(context: RequestContext) -> Response:
    """Let tasks run that are older than the installation."""
    return reply(asdict(await commands.adopt(context.world, context.organization)))


async def costs(context: RequestContext) -> Response:
    """Sums of what executions cost."""
    by = context.query.get("by", queries.COSTS_BY)
    since, cursor = context.query.get("since"), query_number(context.query, "cursor")
    return reply(await queries.costs(context.world, context.organization, by, since, cursor))


async def inbox(context: RequestContext) -> Response:
    """The tasks that wait for people.  A link answers without a key, so a reader's key gets no links."""
    user = query_number(context.query, "user")
    cursor = context.query.get("cursor")
    if cursor == "":
        raise BadInput("cursor", "must be the cursor of a page, or absent")
    found = await queries.inbox_page(context.world, context.organization, user, cursor or "")
    if context.role == "reader":
        for entry in found["assignments"]:
            entry.pop("link")
    return reply(found)


OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/tasks",
        handler=submit,
        summary="Submit one task, or a list of at most 1,000: all or none.  An idempotency_key that made a task before"
        " makes no second one; the answer is 200 if that is so for every task, and 409 if the content differs",
        role="member",
        query=ORGANIZATION,
        body="NewTasks",
        headers=(IDEMPOTENCY_KEY,),
        answers={200: "Submissions", 201: "Submissions"},
    ),
    Operation(
        method="GET",
        path="/v1/tasks",
        handler=task_list,
        summary="List tasks, newest first",
        role="reader",
        query=(*FILTERED, "cursor", "organization"),
        answers={200: "TaskPage"},
    ),
    Operation(
        method="POST",
        path="/v1/bulk",
        handler=act_in_bulk,
        summary="Retry, cancel or release all tasks that fit a filter, 50 in one request.  A dry run, the default,"
        " counts the tasks and the money and changes nothing",
        role="admin",
        query=ORGANIZATION,
        body="BulkAction",
        answers={200: "BulkResult"},
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{id}",
        handler=task,
        summary="Show a task and its result",
        role="reader",
        query=ORGANIZATION,
        answers={200: "Task"},
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{id}/history",
        handler=history,
        summary="Show everything that happened to a task, and why it is not running",
        role="reader",
        query=ORGANIZATION,
        answers={200: "History"},
    ),
    Operation(
        method="GET",
        path="/v1/tasks/{id}/status",
        handler=status,
        summary="Poll the live status.  Send the ETag of the last answer as If-None-Match",
        role="reader",
        query=ORGANIZATION,
        answers={200: "LiveStatus", 304: ""},
        headers=("If-None-Match",),
        tagged=True,
    ),
    Operation(
        method="POST",
        path="/v1/tasks/{id}/cancel",
        handler=cancel,
        summary="End an unfinished task.  A second time changes nothing",
        role="member",
        query=ORGANIZATION,
        answers={200: "Cancelled"},
    ),
    Operation(
        method="POST",
        path="/v1/tasks/{id}/retry",
        handler=retry,
        summary="Make a new task like one that has ended.  A second call returns that task, until it has ended too",
        role="member",
        query=ORGANIZATION,
        answers={200: "Submitted", 201: "Submitted"},
    ),
    Operation(
        method="POST",
        path="/v1/tasks/{id}/release",
        handler=release,
        summary="Let the time of the task's calls of unknown outcome be over: the worker asks for evidence a last time",
        role="member",
        query=("questions", "organization"),
        answers={200: "Released"},
    ),
    Operation(
        method="GET",
        path="/v1/counts",
        handler=counts,
        summary="Count the tasks in each state",
        role="reader",
        query=ORGANIZATION,
        answers={200: "Counts"},
    ),
    Operation(
        method="POST",
        path="/v1/adopt",
        handler=adopt,
        summary="Let tasks run that are older than the installation.  If `more` is true, call it again",
        role="admin",
        query=ORGANIZATION,
        answers={200: "Adopted"},
    ),
    Operation(
        method="GET",
        path="/v1/costs",
        handler=costs,
        summary="Add up what executions cost, and what is reserved for those whose cost is not known yet",
        role="reader",
        query=("by", "since", "cursor", "organization"),
        answers={200: "Costs"},
    ),
    Operation(
        method="GET",
        path="/v1/inbox",
        handler=inbox,
        summary="List the tasks that wait for people, 200 on a page.  The links answer without a key, so a reader's key"
        " gets none",
        role="reader",
        query=("user", "cursor", "organization"),
        answers={200: "Inbox"},
    ),
)
