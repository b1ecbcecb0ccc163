"""The values that the API shows.  Each class is an allow-list: a column that no class names is never shown.

The classes are types of dictionaries, because a JSON object is a dictionary already.  `consumer/web/openapi.py` makes
the schemas of its document from them, and only when a caller asks for that document.

Times in `_ms` fields are milliseconds since 1970, UTC; the other times are ISO-8601 text, UTC.  Amounts in `_micro`
fields are millionths of a US dollar.  null means *not known* for an amount, and never zero.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypeVar, cast

from typing_extensions import TypedDict  # pydantic reads the one of the standard library from Python 3.12 on

from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.service.commands import Submitted
from consumer.service.findings import Finding
from consumer.service.notes import about, one_of, time
from consumer.store.sql import readable

V = TypeVar("V")


TaskStatus = Annotated[str, one_of(TaskState)]
CostSource = Annotated[
    str,
    one_of(
        ["provider", "declared", "price_book", "bound", "none"],
        "How the cost is known; `bound`: only the most that it can be is known; `none`: the provider charged nothing",
    ),
]
ExecutionStatus = Annotated[str, one_of(ExecutionState)]
Time = Annotated[str, time("ISO-8601, UTC")]
Ms = Annotated[int, about("Milliseconds since 1970, UTC")]
MsOrNull = Annotated[int | None, about("Milliseconds since 1970, UTC")]
Micro = Annotated[int, about("Millionths of a US dollar")]
MicroOrNull = Annotated[int | None, about("Millionths of a US dollar; null: not known, which is not zero")]


def shown(view: type[V], row: Mapping[str, object], **more: object) -> V:
    """The view of a row, and of values that the row does not have.  Drops every column that the view does not name.

    Bytes that another application wrote are shown as text, as SQL writes them."""
    return cast(
        "V", {name: more[name] if name in more else readable(row[name]) for name in view.__annotations__}
    )


# --- tasks ----------------------------------------------------------------------------------------------------------


class ListedTask(TypedDict):
    """A task in a list."""

    id: int
    template_id: int | None
    organization_id: int | None
    title: str
    status: TaskStatus
    priority: Annotated[str | None, about("urgent, high, medium or low; every other text counts as medium")]
    due_date: Annotated[str | None, about("ISO-8601, UTC.  It only raises the rank")]
    created_at: Time
    updated_at: Time
    version: Annotated[int, about("Goes up with each move")]
    stage: Annotated[int, about("Position in the route, counted from 0")]
    attempt: Annotated[int, about("Attempts of the current candidate that failed")]
    blocked_by: Annotated[str | None, about("Why a pending task cannot run: a code, then its detail")]
    reason: Annotated[
        str | None, about("Why the task is tried again, or why it ended: a code, then its detail")
    ]
    run_at_ms: Ms


class Task(ListedTask):
    """A task with its input and its result."""

    description: str | None
    template_name: str | None
    assigned_to: Annotated[int | None, about("The user whom a human stage asks")]
    created_by: Annotated[int | None, about("The user who made the task")]
    deadline_ms: Annotated[
        int | None, about("When the task fails at the latest: milliseconds since 1970, UTC")
    ]
    raise_at_ms: Annotated[int | None, about("When its rank rises: milliseconds since 1970, UTC")]
    rank: Annotated[int, about("0 is done first")]
    candidate: Annotated[int, about("Position in the stage's candidates, counted from 0")]
    repairs: Annotated[int, about("Repairs of an invalid output that the current candidate has used")]
    redos: Annotated[int, about("How often a reviewer sent the work back")]
    replaces: Annotated[int | None, about("The last unknown execution that was repeated")]
    feedback: Annotated[str | None, about("What the next execution should do better")]
    needs_micro: Annotated[int | None, about("What a budget must have free: millionths of a US dollar")]
    retry_of: Annotated[int | None, about("The finished task that this one repeats")]
    input: dict[str, Any] | None
    result: Annotated[Any, about("The answer of the last stage, once the task is completed")]
    outcome: Annotated[Any, about("The same as `result`, its name until 1 June 2027", deprecated=True)]
    cost_micro: Annotated[
        int | None, about("Sum over all executions in millionths of a US dollar; null: none is known")
    ]
    total_micro: Annotated[int | None, about("The same as `cost_micro`")]


class TaskPage(TypedDict):
    """A page of tasks, newest first."""

    tasks: list[ListedTask]
    cursor: Annotated[int | None, about("For the next page; null on the last one")]


class Execution(TypedDict):
    """One attempt by one candidate."""

    id: int
    execution_type: Annotated[str, one_of(["ai", "human", "hybrid"])]
    provider: Annotated[str | None, about("The name of the adapter")]
    profile: Annotated[
        str | None, about("The account with the provider; null: another application wrote the row")
    ]
    status: ExecutionStatus
    stage: int
    candidate: int
    attempt: int
    started_at: Time | None
    completed_at: Time | None
    cost_micro: MicroOrNull
    cost_source: CostSource | None
    reserved_micro: Micro
    overrun: Annotated[bool, about("It cost more than was reserved for it under a budget")]
    usage: Annotated[Any, about("What the provider counted, for instance tokens")]
    external_id: Annotated[str | None, about("The provider's name for the job")]
    assigned_to: Annotated[int | None, about("The user who is asked; null: anyone of the organization")]
    wake_at_ms: Annotated[int | None, about("The next follow-up: milliseconds since 1970, UTC")]
    resolve_by_ms: Annotated[int | None, about("When waiting for it ends: milliseconds since 1970, UTC")]
    reason: Annotated[str | None, about("Why it failed, or why its outcome is unknown")]
    note: str | None
    result: Annotated[Any, about("The answer, also one that was not used")]
    used: Annotated[
        bool | None,
        about(
            "Whether the task used the answer: false for one that does not fit or came late; null: no answer"
        ),
    ]


class AuditEntry(TypedDict):
    """One change by a caller or by another application."""

    at: Time
    at_ms: Ms
    actor: str
    event: str
    detail: str | None


class History(TypedDict):
    """Everything that happened to a task."""

    task: Task
    why: Annotated[str, about("One sentence: why the task is not running, or how it ended")]
    executions: list[Execution]
    audit: list[AuditEntry]


class LiveStatus(TypedDict):
    """How a task stands, without its content."""

    task: int
    identity: Annotated[
        str, about("Random; the status store has this status under `status:<task>:<identity>`")
    ]
    organization: int | None
    status: TaskStatus
    version: Annotated[
        int, about("Goes up with each move: drop a status that is older than one you have seen")
    ]
    stage: Annotated[int, about("Position in the route, counted from 0")]
    profile: Annotated[str | None, about("The account with a provider that the latest execution used")]
    provider: Annotated[str | None, about("The name of that account's adapter")]
    attempt: Annotated[int, about("Attempts of the current candidate that failed")]
    cost_micro: MicroOrNull
    reason: Annotated[str | None, about("Why the task waits, is tried again, or ended")]
    updated_at: Time


class SubmittedTasks(TypedDict):
    """The tasks of a list, in its order."""

    tasks: list[Submitted]


class Cancelled(TypedDict):
    """A task that was cancelled, now or before."""

    id: int
    status: Annotated[str, one_of(["cancelled"])]


class Counts(TypedDict):
    """How many tasks are in each state."""

    total: int
    tasks: Annotated[dict[str, int], about("By state; a state without tasks is missing")]
    more: Annotated[bool, about("Whether there are older tasks: only the newest 50,000 are counted")]


# --- money ----------------------------------------------------------------------------------------------------------


class CostLine(TypedDict):
    """The executions of one organization, profile, provider, template or day."""

    key: str | None
    executions: int
    cost_micro: Micro
    bound_micro: Annotated[
        int, about("The part of `cost_micro` of which only the most that it can be is known")
    ]
    overrun_micro: Annotated[int, about("The part of `cost_micro` beyond what had been reserved")]
    unknown: Annotated[int, about("Executions that ended and whose cost is not known yet")]
    reserved_micro: Annotated[
        int, about("Millionths of a US dollar, for executions whose cost is not known yet")
    ]


class Costs(TypedDict):
    """The costs of executions."""

    by: Annotated[str, about("The meaning of `key`")]
    costs: list[CostLine]
    cursor: Annotated[
        int | None, about("For the sums of older tasks; null: all are summed.  One page sums 50,000 tasks")
    ]


class StoredBudget(TypedDict):
    """A cap, and its current period."""

    id: int
    organization_id: int
    tier: Annotated[str, one_of(["operator", "tenant"], "Whose limit it is.  Both tiers apply")]
    scope: Annotated[str, one_of(["organization", "template", "task"])]
    scope_id: int
    period: Annotated[str, one_of(["day", "month", "total"])]
    cap_micro: Micro
    refused: Annotated[str, one_of(["wait", "fail"], "What happens to a task that finds no room")]
    current: Annotated[str | None, about("The current period, once something was reserved in it")]
    spent_micro: Annotated[int | None, about("In the current period, in millionths of a US dollar")]
    reserved_micro: Annotated[int | None, about("In the current period, in millionths of a US dollar")]
    ends_ms: MsOrNull


class Budgets(TypedDict):
    """Every budget that the key may see."""

    budgets: list[StoredBudget]


# --- people, organizations, templates -------------------------------------------------------------------------------


class InboxEntry(TypedDict):
    """A task that waits for a person."""

    id: Annotated[int, about("The execution that waits")]
    task_id: int
    kind: Annotated[str, one_of(["human", "review", "question"])]
    assigned_to: Annotated[int | None, about("The user who is asked; null: anyone of the organization")]
    started_at: Time | None
    resolve_by_ms: Annotated[int | None, about("The deadline: milliseconds since 1970, UTC")]
    profile: str | None
    organization_id: int | None
    title: str
    priority: str | None
    due_date: str | None
    template_name: str | None
    link: NotRequired[Annotated[str, about("Opens the form without a key; a reader's key does not get it")]]


class Inbox(TypedDict):
    """The assignments that wait for people, the highest rank first."""

    assignments: list[InboxEntry]
    total: Annotated[int, about("The number of all assignments that wait, on every page")]
    cursor: Annotated[str | None, about("For the next page; null on the last one")]


class Organization(TypedDict):
    """An organization."""

    id: int
    name: str


class Organizations(TypedDict):
    """The organizations that the key may see."""

    organizations: list[Organization]


class User(TypedDict):
    """A person, to whom tasks can be assigned."""

    id: int
    organization: int
    email: str


class ListedTemplate(TypedDict):
    """A template in a list."""

    id: int
    organization_id: int | None
    name: str
    description: str | None
    category: str | None
    version: int
    usable: Annotated[bool, about("Whether it has a route")]


class Templates(TypedDict):
    """The templates that the key may see."""

    templates: list[ListedTemplate]


class StoredTemplate(TypedDict):
    """A template, as `PUT` accepts it."""

    id: int
    organization_id: int | None
    name: str
    description: str | None
    category: str | None
    estimated_duration: Annotated[int | None, about("For people; the worker does not use it")]
    prompt: str
    input_schema: Any
    output_schema: Any
    route: Any
    limits: Any


# --- operation ------------------------------------------------------------------------------------------------------


class Stop(TypedDict):
    """Since when, by whom and why all spending is stopped."""

    at_ms: Ms
    actor: str
    reason: str


class Stopped(TypedDict):
    """The stop that is in force."""

    stop: Annotated[Stop | None, about("null while nothing is stopped")]


class Resumed(TypedDict):
    """The end of a stop."""

    resumed: Annotated[bool, about("Whether there was a stop")]


class Findings(TypedDict):
    """The findings of the doctor."""

    findings: list[Finding]


class Health(TypedDict):
    """The database can be worked with."""

    status: Annotated[str, one_of(["ok"])]


class Received(TypedDict):
    """The event is stored; the worker reads it soon."""

    status: Annotated[str, one_of(["received"])]
