"""What must hold of whatever is answered at the edges: to callers, to providers, to the queue.  Each invariant is one
function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


def one_verdict_per_message(sim: Simulation, before: str | None, verdict: str | None) -> None:
    """A message that was delivered to a living worker is acknowledged or sent back, and not both."""
    right = (before is None) != (verdict is None)
    sim.books.must("one_verdict_per_message", right, "{}, then {}", before, verdict)


def no_good_request_is_refused(sim: Simulation, status: int, said: Any) -> None:
    """A task that is in order is taken, however often its caller has to ask."""
    sim.books.must("no_good_request_is_refused", status in (200, 201), "{}: {}", status, said)


def one_task_per_key(sim: Simulation, before: int, now: int) -> None:
    """Whoever submits twice under one key gets one task."""
    sim.books.must("one_task_per_key", before == now, "tasks {} and {}", before, now)


def no_internal_error(sim: Simulation, request: str, status: int, said: Any) -> None:
    """No request is answered with 500: what cannot be done now is a 503."""
    sim.books.must("no_internal_error", status != 500, "{}: {}", request, said)


def no_accident_escapes(sim: Simulation, where: str, error: BaseException) -> None:
    """Whatever goes wrong outside is an outcome or a port's error; no other exception leaves the worker."""
    sim.books.must("no_accident_escapes", None, "{} raised {!r}", where, error)


def authentic_webhooks_are_taken(sim: Simulation, event: str, status: int) -> None:
    """What a provider has signed is answered with 2xx, or it may try again."""
    taken = 200 <= status < 300 or status >= 500
    sim.books.must("authentic_webhooks_are_taken", taken, "{} for {}", status, event)


def no_forged_webhook_is_taken(sim: Simulation, event: str, status: int) -> None:
    """What nobody has signed, or long ago, or for another execution, is refused."""
    sim.books.must("no_forged_webhook_is_taken", not 200 <= status < 300, "{} for {}", status, event)
