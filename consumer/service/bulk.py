"""One action on all tasks that fit a filter: retry, cancel, release.

A request acts on a page of tasks, the newest first, and returns how many are left and the cursor to go on with.  A dry
run changes nothing, and says how many tasks the action covers and what that means for money.  Each task goes through
the command for a single task, so a bulk action can do nothing that a caller could not do task by task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads the one of the standard library from Python 3.12 on

from consumer.core import policy
from consumer.core.errors import Conflict, NotFound
from consumer.core.model import Id, Model
from consumer.core.strictjson import dump_flat
from consumer.execution import doorbells
from consumer.service import commands, releases, retries
from consumer.service.notes import about, one_of
from consumer.service.queries import MAX_READ
from consumer.service.task_filter import SomeTasks
from consumer.store import bulk, queries
from consumer.store.sql import integer, optional_integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row, Value
    from consumer.world import World

PAGE: Final = 50
"""Tasks on which one request acts: each takes up to 8 statements, and D1 limits those of an invocation."""


class BulkAction(Model):
    """An action on all tasks that fit the filter.

    A retry without a status covers failed tasks.  `questions`: a release ends questions that people were asked too.
    `cursor`: from the answer before; `start` of a dry run leaves out tasks that are newer than it."""

    verb: Literal["retry", "cancel", "release"]
    filter: SomeTasks
    dry_run: Annotated[bool, Field(strict=True)] = True
    questions: Annotated[bool, Field(strict=True)] = False
    cursor: Id | None = None


class Skipped(TypedDict):
    """A task that a bulk action left as it is."""

    task: int
    why: str


class BulkSums(TypedDict):
    """What a bulk action covers."""

    tasks: Annotated[int, about("Tasks that it covers")]
    executions: Annotated[
        int,
        about(
            "Of these tasks.  retry: all of them; cancel: those that are open; release: those of unknown outcome"
        ),
    ]
    money_micro: Annotated[
        int,
        about(
            "Millionths of a US dollar.  retry: the most that a call has cost or reserved in each stage; cancel: what"
            " open executions have reserved, which comes back unless their providers charge; release: what is reserved"
            " and will count as spent, unless evidence comes at last"
        ),
    ]
    unpriced: Annotated[int, about("Tasks without any known cost or reservation")]


class BulkResult(BulkSums):
    """What a bulk action covers, or has changed.

    Without `dry_run`, the sums are those of the page that it acted on."""

    verb: Annotated[str, one_of(["retry", "cancel", "release"])]
    dry_run: bool
    changed: Annotated[int, about("Tasks that the action has changed")]
    skipped: Annotated[list[Skipped], about("Tasks whose state no longer allowed it")]
    left: Annotated[
        int, about("Tasks that it covers and that are left, among the 10,000 that one request reads")
    ]
    start: Annotated[
        int | None, about("The cursor for acting on what a dry run counted: it leaves out newer tasks")
    ]
    cursor: Annotated[int | None, about("For the tasks that are left; null: none are left")]


async def act(world: World, organization: int | None, action: BulkAction, actor: str) -> BulkResult:
    """Count what an action covers or, unless it is a dry run, act on a page of it."""
    totals, page, read = await _covered(world, organization, action)
    size = 0 if action.dry_run else len(page)
    more = integer(read, "tasks") == MAX_READ
    left = integer(totals, "tasks") - size
    last, first = optional_integer(read, "last"), optional_integer(read, "first")
    covered: BulkResult = {
        "verb": action.verb,
        "dry_run": action.dry_run,
        **_sums(action, totals if action.dry_run else _added(page)),
        "changed": 0,
        "skipped": [],
        "left": left,
        "start": first + 1 if first is not None else action.cursor,
        "cursor": integer(page[-1], "id") if size and left else last if more else None,
    }
    if not size:
        return covered
    await _record(world, organization, action, actor, covered)
    covered["skipped"] = await _act_on(world, organization, action, actor, page)
    covered["changed"] = size - len(covered["skipped"])
    await doorbells.ring(world)
    return covered


async def _covered(
    world: World, organization: int | None, action: BulkAction
) -> tuple[Row, Sequence[Row], Row]:
    """The sums over all tasks that one request reads, the page to act on, and which tasks were read."""
    where: dict[str, Value] = {"before": action.cursor or policy.NEVER, "most": MAX_READ}
    if organization is None:
        total, page, read = bulk.TOTAL_ALL, bulk.PAGE_ALL, queries.READ_ALL
    else:
        total, page, read = bulk.TOTAL, bulk.PAGE, queries.READ
        where["organization"] = organization
    values = where | action.filter.parameters()
    values |= {"now": world.clock.now_ms(), "questions": int(action.questions)}
    totals, rows, which = await world.read_once(
        total[action.verb](**values, size=MAX_READ), page[action.verb](**values, size=PAGE), read(**where)
    )
    return totals[0], rows, which[0]


def _sums(action: BulkAction, row: Row) -> BulkSums:
    return {
        "tasks": integer(row, "tasks"),
        "executions": integer(row, "executions"),
        "money_micro": integer(row, "money_micro"),
        "unpriced": integer(row, "unpriced") if action.verb == "retry" else 0,
    }


def _added(page: Sequence[Row]) -> Row:
    """The sums over a page."""
    return {
        "tasks": len(page),
        "executions": sum(integer(row, "executions") for row in page),
        "money_micro": sum(integer(row, "money_micro") for row in page),
        "unpriced": sum(1 for row in page if not row["priced"]),
    }


async def _record(
    world: World, organization: int | None, action: BulkAction, actor: str, covered: BulkResult
) -> None:
    detail = {
        "filter": action.filter.given(),
        "tasks": covered["tasks"],
        "executions": covered["executions"],
        "money_micro": covered["money_micro"],
    }
    await world.write(
        bulk.RECORD(
            now=world.clock.now_ms(),
            organization=organization,
            actor=actor,
            event=f"bulk {action.verb}",
            detail=dump_flat(detail),
        )
    )


async def _act_on(
    world: World, organization: int | None, action: BulkAction, actor: str, page: Sequence[Row]
) -> list[Skipped]:
    """Act on each task of a page.  Returns those whose state has changed since they were read, each with the reason."""
    skipped: list[Skipped] = []
    for row in page:
        task = integer(row, "id")
        try:
            await _act_on_one(world, organization, action, actor, task)
        except (Conflict, NotFound) as error:
            skipped.append({"task": task, "why": str(error)})
    return skipped


async def _act_on_one(
    world: World, organization: int | None, action: BulkAction, actor: str, task: int
) -> None:
    """Raises NotFound, Conflict when the state of the task does not allow it."""
    match action.verb:
        case "cancel":
            await commands.cancel(world, organization, task, actor, ring=False)
        case "retry":
            await retries.retry(world, organization, task, ring=False)
        case "release":
            questions, profile = action.questions, action.filter.profile
            done = await releases.release(world, organization, task, actor, profile, questions=questions)
            if not done.released:
                raise Conflict(f"task {task} has no call of unknown outcome any more")
