"""Invariants of answers to callers, providers and the queue.  Each invariant is one function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.seen import Begun
    from tests.simulation.simulation import Simulation


def one_verdict_per_message(sim: Simulation, before: str | None, verdict: str | None) -> None:
    """A living worker acknowledges a delivered message or sends it back, and not both."""
    right = (before is None) != (verdict is None)
    sim.books.must("one_verdict_per_message", right, "{}, then {}", before, verdict)


def no_good_request_is_refused(sim: Simulation, status: int, said: Any) -> None:
    """A valid task is accepted, even if its caller has to ask several times."""
    sim.books.must("no_good_request_is_refused", status in (200, 201), "{}: {}", status, said)


def one_task_per_key(sim: Simulation, before: int, now: int) -> None:
    """Two submissions under one key make one task."""
    sim.books.must("one_task_per_key", before == now, "tasks {} and {}", before, now)


def no_internal_error(sim: Simulation, request: str, status: int, said: Any) -> None:
    """No request is answered with 500; a request that cannot be done now is answered with 503."""
    sim.books.must("no_internal_error", status != 500, "{}: {}", request, said)


def an_invocation_ends_in_time(sim: Simulation, what: str, began: float) -> None:
    """No service that hangs keeps an invocation until the platform ends it, except the database."""
    away = sim.weather.was_away("database", began)
    sim.books.must("an_invocation_ends_in_time", away, "{} began at {:.0f} s and does not end", what, began)


def no_key_reaches_another_task(sim: Simulation, job: str, identity: str, now: str) -> None:
    """A provider knows a key for the calls of one task only, even if its id comes back."""
    sim.books.must("no_key_reaches_another_task", identity == now, "{}, asked by {}", job, now)


def no_link_reaches_another_assignment(sim: Simulation, link: Begun, now: Begun) -> None:
    """A link opens the assignment for which it was made, even if another one has its id after a restore."""
    sim.books.must("no_link_reaches_another_assignment", link == now, "{} opened {}", link, now)


def no_unexpected_exception_escapes(sim: Simulation, where: str, error: BaseException) -> None:
    """Every failure outside becomes an outcome or an error of a port; no other exception leaves the worker."""
    sim.books.must("no_unexpected_exception_escapes", None, "{} raised {!r}", where, error)


def authentic_webhooks_are_taken(sim: Simulation, event: str, status: int) -> None:
    """A signed webhook is answered with 2xx, or with 5xx so that its provider tries again."""
    taken = 200 <= status < 300 or status >= 500
    sim.books.must("authentic_webhooks_are_taken", taken, "{} for {}", status, event)


def no_forged_webhook_is_taken(sim: Simulation, event: str, status: int) -> None:
    """A webhook without a valid signature, with an old one, or for another execution is refused."""
    sim.books.must("no_forged_webhook_is_taken", not 200 <= status < 300, "{} for {}", status, event)
