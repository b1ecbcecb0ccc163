"""The closed set of ways in which a call can end.  An adapter returns one of them, and raises nothing.

`Invalid` and `Rejected` are made by the worker, never by an adapter.  Every outcome can carry a usage and a charge,
because failed calls cost money too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from decimal import Decimal

    from consumer.core.money import Usage

REJECTED: Final = "rejected"
"""The reason of an execution whose draft a reviewer rejected."""


AccountFault = Literal["refused_key", "unpaid"]
"""Why a provider refuses every call of an account: it does not accept the key, or there is no money left."""
ACCOUNT_FAULTS: Final[tuple[str, ...]] = get_args(AccountFault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The price of a call, as far as the provider reported it.

    `usage`: the tokens that it consumed.  `charged`: the amount in dollars that the provider says it charged, which
    takes precedence over any price book."""

    usage: Usage | None = None
    charged: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Succeeded(Charge):
    """The answer, not yet checked against the template's schema."""

    output: Any


@dataclass(frozen=True, slots=True)
class Accepted(Charge):
    """The provider accepted the work as a job and answers later.

    `external_id`: the provider's own name for the job.
    `check_after_ms`: milliseconds until the next poll; None in the first reply: a webhook or a person will answer."""

    external_id: str | None = None
    check_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Retry(Charge):
    """The work was certainly not done, and another try may succeed.

    `after_ms`: the milliseconds that the provider asks us to wait, if it asks.
    `limited`: the provider refused the call because it gets too many, which says nothing about the task: no attempt is
    counted.  The worker sets it for every reply with the status 429.
    `account`: the provider refuses the account.  That says nothing about the task either, so no attempt is counted, and
    the profile rests at once."""

    why: str
    after_ms: int | None = None
    limited: bool = False
    account: AccountFault | None = None


@dataclass(frozen=True, slots=True)
class Failed(Charge):
    """The work was certainly not done, and this candidate will not do it."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown(Charge):
    """The work may or may not have been done.  The worker never guesses: evidence or a policy resolves it later.

    `asked`: no evidence came, and a person will be asked.  A follow-up sets it, never an adapter."""

    why: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Invalid(Charge):
    """The answer does not fit the template's output schema.  The worker makes it from `Succeeded`.

    `output`: the answer, which was paid for and is kept; None if there is none to keep."""

    why: str
    output: Any = None


@dataclass(frozen=True, slots=True)
class Rejected(Charge):
    """A reviewer rejects the draft.

    `output`: the reviewer's decision, as it is stored.  `redo`: send the draft back to the stage before, with the
    note."""

    output: Any
    note: str
    redo: bool


Outcome = Succeeded | Accepted | Retry | Failed | Unknown | Invalid | Rejected
