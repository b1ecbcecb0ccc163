"""What to do with an open execution: one pure function beside `decide`.

An execution is open until its end is written.  It is *waiting* when its provider accepted it, *unknown* when its call
may or may not have happened.  Its row carries a wake time, and the worker that claims it then follows it up.  The
action depends on whether the task still needs the answer, on the provider's abilities, and on whether the time is over:

    the worker died in the middle of the call     the call is unknown from now on; an assignment is open
    a person is asked, and there is no API        wait until the deadline
    its time is over, waiting                     cancel it if possible; else it becomes unknown
    its time is over, unknown                     ask for evidence a last time; else ask a person, or charge the bound
    the task no longer needs it                   cancel it if possible; else go on as below
    the provider gave a job id                    poll
    the provider can look up our key              look it up
    the provider honours our key                  repeat the call, while the task waits for it and nothing is stopped

`next_action` gives the first step, and `after` what follows from a reply.  Both are total, and neither does I/O.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple

from consumer.core import policy
from consumer.core.decide import ASKED, Situation, asks
from consumer.core.lifecycle import ExecutionState
from consumer.core.outcome import Accepted, Failed, Outcome, Succeeded, Unknown

CANCELLED: Final = "cancelled"
UNKNOWN_OUTCOME: Final = "unknown_outcome"
MAX_FRUITLESS: Final = policy.LOST_LEASES
"""After so many follow-ups that killed their workers, only the 4th, the 8th, the 16th and so on does anything, until
the time of the execution is over.  They may have died of another cause, and an answer must not wait for a day."""
LAST_ASK_MS: Final = 15 * policy.MINUTE
"""How long after the time of an execution the worker still asks its provider.  So a follow-up that killed its worker is
tried again before the worker gives the outcome up."""


class Ask(StrEnum):
    """A request to the provider."""

    POLL = "poll"
    LOOKUP = "lookup"
    CANCEL = "cancel"
    REPEAT = "repeat"


class Settle(NamedTuple):
    """Settle the execution with this outcome.  `bound`: nothing more will be known, so the reservation is charged."""

    outcome: Outcome
    bound: bool = False


class Nothing(NamedTuple):
    """Leave the execution open until its next wake time."""


Action = Ask | Settle | Nothing


class View(NamedTuple):
    """Everything that the choice depends on.

    `fruitless`: follow-ups since the last one that its worker finished, this one included.  `callable`: the call can be
    rebuilt from the template and the profile.  `has_job`: the provider gave an id of its own.  `poll`, `lookup`,
    `cancel`: the API has this request.  `reachable`: an API can report the state of the work.  `local`: the adapter
    sends no requests, like the built-in inbox.  `stopped`: all spending is stopped."""

    at: Situation
    fruitless: int = 0
    callable: bool = True
    has_job: bool = False
    poll: bool = False
    lookup: bool = False
    cancel: bool = False
    reachable: bool = False
    local: bool = False
    stopped: bool = False

    @property
    def expired(self) -> bool:
        """Whether the time of the execution is over."""
        resolve_by = self.at.execution.resolve_by_ms
        return resolve_by is not None and self.at.now_ms >= resolve_by

    @property
    def worker_lost(self) -> bool:
        """Whether its worker died in the middle of the call, and nothing was settled since."""
        execution = self.at.execution
        return execution.resolve_by_ms is None and execution.state is ExecutionState.UNKNOWN


def given_up(view: View) -> Action | None:
    """What to do with an execution whose follow-ups keep killing their workers; None for any other one."""
    if view.fruitless <= MAX_FRUITLESS or view.fruitless.bit_count() == 1:
        return None
    over = view.expired or view.at.execution.resolve_by_ms is None
    return _time_is_over(view.at) if over else Nothing()


def next_action(view: View) -> Action:
    """The first step of a follow-up, when no webhook has brought an end."""
    at = view.at
    if view.worker_lost:
        if view.local and at.execution.person:  # nothing had to be sent: the assignment is open or unneeded
            return Settle(Accepted() if at.needed else Failed(CANCELLED))
        return Settle(Unknown("worker_lost: the call was in flight"))
    if at.execution.person and not view.reachable:
        if not at.needed:
            return Settle(Failed(CANCELLED))
        return Settle(Failed("deadline") if view.expired else Accepted())
    if view.expired:
        return _when_expired(view)
    if not view.callable:
        return Nothing()
    if not at.needed and view.cancel:
        return Ask.CANCEL
    return _ask(view)


def after(view: View, asked: Ask, outcome: Outcome) -> Action:
    """What follows from the reply to `asked`."""
    if asked is Ask.CANCEL:
        return _after_cancel(view, outcome)
    found = _meaning(view, asked, outcome)
    if view.expired and isinstance(in_time(view.at, found), Unknown):
        return _time_is_over(view.at)
    return Settle(found)


def in_time(at: Situation, outcome: Outcome) -> Outcome:
    """Make `Accepted` an `Unknown` for an unknown execution after its deadline, so that it does not wait again."""
    execution, limits = at.execution, at.limits
    patience = (limits.person_s if execution.person else limits.job_s) * policy.SECOND
    overdue = execution.state is ExecutionState.UNKNOWN and at.now_ms >= execution.started_ms + patience
    return Unknown("deadline") if isinstance(outcome, Accepted) and overdue else outcome


def _when_expired(view: View) -> Action:
    execution = view.at.execution
    if execution.state is not ExecutionState.UNKNOWN:
        return Ask.CANCEL if view.callable and view.cancel else Settle(Unknown("deadline"))
    if not view.callable or view.at.now_ms >= (execution.resolve_by_ms or 0) + LAST_ASK_MS:
        return _time_is_over(view.at)
    asked = _ask(view)
    return asked if isinstance(asked, Ask) else _time_is_over(view.at)


def _after_cancel(view: View, outcome: Outcome) -> Action:
    if isinstance(outcome, Succeeded):
        return Settle(outcome)
    if view.expired:
        return Settle(
            replace(outcome, why="deadline") if isinstance(outcome, Failed) else Unknown("deadline")
        )
    return Settle(outcome) if isinstance(outcome, Failed) else _ask(view)


def _ask(view: View) -> Action:
    """Ask the provider what became of the call, or send it again under its key."""
    at = view.at
    waiting = at.execution.state is ExecutionState.WAITING
    if view.poll and (waiting or view.has_job):
        return Ask.POLL
    if waiting:
        return Settle(_still_open(at))
    if view.lookup:
        return Ask.LOOKUP
    # A repeat may do the work now, so a task must need it, and spending must not be stopped.
    if at.execution.repeatable and at.current and not view.stopped:
        return Ask.REPEAT
    return Settle(Unknown("no_evidence: none has come yet"))


def _meaning(view: View, asked: Ask, outcome: Outcome) -> Outcome:
    if asked is Ask.POLL:
        return _still_open(view.at) if isinstance(outcome, Unknown) else _paced(view.at, outcome)
    if asked is Ask.REPEAT and not isinstance(outcome, Succeeded | Accepted):
        # A refusal now says nothing about the first call.
        return Unknown("no_evidence: repeated under its key without an answer")
    return _paced(view.at, outcome) if view.poll else outcome


def _still_open(at: Situation) -> Outcome:
    """The same state, until a later time."""
    if at.execution.state is ExecutionState.UNKNOWN:
        return Unknown("no_evidence: none has come yet")
    return _paced(at, Accepted())


def _paced(at: Situation, outcome: Outcome) -> Outcome:
    """Poll an old job less often, unless its provider named the time of the next poll."""
    if isinstance(outcome, Accepted) and outcome.check_after_ms is None:
        age = max(0, at.now_ms - at.execution.started_ms)
        return replace(outcome, check_after_ms=policy.poll_delay(age, at.draw))
    return outcome


def _time_is_over(at: Situation) -> Settle:
    """The time is over and there is no evidence: ask a person once if the route allows it, else charge the bound."""
    execution = at.execution
    if execution.resolve_by_ms is None:
        return Settle(Unknown("worker_lost"))
    if execution.state is not ExecutionState.UNKNOWN:
        return Settle(Unknown("deadline"))
    if asks(at):
        return Settle(Unknown(ASKED, asked=True))
    why = f"{UNKNOWN_OUTCOME}: {execution.cause}" if execution.cause else UNKNOWN_OUTCOME
    return Settle(Failed(why), bound=True)
