"""Load examples through the same commands that everybody uses: organizations, people, templates, tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumer.cli.desk import organization_id
from consumer.core.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.cli.desk import Desk


async def seed(desk: Desk, examples: Path, model: str) -> list[int]:
    """Furnish, and submit every task; gives the tasks' ids."""
    await furnish(desk, examples, model)
    lines = (examples / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    return [one["id"] for one in await desk.submit([json.loads(line) for line in lines])]


async def furnish(desk: Desk, examples: Path, model: str) -> None:
    """Create the organizations and people that are missing, and write the templates.

    Templates ask for `model` wherever they name one."""
    for wanted in json.loads((examples / "organizations.json").read_text()):
        placed = await _organization(desk, wanted)
        for name in wanted["templates"]:
            template = json.loads((examples / "templates" / f"{name}.json").read_text(encoding="utf-8"))
            await desk.put_template(placed, asking(template, model))


async def _organization(desk: Desk, wanted: dict[str, Any]) -> int:
    """Find it by its name or create it with its people."""
    try:
        return await organization_id(desk, wanted["name"])
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
