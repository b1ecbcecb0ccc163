"""The commands that change tasks: cancel, retry, release; one task, or all that fit a filter."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.client import opened_at, organization_id
from consumer.cli.group import Failure
from consumer.cli.options import TASK, anywhere, say
from consumer.cli.target import command
from consumer.cli.tasks import advised
from consumer.core.lifecycle import TaskState
from consumer.core.money import show as money

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.cli.client import Client
    from consumer.cli.target import Target

SHOWN_SKIPPED: Final = 10
_FILTER: Final = {
    "template": "Tasks of this template, by id or name.",
    "reason": "Tasks whose reason, or what blocks them, has this code: http_401, no_route.",
    "profile": "Tasks that called this profile, or wait for it.",
    "submitted_after": "Tasks that were submitted at this time or later, in ISO-8601.",
    "submitted_before": "Tasks that were submitted before this time, in ISO-8601.",
    "key_prefix": "Tasks whose idempotency key begins so.",
}


def for_many(run: Callable[..., Any]) -> Callable[..., Any]:
    """TASK, the options of a filter, `--dry-run` and `--yes`.  The command gets `task`, and `many`."""

    @functools.wraps(run)
    def chosen(
        *args: Any, task: int | None, org: str | None, yes: bool, dry_run: bool, **options: Any
    ) -> Any:
        given = {name: options.pop(name) for name in (*_FILTER, "status")}
        given = {name: value for name, value in given.items() if value is not None}
        if task is not None and (given or org is not None or yes or dry_run):
            raise Failure("give a task or a filter, not both")
        if task is None and not given:
            raise Failure("give a task, or at least one option of the filter, such as --template or --status")
        return run(*args, task=task, many=Many(given, org, dry_run=dry_run, yes=yes), **options)

    decorated: Callable[..., Any] = chosen
    for option in (
        click.option("--yes", is_flag=True, help="Act without a question."),
        click.option(
            "--dry-run", is_flag=True, help="Print what the action would cover, and change nothing."
        ),
        click.option("--org", help="Only tasks of this organization, by id or name."),
        *(click.option(f"--{name.replace('_', '-')}", help=text) for name, text in reversed(_FILTER.items())),
        click.option(
            "--status", type=click.Choice([state.value for state in TaskState]), help="Tasks in this state."
        ),
        click.argument("task", type=TASK, required=False),
    ):
        decorated = option(decorated)
    return decorated


class Many:
    """An action on all tasks that fit a filter: count, ask, act."""

    def __init__(self, given: dict[str, str], org: str | None, *, dry_run: bool, yes: bool) -> None:
        self._given = given
        self._org = org
        self._dry_run = dry_run
        self._yes = yes

    def run(self, target: Target, verb: str, *, as_json: bool, **more: object) -> None:
        """Print what the action covers; unless it is a dry run, act after a confirmation."""
        action = {"verb": verb, "filter": self._given, **more}
        found, owner, start = asyncio.run(self._count(target, action))
        if self._dry_run or not found["tasks"]:
            say(found, sentence(found), as_json=as_json)
            return
        if not self._yes:
            if as_json:
                raise Failure("--json asks no question: add --yes to act, or --dry-run to count")
            click.echo(sentence(found))
            click.confirm("Go on?", abort=True)
        done = asyncio.run(self._act(target, owner, {**action, "dry_run": False, "cursor": start}))
        say(done, _done(done), as_json=as_json)

    async def _count(
        self, target: Target, action: dict[str, object]
    ) -> tuple[dict[str, Any], int | None, int | None]:
        async with opened_at(target) as client:
            owner = None if self._org is None else await organization_id(client, self._org)
            first = await client.bulk(owner, action)
            return await _all_pages(client, owner, action, first), owner, first["start"]

    async def _act(self, target: Target, owner: int | None, action: dict[str, object]) -> dict[str, Any]:
        async with opened_at(target) as client:
            return await _all_pages(client, owner, action, await client.bulk(owner, action))


async def _all_pages(
    client: Client, owner: int | None, action: dict[str, object], page: dict[str, Any]
) -> dict[str, Any]:
    """The sums over this page and all that follow."""
    found = dict(page)
    while page["cursor"] is not None:
        page = await client.bulk(owner, {**action, "cursor": page["cursor"]})
        for name in ("tasks", "executions", "money_micro", "unpriced", "changed", "skipped"):
            found[name] += page[name]
    return {name: value for name, value in found.items() if name not in ("left", "start", "cursor")}


def sentence(found: dict[str, Any]) -> str:
    """What an action would do, and what that means for money."""
    tasks, calls, amount = found["tasks"], found["executions"], money(found["money_micro"])
    match found["verb"]:
        case _ if not tasks:
            return "no task fits: nothing to do"
        case "cancel":
            return f"cancel {tasks} tasks; {calls} open calls hold {amount}, which comes back unless it is charged"
        case "retry":
            unknown = f"; {found['unpriced']} of them show no price" if found["unpriced"] else ""
            return f"retry {tasks} tasks, for about {amount} by what they have cost or reserved{unknown}"
        case _:
            return (
                f"release {tasks} tasks from {calls} calls of unknown outcome; their reservations of {amount} count as"
                " spent, unless evidence comes at last"
            )


_DONE: Final = {"cancel": "cancelled", "retry": "retried", "release": "released"}


def _done(done: dict[str, Any]) -> str:
    lines = [f"{done['changed']} tasks {_DONE[done['verb']]}"]
    skipped = done["skipped"]
    lines += [entry["why"] for entry in skipped[:SHOWN_SKIPPED]]
    if len(skipped) > SHOWN_SKIPPED:
        lines.append(f"and {len(skipped) - SHOWN_SKIPPED} more tasks stay as they are")
    return "\n".join(lines)


@click.command()
@for_many
@anywhere
def cancel(task: int | None, many: Many, target: Target, *, as_json: bool) -> None:
    """End TASK, or all unfinished tasks that fit a filter.

    The worker cancels open calls at their providers; their costs stay recorded."""
    if task is None:
        many.run(target, "cancel", as_json=as_json)
        return

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            with advised(target, f"{command(f'show {task}')} shows its result"):
                return await client.cancel(task)

    say(asyncio.run(run()), f"task {task} is cancelled", as_json=as_json)


@click.command()
@for_many
@anywhere
def retry(task: int | None, many: Many, target: Target, *, as_json: bool) -> None:
    """Create a new task like TASK, which has ended, or like each failed task that fits a filter.

    With --status completed or cancelled, it retries those.  A task that was retried before is left out."""
    if task is None:
        many.run(target, "retry", as_json=as_json)
        return

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            wait, end = command(f"watch {task}"), command(f"cancel {task}")
            with advised(target, f"{wait} waits for its end, {end} ends it"):
                return await client.retry(task)

    retried = asyncio.run(run())
    relation = "a new task like" if retried["created"] else "already the retry of"
    say(retried, f"task {retried['id']} is {relation} task {task}", as_json=as_json)


@click.command()
@for_many
@click.option("--questions", is_flag=True, help="End questions that people were asked about calls, too.")
@anywhere
def release(task: int | None, many: Many, target: Target, *, questions: bool, as_json: bool) -> None:
    """Wait no longer for evidence about calls of TASK, or of all tasks that fit a filter, whose outcome is unknown.

    The worker asks the provider a last time.  Without evidence it asks a person, where the template says so, or charges
    the reservation and lets the task go on."""
    if task is None:
        many.run(target, "release", as_json=as_json, questions=questions)
        return

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            with advised(target):
                return await client.release(task, questions=questions)

    released = asyncio.run(run())
    none = f"task {task} has no call of unknown outcome that can be released now"
    words = f"task {task} is released from {released['released']} calls" if released["released"] else none
    say(released, words, as_json=as_json)
