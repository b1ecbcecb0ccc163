"""Rules of the platform for every event of the Worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consumer.ports import MAX_PARAMETERS, MAX_SQL_BYTES, MAX_VALUE_BYTES
from tests.workerd.replies import Event

CALLS: Final = 5
"""Calls to providers that wait for headers; storage needs one of the platform's six connections."""
CONNECTIONS: Final = 6
STATEMENTS: Final = 1_000
"""The limit of D1 for one invocation.  developers.cloudflare.com/d1/platform/limits"""


def breaches(events: Iterable[Event]) -> list[str]:
    """The broken rules of events, in words."""
    return [f"{event.event} {event.detail}: {breach}" for event in events for breach in _of(event)]


def _of(event: Event) -> list[str]:
    limits = {
        "calls waiting for headers at once": (event.peak_calls, CALLS),
        "connections at once": (event.peak_connections, CONNECTIONS),
        "statements": (event.executed, STATEMENTS),
        "parameters of a statement": (event.parameters, MAX_PARAMETERS),
        "bytes of SQL": (event.sql_bytes, MAX_SQL_BYTES),
        "bytes of a value": (event.value_bytes, MAX_VALUE_BYTES),
    }
    found = [f"{used} {what}, at most {most}" for what, (used, most) in limits.items() if used > most]
    return found + [f"left running: {task}" for task in event.leftovers]
