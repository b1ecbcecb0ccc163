"""People of the organization: a task waits in the inbox until a person answers its form.

This adapter sends no requests.  The worker's own pages list the waiting assignments, make a form from the output
schema, and receive the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from consumer.core.outcome import Accepted, Failed
from consumer.provider import Abilities, About, Pause, Provider, Quote, Settings, Verb

if TYPE_CHECKING:
    from consumer.provider import Call


class InboxSettings(Settings):
    """The settings of a candidate.  Without `assign`, the task's `assigned_to` is asked, or else its organization."""

    assign: int | None = Field(default=None, ge=1, le=2**53 - 2)
    """The id of the user who is asked."""
    note: str = Field(default="", max_length=10_000)
    """Instructions for the person, shown above the form."""


class Inbox(Provider):
    """Waits for a person of the organization."""

    name = "inbox"
    kind = "human"
    abilities = Abilities(cancel=True)
    settings = InboxSettings
    about = About(
        structured="a form made from the schema",
        price="per_task of the profile",
        tried="live: it is a part of the worker",
    )
    needs_base_url = False

    def quote(self, call: Call) -> Quote:  # the price of a person is the profile's `per_task`
        return Quote()

    def person(self, call: Call) -> int | None:
        return getattr(call.settings, "assign", None) or call.assigned_to

    def request(self, call: Call, verb: Verb) -> Pause:  # the row of the execution is the assignment
        return Pause(Failed("cancelled") if verb is Verb.CANCEL else Accepted())
