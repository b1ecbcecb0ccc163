"""`bizq journal`: the history of a task as lines that can be passed on, with sizes and digests in place of payloads."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.client import opened_at
from consumer.cli.options import TASK, anywhere, say
from consumer.cli.tasks import advised
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.cli.target import Target

PLAIN_TEXTS: Final = frozenset(
    {
        *("status", "priority", "due_date", "created_at", "updated_at", "started_at", "completed_at", "at"),
        *(
            "execution_type",
            "provider",
            "profile",
            "external_id",
            "template_name",
            "blocked_by",
            "cost_source",
        ),
        *("actor", "event", "detail"),
    }
)
"""Fields whose text a journal shows.  It shows numbers too.  Of every other value it shows only the size and a digest,
by which two of them can be compared, so that the text of a new field stays where it is."""


@click.command()
@click.argument("task", type=TASK)
@anywhere
def journal(task: int, target: Target, *, as_json: bool) -> None:
    """The history of a task as JSON lines without payloads, which the simulator can replay."""

    async def run() -> dict[str, Any]:
        async with opened_at(target) as client:
            with advised(target):
                return await client.history(task)

    lines = entries(asyncio.run(run()))
    say(lines, "\n".join(dump_json(line) for line in lines), as_json=as_json)


def entries(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task, then its executions and its audit log in order of time."""
    executions = [(str(row["started_at"]), "execution", row) for row in history["executions"]]
    audit = [(str(row["at"]), "audit", row) for row in history["audit"]]
    events = sorted([*executions, *audit], key=lambda event: event[0])
    return [_entry("task", history["task"]), *(_entry(kind, row) for _, kind, row in events)]


def _entry(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind} | {name: _plain(name, value) for name, value in row.items()}


def _plain(name: str, value: object) -> object:
    """The value of a field without text from outside.  In a reason, such text follows the first colon."""
    if name == "reason" and isinstance(value, str):
        return value.partition(":")[0]
    if value is None or isinstance(value, int | float) or name in PLAIN_TEXTS:
        return value
    data = dump_json(value).encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()[:16]}
