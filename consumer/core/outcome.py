"""The closed set of ways in which a call can end.  Exceptions are accidents; these are answers.

Every outcome may carry what was consumed and what the provider says it charged: failures cost money too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

    from consumer.core.money import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """`charged`: the amount in dollars that the provider reports; believed over any price table."""

    usage: Usage | None = None
    charged: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Succeeded(Charge):
    """The answer, not yet checked against the template's schema."""

    output: Any


@dataclass(frozen=True, slots=True)
class Accepted(Charge):
    """The provider works on it.  `external_id` is its name for the job, `check_after_ms` when to ask again
    (None: it will call us, or a person will answer)."""

    external_id: str | None = None
    check_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Retry(Charge):
    """Certainly not done, and worth trying again: `after_ms` is the provider's own wish, if it had one."""

    why: str
    after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Failed(Charge):
    """Certainly not done, and this candidate will not do it."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown(Charge):
    """Nobody knows whether it was done.  Never guessed: resolved by evidence or by policy, at its time.

    `asked`: no evidence came, and a person shall say what became of it.  Made by attending, never by an adapter."""

    why: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Invalid(Charge):
    """An answer that does not fit the template's schema.  Made by judging `Succeeded`, never by an adapter."""

    why: str


@dataclass(frozen=True, slots=True)
class Rejected(Charge):
    """A reviewer turns the draft down.  `redo` sends it back to the stage before, with the note."""

    output: Any
    note: str
    redo: bool


Outcome = Succeeded | Accepted | Retry | Failed | Unknown | Invalid | Rejected
