"""Invariants whenever something leaves the worker: a call, a live status, an acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumer.core.strictjson import dump_json
from consumer.store.sql import task_of
from tests.simulation.platform import INVOCATION

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
from tests.simulation.seen import OPEN
from tests.simulation.traffic_invariants import TrafficInvariants

ON_ITS_WAY_S = 60.0


class EffectInvariants(TrafficInvariants):
    """Invariants of calls, live statuses and acknowledgements."""

    def submitted(self, who: str, execution: int, *, again: bool) -> None:
        """A call was submitted to a provider.  `again`: the provider honours keys, so a repetition is allowed."""
        self.intent_before_effect(who, execution)
        self.one_submission_at_a_time(execution)
        self.nothing_is_sent_twice(who, execution, again=again)
        self.nothing_is_sent_long_after_a_stop(who, execution)
        self.sent.add(self.begun(execution))

    def intent_before_effect(self, who: str, execution: int) -> None:
        """Every call is written to the database, with its reservation, before it is sent."""
        self.must(
            "intent_before_effect",
            execution in self.executions,
            "{} sent {} before its intent",
            who,
            execution,
        )

    def one_submission_at_a_time(self, execution: int) -> None:
        """No call is submitted while an earlier call of its task is open, except after a recorded unknown."""
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
        """If a provider does not honour keys, an execution is sent once."""
        once = again or self.begun(execution) not in self.sent
        self.must("nothing_is_sent_twice", once, "{} sent {} again", who, execution)

    def nothing_is_sent_long_after_a_stop(self, who: str, execution: int) -> None:
        """After a stop, calls that had begun may still be sent for a while; no call is repeated."""
        since = 0.0 if self.stopped_at is None else self.sim.loop.time() - self.stopped_at
        words = "{} sent {} {} s after a stop"
        self.must("nothing_is_sent_long_after_a_stop", since < ON_ITS_WAY_S, words, who, execution, since)

    def a_stage_gets_the_previous_result(self, execution: int, value: Any) -> None:
        """The input of a later stage is an answer of the previous stage."""
        found = self.executions.get(execution)
        if found is None or found.stage == 0:
            return
        rows = self.sim.database.ask(
            "SELECT result, result_key FROM task_executions WHERE task_id = ?1 AND stage = ?2 AND status = 'succeeded'",
            *(found.task_id, found.stage - 1),
        )
        made = [self.sim.stored(row["result"], row["result_key"]) for row in rows]
        self.must("a_stage_gets_the_previous_result", value in made, "{} was sent {:.80}", found, str(value))

    def a_repair_shows_the_refused_answer(self, execution: int, *shown: Any) -> None:
        """A call that repairs an answer shows that answer: without it a model makes the same one again."""
        found = self.executions.get(execution)
        task = None if found is None else self.tasks.get(found.task_id)
        if found is None or task is None or not task.repairs or found.status != "running":
            return
        earlier = [
            self.executions[one]
            for one in self.of_task[task.id]
            if one in self.executions and one < execution
        ]
        refused = [
            one
            for one in earlier
            if (one.stage, one.candidate, one.status) == (found.stage, found.candidate, "failed")
            and (one.reason or "").startswith("invalid_output")
            and (one.result or one.result_key)
        ]
        if refused:
            answer = self.sim.stored(refused[-1].result, refused[-1].result_key)
            texts = [one if isinstance(one, str) else dump_json(one) for one in (answer, *shown)]
            begins = texts[0][:100]  # a long answer is shown in part
            shows = any(text.startswith(begins) for text in texts[1:])
            words = "{} repairs {:.80} and was sent {:.80}"
            self.must(
                "a_repair_shows_the_refused_answer",
                shows,
                words,
                found,
                *map(str, (answer, shown)),
            )

    def a_living_worker_settles_what_it_sent(self, who: str, invocation: int) -> None:
        """A run that ends before its limits leaves none of its calls to the sweep: they cost money."""
        left = [
            self.executions[one]
            for one, lease in self.sent_by.pop(invocation, {}).items()
            if one in self.executions
            and (self.executions[one].lease, self.executions[one].status) == (lease, "running")
        ]
        self.must("a_living_worker_settles_what_it_sent", not left, "{} has ended and leaves {}", who, left)

    def status_tells_the_truth(self, who: str, shown: dict[str, Any]) -> None:
        """A snapshot shows a state that was committed under its version."""
        states = self.states[shown["task"]]
        seen = (shown.get("version", -1), shown["status"])
        right = states.get(seen[0]) == seen[1] or seen in self.former[shown["task"]]
        self.must("status_tells_the_truth", right, "{} published {}, but it was {}", who, shown, states)

    def nothing_after_acknowledgement(self, who: str) -> None:
        """After a worker has acknowledged, it begins nothing more, because no doorbell would be left for that work."""
        late = INVOCATION.get() in self.acknowledged_by
        self.must(
            "nothing_after_acknowledgement", not late, "{} uses its database after its acknowledgement", who
        )

    def acknowledged(self, isolate: Isolate) -> None:
        """A worker has acknowledged a message."""
        self.acknowledged_by.add(INVOCATION.get())
        self.work_before_acknowledgement(isolate)
        self.a_run_that_ends_counts_no_calls(isolate.name, INVOCATION.get())

    def work_before_acknowledgement(self, isolate: Isolate) -> None:
        """The work of a message is committed before its acknowledgement: its worker holds no lease any more, except for
        one whose claim was given up and committed later, which the sweep repairs."""
        now = INVOCATION.get()
        mine = {token for token, invocation in self.leases.items() if invocation == now}
        held = mine - self.left_to_the_sweep
        self.must("work_before_acknowledgement", not held, "{} still holds {}", isolate.name, held)
