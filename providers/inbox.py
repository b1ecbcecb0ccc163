"""People in the house: a task waits in the inbox until its person answers a form made from the output schema.

There is nothing to call: the worker's own pages list what waits, and take the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from consumer.core.outcome import Accepted, Failed
from consumer.provider import Abilities, Pause, Provider, Quote, Settings, Verb

if TYPE_CHECKING:
    from consumer.provider import Call


class InboxSettings(Settings):
    """Who is asked: a user, or else the task's `assigned_to`, or else anybody of its organization."""

    assign: int | None = Field(default=None, ge=1, le=2**53 - 2)
    """A user's id."""
    note: str = Field(default="", max_length=10_000)
    """Instructions for the person, shown above the form."""


class Inbox(Provider):
    """Waits for a person of the organization."""

    name = "inbox"
    kind = "human"
    abilities = Abilities(cancel=True)
    settings = InboxSettings
    needs_base_url = False

    def quote(self, call: Call) -> Quote:  # a reward does not depend on the task
        return Quote()

    def person(self, call: Call) -> int | None:
        return getattr(call.settings, "assign", None) or call.assigned_to

    def request(self, call: Call, verb: Verb) -> Pause:  # the row itself is the assignment
        return Pause(Failed("cancelled") if verb is Verb.CANCEL else Accepted())
