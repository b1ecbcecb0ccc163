"""Profiles: the deployment's accounts with providers.  Configuration, never a row that a tenant can write."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from consumer.core.errors import BadInput
from consumer.core.model import Model, Name, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

Amount = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Price(Model):
    """A declared price in dollars.  Zero is a price; leaving the price out is not."""

    input_per_million: Amount = Decimal(0)
    """For a million input tokens."""
    output_per_million: Amount = Decimal(0)
    """For a million output tokens."""
    per_task: Amount = Decimal(0)
    """For each answer: a reward with all fees."""


class Profile(Model):
    """One account.  `key` and `webhook_secret` are NAMES of secrets of the deployment, not their values."""

    provider: Name
    """The adapter in `providers/`."""
    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    key: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    webhook_secret: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    headers: dict[str, str] = Field(default_factory=dict)
    secret_headers: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        default_factory=dict
    )
    """Headers whose values are secrets: the NAME of the secret for each."""
    organizations: tuple[int, ...] | None = None
    """Who may use it; everybody when left out."""
    price: Price | None = None
    price_book: str | None = None
    """The provider's name in genai-prices, where prices are looked up when none is declared."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What only this adapter understands."""

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if self.price is not None and self.price_book is not None:
            msg = "give price or price_book, not both"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class Account:
    """A profile with the values of its secrets; never logged, never stored."""

    name: str
    profile: Profile
    key: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The profile's headers, the secret ones included."""
        return {**self.profile.headers, **self.secret_headers}


def secrets_named(profiles: object) -> set[str]:
    """The names of all secrets that the profiles speak of."""
    names: list[object] = []
    for value in profiles.values() if isinstance(profiles, dict) else ():
        if isinstance(value, dict):
            headers = value.get("secret_headers")
            names += [value.get("key"), value.get("webhook_secret")]
            names += headers.values() if isinstance(headers, dict) else ()
    return {name for name in names if isinstance(name, str)}


def accounts(profiles: object, secrets: Mapping[str, str]) -> dict[str, Account]:
    """Read the deployment's profiles (`{"name": {...}}`).  Raises BadInput naming the field, missing secrets too."""
    if not isinstance(profiles, dict):
        raise BadInput("profiles", "an object of profiles by name")
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
