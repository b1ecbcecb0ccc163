"""`bizq journal`: what happened to a task, as lines that can be handed on: sizes and digests instead of payloads."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import click

from consumer.cli.desk import opened_at
from consumer.cli.options import TASK, anywhere, say
from consumer.cli.tasks import advised
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.cli.options import Where

PAYLOADS: Final = frozenset(
    {"title", "description", "input", "outcome", "feedback", "result", "note", "usage"}
)
"""Fields of which a journal tells only how large they are, and whether two of them are the same."""


@click.command()
@click.argument("task", type=TASK)
@anywhere
def journal(task: int, where: Where, *, as_json: bool) -> None:
    """The history of a task as JSON lines without payloads, which the simulator can replay."""

    async def run() -> dict[str, Any]:
        async with opened_at(where) as desk:
            with advised(where, task, ""):
                return await desk.history(task)

    lines = entries(asyncio.run(run()))
    say(lines, "\n".join(dump_json(line) for line in lines), as_json=as_json)


def entries(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The task as it stands, then its executions and the audit log in order of time."""
    executions = [(str(one["started_at"]), "execution", one) for one in history["executions"]]
    audit = [(str(one["at"]), "audit", one) for one in history["audit"]]
    events = sorted([*executions, *audit], key=lambda event: event[0])
    return [_entry("task", history["task"]), *(_entry(kind, one) for _, kind, one in events)]


def _entry(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind} | {name: _plain(name, value) for name, value in row.items()}


def _plain(name: str, value: object) -> object:
    """A field without words from outside: those of a reason follow its first colon."""
    if name == "reason" and isinstance(value, str):
        return value.partition(":")[0]
    if name not in PAYLOADS or value is None:
        return value
    data = dump_json(value).encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()[:16]}
