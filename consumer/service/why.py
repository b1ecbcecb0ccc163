"""One sentence on why a task is not running, or how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.core import budget, policy
from consumer.core.budget import seen_by_tenant
from consumer.core.decide import was_asked
from consumer.core.lifecycle import EXECUTION_OPEN, TASK_FINAL
from consumer.core.money import show
from consumer.core.times import iso
from consumer.store.sql import integer, optional_integer, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Row
    from consumer.service import views


class Lease(NamedTuple):
    """The lease under which a task runs: its end, and how long it is after a renewal."""

    ends_ms: int
    length_ms: int


def explain(
    found: views.Task,
    executions: Sequence[Row],
    now_ms: int,
    full: Row | None = None,
    lease: Lease | None = None,
) -> str:
    """Why a task is not running, or how it ended.

    `full`: the budget that blocks it, with its current counters.  `lease`: the lease under which it runs."""
    status = found["status"]
    latest = executions[-1] if executions else None
    if status in TASK_FINAL:
        reason = f": {found['reason']}" if found["reason"] else ""
        return f"It is {status}{reason}; its cost is {show(found['cost_micro'] if executions else 0)}."
    if status == "running":
        return _explain_running(latest, now_ms, lease)
    if status == "waiting":
        return _explain_waiting(latest)
    if full is not None and found["run_at_ms"] > now_ms:
        return _explain_full(found["needs_micro"], full, now_ms)
    return _explain_pending(found, latest, now_ms)


def _explain_running(latest: Row | None, now_ms: int, lease: Lease | None) -> str:
    if latest is not None and latest["status"] in EXECUTION_OPEN:
        held = f"A worker holds it; its latest execution is with {latest['profile']}"
    else:
        held = (
            "A worker or another application has taken it"
            if lease is None
            else "A worker has just claimed it"
        )
    if lease is None:
        return f"{held}."
    ends = iso(max(0, lease.ends_ms))
    if lease.ends_ms < now_ms:
        return f"Its worker is lost: its lease ended at {ends}. The next tick takes the task back."
    renewed = iso(max(0, lease.ends_ms - lease.length_ms))
    return f"{held}. The worker last renewed its lease at {renewed}; without a renewal it ends at {ends}."


def explain_taken(since_ms: int) -> str:
    """The sentence of a task that another application set to running, at this time or never."""
    until = "" if since_ms >= policy.NEVER else f"; a worker takes it back at {iso(since_ms + policy.TAKEN)}"
    return (
        f"Another application set it to running{until}. It goes on when that application sets it to pending."
    )


def _explain_waiting(latest: Row | None) -> str:
    if latest is None or latest["status"] not in EXECUTION_OPEN:
        return "Another application set it to waiting; it goes on when that application sets it to pending."
    if latest["status"] == "running":
        return "It waits for the end of a call that is in flight."
    until = optional_integer(latest, "resolve_by_ms")
    limit = f" until {iso(until)}" if until else ""
    if latest["status"] == "unknown":
        unknown = f"The outcome of {latest['profile']}'s call is unknown"
        if was_asked(optional_text(latest, "reason")):
            return f"{unknown}. It waits for a person to answer the question in the inbox{limit}."
        return f"{unknown} ({latest['reason']}). It waits for evidence{limit}."
    if latest["provider"] == "inbox":
        person = f"user {latest['assigned_to']}" if latest["assigned_to"] else "a person of its organization"
        return f"It waits for {person} to answer{limit}."
    job = f" as {latest['external_id']}" if latest["external_id"] else ""
    return f"It waits for {latest['profile']}, which accepted it{job}{limit}."


_BLOCKED: Final = {
    "adopt": "it is older than the installation: run `bizq adopt`",
    "bad_row": "its row holds a value that cannot be read; correct it by SQL, or cancel the task",
    "no_organization": "it has no organization: its template or its creator must belong to one",
    "no_route": "its template has no valid route: write one with `bizq template put`",
    "no_candidate": "this deployment has no such profile for it",
    "bad_settings": "its route's settings no longer fit the provider",
    "storage": "the result of the previous stage cannot be read at the moment",
    "unpriced": "a budget applies and the maximum cost of the call is unknown: declare a price or a max_cost",
    "rest": "its profile is not called at the moment",
    "budget": "a budget has no room",
    "stopped": "an operator holds it by hand (docs/deploy.md, Hold some of the work)",
}
_OPERATOR_BLOCKS: Final = "It is blocked: the operator's limit has no room for its next call."


def _explain_full(needs: int | None, full: Row, now_ms: int) -> str:
    """What a budget has left, and what brings room."""
    cap, spent, reserved = (integer(full, name) for name in ("cap_micro", "spent_micro", "reserved_micro"))
    kind, whose = text(full, "period"), "operator's " if full["tier"] == budget.OPERATOR else ""
    limit = f"{show(cap)} {'in total' if kind == 'total' else f'a {kind}'}"
    why = f"It is blocked: a budget has no room ({whose}budget {full['id']}, {limit}"
    why += f": {show(spent)} spent, {show(reserved)} reserved by calls that have not ended)."
    if needs is not None and needs > cap:
        return f"{why} Its next call may cost {show(needs)}, more than the whole cap: raise the cap."
    call = "" if needs is None else f" Its next call may cost {show(needs)}."
    period = budget.period_of(integer(full, "id"), kind, now_ms)
    begins = "" if kind == "total" else f", or when the next {kind} begins at {iso(period.ends_ms)}"
    return (
        f"{why}{call} Room comes when a call costs less than its reservation, when the cap is raised{begins}."
    )


def _explain_pending(found: views.Task, latest: Row | None, now_ms: int) -> str:
    run_at = found["run_at_ms"]
    due = run_at <= now_ms
    until = "" if due else " until it is changed" if run_at >= policy.NEVER else f" until {iso(run_at)}"
    if found["blocked_by"] and not due:
        if found["blocked_by"] == seen_by_tenant(budget.blocker(budget.OPERATOR, 0)):
            return _OPERATOR_BLOCKS
        code, _, detail = found["blocked_by"].partition(":")
        return f"It is blocked{until}: {_BLOCKED.get(code, code)}{f' ({detail})' if detail else ''}."
    if due:
        return "It is due and waits for its turn; a worker takes it at the next doorbell or tick."
    if latest is not None and found["reason"]:
        return f"It is tried again{until.replace(' until', ' at')}: {found['reason']}."
    return f"It is scheduled{until.replace(' until', ' for')}."
