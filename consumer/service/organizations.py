"""Organizations and their users: how an operator or an administrator creates them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.core.errors import BadInput, Conflict
from consumer.core.strictjson import clean
from consumer.core.times import iso
from consumer.store import admin
from consumer.store.sql import integer

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.store.batch import Handle, Results
    from consumer.world import World


async def create_organization(world: World, name: str) -> int:
    """Create an organization, and return its id.  Raises BadInput, Conflict when one has this name."""
    batch = world.batch()
    at = iso(world.clock.now_ms())
    inserted = batch.add(admin.CREATE_ORGANIZATION(name=line(name, "name"), at=at))
    holder = batch.add(admin.ORGANIZATION_NAMED(name=name))
    results = await batch.commit_once()
    if not results.rows(inserted):
        raise Conflict(f"organization {inserted_id(results, holder)} has the name {name!r} already")
    return inserted_id(results, inserted)


async def create_user(world: World, organization: int, email: str, name: str, role: str = "member") -> int:
    """Create a user of an organization, and return its id.

    Raises BadInput, Conflict when a user of the organization has this address: a task is assigned by it."""
    fields: dict[str, Value] = {
        "organization": organization,
        "email": line(email, "email"),
        "name": line(name, "name"),
        "role": line(role, "role"),
    }
    batch = world.batch()
    inserted = batch.add(admin.CREATE_USER(**fields, at=iso(world.clock.now_ms())))
    holder = batch.add(admin.USER_ADDRESSED(organization=organization, email=email))
    results = await batch.commit_once()
    if not results.rows(inserted):
        raise Conflict(
            f"user {inserted_id(results, holder)} of this organization has the address {email} already"
        )
    return inserted_id(results, inserted)


def line(value: str, field: str) -> str:
    """The text, if it has 1 to 200 characters and is not blank.  Raises BadInput."""
    if not value.strip() or len(value) > 200 or clean(value) != value:
        raise BadInput(field, "must have 1 to 200 characters, and not only spaces")
    return value


def inserted_id(results: Results, inserted: Handle) -> int:
    """The id of the row that a statement inserted."""
    (row,) = results.rows(inserted)
    return integer(row, "id")
