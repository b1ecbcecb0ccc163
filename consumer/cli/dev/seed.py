"""Load the examples through a client, as any caller could: organizations, people, templates, tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from consumer.cli.client import organization_id
from consumer.core.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from consumer.cli.client import Client


async def seed(client: Client, examples: Path, model: str) -> None:
    """Create the organizations and people that are missing, and write the templates, which then use this model."""
    for organization in json.loads((examples / "organizations.json").read_text()):
        number = await _organization(client, organization)
        for name in organization["templates"]:
            template = json.loads((examples / "templates" / f"{name}.json").read_text(encoding="utf-8"))
            await client.put_template(number, with_model(template, model))


async def seed_and_submit(client: Client, examples: Path, model: str) -> list[int]:
    """Seed, then submit every task of the examples.  Returns the ids of the tasks."""
    await seed(client, examples, model)
    lines = (examples / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    return [task["id"] for task in await client.submit([json.loads(line) for line in lines])]


async def _organization(client: Client, organization: dict[str, Any]) -> int:
    """The id of an organization, which is created with its people if its name does not exist."""
    try:
        return await organization_id(client, organization["name"])
    except NotFound:
        number: int = (await client.create_organization(organization["name"]))["id"]
    for user in organization["users"]:
        await client.create_user(number, user["email"], user["name"], "member")
    return number


def with_model(template: dict[str, Any], model: str) -> dict[str, Any]:
    """The template, with this model in every candidate that names one."""
    for stage in template["route"]["stages"]:
        for candidate in stage["candidates"]:
            if "model" in candidate.get("settings", {}):
                candidate["settings"]["model"] = model
    return template
