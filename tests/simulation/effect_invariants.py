"""What must hold whenever something leaves the worker: a call, a status, an acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.store.sql import task_of
from tests.simulation.isolates import INVOCATION

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
from tests.simulation.seen import OPEN, Seen

ON_ITS_WAY_S = 60.0


class EffectInvariants(Seen):
    """Invariants of calls, live statuses and acknowledgements."""

    # --- invariants of what leaves the worker -------------------------------------------------------------------------

    def submitted(self, who: str, execution: int, *, again: bool) -> None:
        """A provider was asked to begin something; `again`: it knows its keys, and does it once."""
        self.intent_before_effect(who, execution)
        self.one_submission_at_a_time(execution)
        self.nothing_is_sent_twice(who, execution, again=again)
        self.nothing_is_sent_long_after_a_stop(who, execution)
        self.sent.add(execution)

    def intent_before_effect(self, who: str, execution: int) -> None:
        """Nothing is sent that was not begun in the books, with its reservation."""
        self.must("intent_before_effect", execution in self.executions, "{} sent {} unbegun", who, execution)

    def one_submission_at_a_time(self, execution: int) -> None:
        """Nothing is submitted while an earlier submission of its task is open, but for a recorded unknown."""
        others = () if execution in self.ever_unknown else self.of_task[task_of(execution)]
        open_still = [
            seen
            for other in others
            if other != execution and other not in self.ever_unknown
            for seen in (self.executions.get(other),)
            if seen is not None and seen.status in OPEN
        ]
        self.must("one_submission_at_a_time", not open_still, "{} was sent during {}", execution, open_still)

    def nothing_is_sent_twice(self, who: str, execution: int, *, again: bool) -> None:
        """Where a provider does not know our keys, an execution is sent once."""
        once = again or execution not in self.sent
        self.must("nothing_is_sent_twice", once, "{} sent {} again", who, execution)

    def nothing_is_sent_long_after_a_stop(self, who: str, execution: int) -> None:
        """What was begun before it may be on its way; nothing is repeated after it."""
        since = 0.0 if self.stopped_at is None else self.sim.loop.time() - self.stopped_at
        words = "{} sent {} {} s after a stop"
        self.must("nothing_is_sent_long_after_a_stop", since < ON_ITS_WAY_S, words, who, execution, since)

    def a_stage_gets_what_the_one_before_made(self, execution: int, value: Any) -> None:
        """What is sent for a later stage is an answer to the stage before it."""
        found = self.executions.get(execution)
        if found is None or found.stage == 0:
            return
        rows = self.sim.database.ask(
            "SELECT result, result_key FROM task_executions WHERE task_id = ?1 AND stage = ?2 AND status = 'succeeded'",
            *(found.task_id, found.stage - 1),
        )
        made = [self.sim.stored(row["result"], row["result_key"]) for row in rows]
        self.must(
            "a_stage_gets_what_the_one_before_made", value in made, "{} was sent {:.80}", found, str(value)
        )

    def status_tells_the_truth(self, who: str, shown: dict[str, Any]) -> None:
        """A snapshot tells of a state that was committed under that version."""
        states = self.states[shown["task"]]
        right = states.get(shown.get("version", -1)) == shown["status"]
        self.must("status_tells_the_truth", right, "{} published {}, but it was {}", who, shown, states)

    def nothing_after_acknowledgement(self, who: str) -> None:
        """Once a worker has acknowledged, it begins nothing any more: nobody would ring for it again."""
        late = INVOCATION.get() in self.acknowledged_by
        self.must("nothing_after_acknowledgement", not late, "{} asks its database after it", who)

    def acknowledged(self, isolate: Isolate) -> None:
        """A worker has acknowledged a message."""
        self.acknowledged_by.add(INVOCATION.get())
        self.work_before_acknowledgement(isolate)

    def work_before_acknowledgement(self, isolate: Isolate) -> None:
        """What a message rang for is committed before it is acknowledged: its worker holds no lease any more, but for
        one that was given up and landed all the same, which the sweep repairs."""
        now = INVOCATION.get()
        mine = {token for token, invocation in self.leases.items() if invocation == now}
        held = mine - self.left_to_the_sweep
        self.must("work_before_acknowledgement", not held, "{} still holds {}", isolate.name, held)
