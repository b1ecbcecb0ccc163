"""API keys: their roles, and how an operator creates and revokes them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from consumer.core.errors import BadInput, NotFound
from consumer.store import admin

if TYPE_CHECKING:
    from consumer.ports import Value
    from consumer.world import World

ROLES: Final = ("reader", "member", "admin", "operator")
"""Each role may do everything that the roles before it may.  An operator belongs to no organization and sees all."""


def hash_key(secret: str) -> str:
    """The hash that the database stores for a key.  The secret is 128 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def create_key(world: World, organization: int | None, role: str) -> str:
    """Create an API key and return it.  It cannot be read again: the database stores its hash.  Raises BadInput."""
    if role not in ROLES:
        raise BadInput("role", f"must be one of {', '.join(ROLES)}")
    if (role == "operator") != (organization is None):
        raise BadInput("organization", "must be null for an operator's key, and an id for every other key")
    if organization is not None and not await world.rows(admin.ORGANIZATION(organization=organization)):
        raise BadInput("organization", f"no organization {organization}")
    name, secret = world.entropy.token()[:12], world.entropy.token()
    fields: dict[str, Value] = {
        "id": name,
        "hash": hash_key(secret),
        "organization": organization,
        "role": role,
    }
    await world.write(admin.CREATE_KEY(**fields, now=world.clock.now_ms()))
    return f"bizq_{name}_{secret}"


async def revoke_key(world: World, name: str) -> None:
    """Revoke a key immediately.  `name` is its id or the whole key.  Raises NotFound."""
    wanted = name.removeprefix("bizq_").partition("_")[0]
    found = await world.rows(admin.REVOKE_KEY(id=wanted, now=world.clock.now_ms()))
    if not found:
        raise NotFound(f"no key {wanted}, or it was revoked before")
