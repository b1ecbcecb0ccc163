"""The life of one task: claims, lost workers, cancels, other applications, late and repeated answers, in any order.

The model holds the rows that the database would hold of one task.  It changes them as the statements of
`consumer/store` do, and leaves every decision to `decide`.  No task is ever stuck, and none goes on for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from consumer.core import policy
from consumer.core.decide import Decision, ExecutionView, Position, Situation, TaskMove, TaskView, decide
from consumer.core.lifecycle import (
    EXECUTION_OPEN,
    TASK_FINAL,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    execution_after,
    task_after,
)
from consumer.core.outcome import Accepted, Failed, Invalid, Outcome, Rejected, Retry, Succeeded, Unknown
from consumer.core.template import Limits
from tests.core.situations import FIRST, NOW_MS, route

MAX_CANDIDATES: Final = 2
ABILITIES: Final = ("blind", "blind", "keys", "evidence", "person")

answers: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        Unknown("timeout"),
        Unknown("reset"),
        Retry("http_429"),
        Retry("http_503", after_ms=30_000),
        Invalid("a must be string"),
        Failed("http_401"),
        Accepted("job"),
        Accepted("job", check_after_ms=1_000),
        Rejected({}, "again", redo=True),
        Rejected({}, "no", redo=False),
        Succeeded({"a": 1}),
        Succeeded({"a": 2}),
    ]
)


@dataclass(frozen=True)
class Call:
    """A row of `task_executions`, and what its provider can do."""

    id: int
    state: ExecutionState
    stage: int
    started_ms: int
    ability: str
    resolve_by_ms: int | None = None
    reason: str | None = None

    @property
    def open(self) -> bool:
        return self.state in EXECUTION_OPEN


class Life(RuleBasedStateMachine):
    """A row of `tasks` with its executions; `held` is the execution in flight under its lease."""

    @initialize(
        kinds=st.sampled_from([[], ["ai"], ["human"], ["review"], ["ai", "review"], ["review", "ai"]]),
        abilities=st.lists(st.sampled_from(ABILITIES), min_size=3, max_size=3),
        candidates=st.integers(1, MAX_CANDIDATES),
        deadline_ms=st.sampled_from([None, None, NOW_MS + policy.HOUR]),
        limits=st.builds(
            Limits,
            attempts=st.integers(1, 4),
            repairs=st.integers(0, 2),
            redos=st.integers(0, 2),
            unknown=st.sampled_from(["default", "retry", "retry", "wait"]),
        ),
    )
    def begin(
        self,
        kinds: list[str],
        abilities: list[str],
        candidates: int,
        deadline_ms: int | None,
        limits: Limits,
    ) -> None:
        self.route = route("ai", *kinds, candidates=candidates)
        self.abilities = [
            ability if stage.kind == "ai" else "person"
            for stage, ability in zip(self.route.stages, abilities, strict=False)
        ]
        self.limits = limits
        self.deadline_ms = deadline_ms
        self.begin_another()

    def is_over(self) -> bool:
        return self.state in TASK_FINAL and not self.open_calls()

    @precondition(is_over)
    @rule()
    def begin_another(self) -> None:
        """A new task of the same template."""
        self.now = self.run_at = NOW_MS
        self.state = TaskState.PENDING
        self.position = Position()
        self.calls: dict[int, Call] = {}
        self.held: int | None = None
        self.seen: dict[int, ExecutionState] = {}
        self.end: tuple[TaskState, Position] | None = None

    # --- the statements -----------------------------------------------------------------------------------

    @property
    def newest(self) -> int:
        return max(self.calls, default=FIRST - 1)

    def open_calls(self) -> list[Call]:
        return [call for call in self.calls.values() if call.open]

    def in_flight(self) -> list[Call]:
        return [call for call in self.open_calls() if call.state is ExecutionState.RUNNING]

    def in_the_way(self) -> list[Call]:
        """The open executions that keep the next from beginning."""
        return [call for call in self.open_calls() if call.id != self.position.replaces]

    def happen(self, event: TaskEvent) -> None:
        self.state = task_after(self.state, event)

    def call_out(self) -> None:
        """BEGIN, under the lease."""
        assert not self.in_the_way(), "a running task could not go on, and no sweep would find it"
        stage = self.position.stage
        new = self.newest + 1
        self.calls[new] = Call(new, ExecutionState.RUNNING, stage, self.now, self.abilities[stage])
        self.held = new

    def judge(self, call: Call, outcome: Outcome, *, held: bool, newest: bool) -> Decision:
        if isinstance(outcome, Rejected) and self.route.stages[call.stage].kind != "review":
            outcome = Failed("declined")  # only a review rejects
        task = TaskView(1, 1, self.state, self.position, self.deadline_ms, held)
        view = ExecutionView(
            id=call.id,
            state=call.state,
            stage=call.stage,
            started_ms=call.started_ms,
            newest=newest,
            person=call.ability == "person",
            repeatable=call.ability == "keys",
            evidence=call.ability == "evidence",
            resolve_by_ms=call.resolve_by_ms,
        )
        return decide(Situation(task, view, self.route, self.limits, self.now, 0.5), outcome)

    def settle(self, call: Call, outcome: Outcome, *, newest: bool | None = None) -> None:
        """One batch: the execution, then its task.  The holder goes on immediately, unless the fence has moved."""
        held = self.held == call.id and self.state is TaskState.RUNNING
        newest = call.id == self.newest if newest is None else newest
        decision = self.judge(call, outcome, held=held, newest=newest)
        self.calls[call.id] = replace(
            call, state=decision.execution, resolve_by_ms=decision.resolve_by_ms, reason=decision.reason
        )
        if self.held == call.id:
            self.held = None
        if decision.task is not None:
            self.move(decision.task)

    def move(self, move: TaskMove) -> None:
        self.state, self.position, self.run_at = move.state, move.position, move.run_at_ms
        self.held = None  # the version went up: the worker that held the task decides without a lease now
        if self.state is TaskState.RUNNING:
            self.call_out()

    # --- the events ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.state is TaskState.PENDING)
    @rule()
    def claim(self) -> None:
        """A worker claims the task once it is due.  It waits for an open execution, and ends after its deadline."""
        self.now = max(self.now, self.run_at)
        self.happen(TaskEvent.CLAIM)
        if self.in_the_way():
            self.happen(TaskEvent.WAIT)
        elif self.deadline_ms is not None and self.now >= self.deadline_ms:
            self.happen(TaskEvent.FAIL)
        else:
            self.call_out()

    @precondition(lambda self: self.held is not None)
    @rule(outcome=answers)
    def answer(self, outcome: Outcome) -> None:
        """The call in flight ends."""
        assert self.held is not None
        self.settle(self.calls[self.held], outcome)

    @precondition(lambda self: self.open_calls())
    @rule(outcome=answers, data=st.data())
    def late_answer(self, outcome: Outcome, data: st.DataObject) -> None:
        """A webhook, a form or a poll brings the end of any open execution, even of one that was replaced."""
        call = data.draw(st.sampled_from(self.open_calls()))
        if self.held == call.id:
            self.held = None  # the holder's answer will be late: only its bill counts
        self.settle(call, outcome)

    @precondition(lambda self: any(c.resolve_by_ms is not None for c in self.open_calls()))
    @rule()
    def time_passes(self) -> None:
        """The time to resolve the first open execution comes, and no evidence came."""
        call = min(
            (c for c in self.open_calls() if c.resolve_by_ms is not None),
            key=lambda c: (c.resolve_by_ms, c.id),
        )
        assert call.resolve_by_ms is not None
        self.now = max(self.now, call.resolve_by_ms)
        self.settle(call, self.out_of_time(call))

    def out_of_time(self, call: Call) -> Outcome:
        if call.state is ExecutionState.UNKNOWN:
            return Failed("unknown_outcome")
        return Failed("deadline") if call.ability == "person" else Unknown("deadline")

    @precondition(lambda self: self.state not in TASK_FINAL or self.in_flight())
    @rule(data=st.data())
    def accident(self, data: st.DataObject) -> None:
        """A rare event: all of them share one rule, so that they stay rare."""
        possible = []
        if self.state is TaskState.RUNNING or self.in_flight():
            possible += [self.lose_the_workers] * 2
        if self.state in {TaskState.RUNNING, TaskState.WAITING}:
            possible += [self.set_pending]
        if self.state not in TASK_FINAL:
            possible += [self.cancel]
        data.draw(st.sampled_from(possible))()

    def lose_the_workers(self) -> None:
        """The sweep: calls in flight become unknown, their task waits, and each call is followed up immediately."""
        lost = self.in_flight()
        for call in lost:
            unknown = execution_after(call.state, ExecutionEvent.DOUBT)
            self.calls[call.id] = replace(call, state=unknown)
        if self.state is TaskState.RUNNING:
            waits = self.newest in {call.id for call in self.in_the_way()}
            self.happen(TaskEvent.ORPHAN if waits else TaskEvent.LOSE)
        self.held = None
        for call in lost:
            self.settle(self.calls[call.id], Unknown("the worker was lost"))

    def set_pending(self) -> None:
        """Another application edits the row."""
        self.state, self.held, self.run_at = TaskState.PENDING, None, self.now

    def cancel(self) -> None:
        self.happen(TaskEvent.CANCEL)
        self.held = None

    @precondition(lambda self: any(self.is_late(call) for call in self.calls.values()))
    @rule()
    def use_late_answer(self) -> None:
        """A person answers after their deadline, and the task still waits at that stage."""
        late = next(call for call in self.calls.values() if self.is_late(call))
        new = self.newest + 1
        call = replace(late, id=new, state=ExecutionState.UNKNOWN)
        self.calls[late.id] = replace(late, reason="answered late")
        self.settle(call, Succeeded({"a": 1}), newest=False)

    def is_late(self, call: Call) -> bool:
        gone = not call.open and call.reason in {"deadline", "unknown_outcome"}
        wanted = call.stage == self.position.stage and self.state not in TASK_FINAL
        return gone and wanted and call.ability == "person"

    # --- the invariants -------------------------------------------------------------------------------------------

    @invariant()
    def a_waiting_task_has_something_to_wait_for(self) -> None:
        assert self.state is not TaskState.WAITING or self.open_calls()

    @invariant()
    def an_open_call_that_is_not_in_flight_will_be_followed_up(self) -> None:
        for call in self.open_calls():
            assert call.resolve_by_ms is not None or call.state is ExecutionState.RUNNING

    @invariant()
    def an_end_is_final(self) -> None:
        for call in self.calls.values():
            before = self.seen.setdefault(call.id, call.state)
            assert call.state is before or before in EXECUTION_OPEN
            self.seen[call.id] = call.state
        if self.end is None and self.state in TASK_FINAL:
            self.end = self.state, self.position
        assert self.end is None or self.end == (self.state, self.position)

    @invariant()
    def a_completed_task_has_the_answer_of_its_last_stage(self) -> None:
        if self.state is TaskState.COMPLETED:
            last = len(self.route.stages) - 1
            answers = [c for c in self.calls.values() if c.state is ExecutionState.SUCCEEDED]
            assert [call.stage for call in answers].count(last) == 1

    @invariant()
    def limits_hold(self) -> None:
        assert self.position.repairs <= self.limits.repairs
        assert self.position.redos <= self.limits.redos
        assert self.position.candidate < MAX_CANDIDATES

    @invariant()
    def executions_are_bounded(self) -> None:
        """Each candidate has its attempts and repairs, and a repeat for each call that was lost in between."""
        of_a_candidate = 2 * (self.limits.attempts + self.limits.repairs + 1)
        visits = (len(self.route.stages) + 2 * self.limits.redos) * MAX_CANDIDATES
        assert len(self.calls) <= of_a_candidate * visits

    def teardown(self) -> None:
        """Without any further answer, every task comes to its end."""
        if not hasattr(self, "route"):
            return
        for _ in range(500):
            if self.state is TaskState.PENDING:
                self.claim()
            elif self.in_flight() or self.state is TaskState.RUNNING:
                self.lose_the_workers()
            elif self.open_calls():
                self.time_passes()
        assert not self.open_calls()
        assert self.state in TASK_FINAL


def test_every_task_ends_and_ends_once() -> None:
    """Many short lives, so that a failure is shrunk before the test looks like one that hangs."""
    phases = set(Phase) - {Phase.explain}
    run_state_machine_as_test(
        Life, settings=settings(max_examples=300, stateful_step_count=30, phases=phases)
    )
