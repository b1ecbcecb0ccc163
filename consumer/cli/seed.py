"""Load examples through the same commands that everybody uses: organizations, people, templates, tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumer.core.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.cli.desk import Desk


async def seed(desk: Desk, examples: Path, model: str) -> list[int]:
    """Create what is missing, replace the templates, and submit every task; gives the tasks' ids.

    Templates ask for `model` wherever they name one."""
    placed: dict[str, int] = {}
    for wanted in json.loads((examples / "organizations.json").read_text()):
        placed[wanted["name"]] = await _organization(desk, wanted)
        for name in wanted["templates"]:
            template = json.loads((examples / "templates" / f"{name}.json").read_text(encoding="utf-8"))
            await desk.put_template(placed[wanted["name"]], asking(template, model))
    tasks: dict[str, list[dict[str, Any]]] = {name: [] for name in placed}
    for line in (examples / "tasks.jsonl").read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        tasks[task.pop("organization")].append(task)
    submitted = [await desk.submit(placed[name], items) for name, items in tasks.items()]
    return [one["id"] for done in submitted for one in done]


async def _organization(desk: Desk, wanted: dict[str, Any]) -> int:
    """Find it by its name or create it with its people."""
    try:
        return await desk.organization(wanted["name"])
    except NotFound:
        made: int = (await desk.create_organization(wanted["name"]))["id"]
    for user in wanted["users"]:
        await desk.create_user(made, user["email"], user["name"], "member")
    return made


def asking(template: dict[str, Any], model: str) -> dict[str, Any]:
    """The template, asking for this model."""
    for stage in template["route"]["stages"]:
        for candidate in stage["candidates"]:
            if "model" in candidate.get("settings", {}):
                candidate["settings"]["model"] = model
    return template
