"""Profiles: the deployment's accounts with providers.

They are configuration and never rows, because a tenant can write rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from consumer.core.errors import BadInput
from consumer.core.model import WHOLE, Model, Name, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

Amount = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Price(Model):
    """A declared price in dollars.  A price of zero means free; a profile without a price means unknown."""

    input_per_million: Amount = Decimal(0)
    """Dollars for a million input tokens."""
    output_per_million: Amount = Decimal(0)
    """Dollars for a million output tokens."""
    per_task: Amount = Decimal(0)
    """Dollars for each answer: a reward with all fees."""


class Rate(Model):
    """How many calls may begin in a time."""

    calls: Annotated[int, Field(ge=1, le=1_000_000, strict=True), WHOLE]
    per_s: Annotated[int, Field(ge=1, le=3_600, strict=True), WHOLE]
    """The length of the time in seconds.  Any time of this length counts, not only whole minutes."""


class Profile(Model):
    """One account with a provider.  `key` and `webhook_secret` are the NAMES of secrets of the deployment."""

    provider: Name
    """The name of an adapter in `providers/`."""
    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    webhook_secret: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    headers: dict[str, str] = Field(default_factory=dict)
    secret_headers: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        default_factory=dict
    )
    """Headers with secret values: for each header, the NAME of a secret of the deployment."""
    organizations: tuple[int, ...] | None = None
    """The organizations that may use the profile; None: all of them."""
    rate: Rate | None = None
    """The most calls that all workers together begin in a time."""
    concurrency: Annotated[int, Field(ge=1, le=10_000, strict=True), WHOLE] | None = None
    """The most calls that all workers together have in flight."""
    price: Price | None = None
    price_book: str | None = None
    """The provider's name in the price book `genai-prices`, which is used instead of a declared price."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the adapter, which checks them when the deployment starts."""

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if self.price is not None and self.price_book is not None:
            msg = "must have price or price_book, not both"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class Account:
    """A profile together with the values of its secrets.  It is never logged and never stored."""

    name: str
    profile: Profile
    key: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The profile's headers, the secret ones included."""
        return {**self.profile.headers, **self.secret_headers}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of all of its secrets."""
        # While a webhook secret is being changed, its value is the new one and the old one.
        signing = (self.webhook_secret or "").split()
        found = (self.key, self.webhook_secret, *signing[1:], *signing[:1], *self.secret_headers.values())
        return tuple(dict.fromkeys(secret for secret in found if secret))


def secrets_named(profiles: object) -> set[str]:
    """The names of all secrets in profiles that were not checked yet, so that a host can read just these secrets."""
    names: list[object] = []
    for value in profiles.values() if isinstance(profiles, dict) else ():
        if isinstance(value, dict):
            headers = value.get("secret_headers")
            names += [value.get("key"), value.get("webhook_secret")]
            names += headers.values() if isinstance(headers, dict) else ()
    return {name for name in names if isinstance(name, str)}


def accounts(profiles: object, secrets: Mapping[str, str]) -> dict[str, Account]:
    """Check the deployment's profiles (`{"name": {...}}`) and put the values of their secrets in.

    Raises BadInput naming the field, also for a secret that is missing or empty."""
    if not isinstance(profiles, dict):
        raise BadInput("profiles", "must be an object of profiles by name")
    return {str(name): _account(str(name), value, secrets) for name, value in profiles.items()}


def _account(name: str, value: object, secrets: Mapping[str, str]) -> Account:
    field_name = f"profiles.{name}"
    profile = parse(Profile, value, field_name)

    def secret(wanted: str | None, which: str) -> str | None:
        if wanted is None:
            return None
        if not secrets.get(wanted):
            raise BadInput(f"{field_name}.{which}", f"the deployment has no secret named {wanted}")
        return secrets[wanted]

    hidden = {
        header: secret(wanted, f"secret_headers.{header}") or ""
        for header, wanted in profile.secret_headers.items()
    }
    return Account(
        name,
        profile,
        secret(profile.key, "key"),
        secret(profile.webhook_secret, "webhook_secret"),
        hidden,
    )
