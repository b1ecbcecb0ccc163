"""Receipts: what a person is shown about an answer, compared with what is stored.

Everybody who has a link can answer, so two people may send different things.  The first answer counts.  The sender of
another one reads who decided what, and when; what they sent is kept in the audit log of the task.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from consumer.core.errors import NotStored
from consumer.core.strictjson import clean, dump_json
from consumer.core.times import iso
from consumer.execution.settle import INLINE_RESULT_MAX
from consumer.store import people
from consumer.store.sql import integer, one, text
from consumer.telemetry import Event, log

if TYPE_CHECKING:
    from consumer.ports import Refused, Statement, Value
    from consumer.world import World

Act = Literal["answered", "approved", "edited", "rejected", "declined"]

MAX_NOTE: Final = 2_000
"""Characters of a person's reason, note or name that are stored."""
MAX_NAME: Final = 200
MAX_NOT_USED: Final = 50
"""Answers that were not used and are kept for each task."""

USED: Final = "Thank you. The answer was recorded and is used."
KEPT: Final = "Thank you. Your answer was kept, but the task had already continued or ended without it."
RESULT_ARRIVED: Final = "Thank you. The result arrived in the meantime. You don't need to do anything."
NOT_DONE: Final = "Thank you. Recorded as not done. The task will be tried again, or it ends."
TURNED_DOWN: Final = "You declined. Another person may be asked now; if there is none, the task ends."
NOT_RECORDED: Final = (
    "This was answered before. What you sent now does not fit the form, and was not recorded."
)
SAVED: Final = "What you sent is not used. It was kept with the task"
NOT_SAVED: Final = (
    "What you sent is not used, and it was not kept: too many other answers to this task are kept"
)
REFUSED: Final = (
    "the database refused what you sent, and nothing was stored: shorten it, or tell the operator"
)
CHANGING: Final = "the task was changing at the same moment, and nothing was stored: send it again"
DELETED: Final = "the task was deleted in the meantime, so what you sent could not be stored"


def not_stored(execution: int, error: Refused) -> NotStored:
    """The error for an answer that the database refused, which is logged."""
    log().error(Event.UNSTORABLE, execution=execution, error=str(error)[:200])
    return NotStored(REFUSED)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who ended an assignment, how (`answered`, `approved`, `edited`, `rejected`, `declined`), when, with which
    note."""

    by: str
    act: str
    at_ms: int
    note: str = ""

    def __str__(self) -> str:
        at = iso(self.at_ms)
        return f"{self.by} {self.act} this on {at[:10]} at {at[11:16]} UTC"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The effect of an answer.

    `used`: what this person sent is the task's answer for this stage.  `answer`: the answer that is stored.
    `sent`: what this person sent, if that is something else.  `decision`: who gave the stored answer."""

    execution: int
    task: int
    answer: Any
    message: str
    used: bool
    sent: Any = None
    decision: Decision | None = None


class Sent(NamedTuple):
    """What a person sent.  `content`: the answer, the rejection, or why it is declined.  `note`: words beside it.
    `by`: the name that the person typed."""

    act: Act
    content: Any
    note: str = ""
    by: str = ""

    @property
    def actor(self) -> str:
        """The person in the audit log, unless the assignment names a user."""
        name = short(self.by, MAX_NAME)
        return f'a person with the link ("{name}")' if name else "a person with the link"

    @property
    def words(self) -> str:
        """Everything that was sent, as one JSON text."""
        note = {"note": self.note} if self.note else {}
        return dump_json({self.act: self.content, **note})

    def is_stored_as(self, stored: object, decision: Decision | None = None) -> bool:
        """Whether the stored answer is this one.  As JSON, 1 and true differ.

        After an edit, the draft that another person approves is no longer known: to approve it is another answer."""
        edited = self.act == "approved" and decision is not None and decision.act == "edited"
        return dump_json(stored) == dump_json(self.content) and not edited

    def decided(self, execution: int, now_ms: int, cause: str | None) -> Statement:
        """A statement that records this person's decision, if it ended the execution: see `people.DECIDED`."""
        words = f": {self.note}" if self.note else ""
        return people.DECIDED(
            execution=execution, now=now_ms, actor=self.actor, event=self.act, words=words, cause=cause
        )


def short(given: str, most: int = MAX_NOTE) -> str:
    """A text of a person as it is stored."""
    return clean(given.strip()[:most])


async def decision_on(world: World, execution: int) -> Decision | None:
    """Who ended an assignment; None when no person did."""
    row = one(await world.rows(people.DECISION(execution=execution)))
    if row is None:
        return None
    note = text(row, "detail").partition(": ")[2]
    return Decision(text(row, "actor"), text(row, "event"), integer(row, "at_ms"), note)


async def keep(world: World, execution: int, sent: Sent) -> bool:
    """Keep what a person sent and what is not used.  False when too much is kept for the task already.

    Raises PortError when it could not be written."""
    words = sent.words
    data = words.encode()
    if len(data) > INLINE_RESULT_MAX:
        key = f"results/{execution}-{hashlib.sha256(data).hexdigest()[:16]}"
        await world.within(world.blobs.put(key, data))
        words = f"stored as {key}"
    batch = world.batch()
    now = world.clock.now_ms()
    values: dict[str, Value] = {"execution": execution, "words": words}
    batch.add(people.NOT_USED(**values, now=now, actor=sent.actor, most=MAX_NOT_USED))
    kept = batch.add(people.KEPT(**values))
    return bool((await batch.commit()).rows(kept))


async def not_used(world: World, execution: int, sent: Sent) -> str:
    """Keep what is not used, and say in a sentence what became of it; empty when there was nothing to keep."""
    if not sent.content and not sent.note:
        return ""
    return SAVED if await keep(world, execution, sent) else NOT_SAVED
