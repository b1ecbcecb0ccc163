"""The kinds of fault: the columns of docs/coverage.md, and the names that the dice of the simulator have for them.

A new kind of fault is named here, once.  Its `scope` says which edges it affects: those of the invocation in which it
happens or, outside an invocation, all of the next seconds; or only those of tasks and runs that `Coverage` is given."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Fault(NamedTuple):
    """A kind of fault.  `names`: the names in `Dice.counts`; one that ends with a dot stands for all that begin so.

    `scope`: "" (the invocation, or the next seconds), "seconds", or "given" (to `Coverage.task` and `Coverage.run`)."""

    title: str
    meaning: str
    names: tuple[str, ...]
    scope: str = ""


PORTS: Final = ("database", "kv", "blobs", "queue")
PROVIDERS: Final = ("chat", *(adapter.name for adapter in ADAPTERS))


def _each(ends: str, *, of: tuple[str, ...] = PORTS) -> Iterator[str]:
    return (f"{one}.{ends}" for one in of)


FAULTS: Final = (
    Fault("crash", "a worker is killed", ("kill",), "given"),
    Fault(
        "deployment", "another worker replaces it, which gives it a moment to stop", ("deployment",), "given"
    ),
    Fault(
        "lost reply",
        "an operation or a call is carried out, and its reply is lost",
        (*_each("after"), *_each("ghost"), "provider.lost_after", "provider.crash", "chat.status"),
    ),
    Fault(
        "lost request",
        "an operation or a call is lost before it is carried out",
        (*_each("before"), *_each("storm"), "provider.lost_before", "provider.unreachable", "provider.storm"),
    ),
    Fault("hang", "a reply never comes", (*_each("hang"), "outage.hangs")),
    Fault(
        "slow",
        "a reply takes seconds or minutes",
        (*_each("slow"), "provider.slow", "provider.slow_look", "provider.long"),
    ),
    Fault("outage of D1", "D1 is away for up to an hour", ("outage.database",), "given"),
    Fault("outage of KV", "KV is away", ("outage.kv",), "given"),
    Fault("outage of R2", "R2 is away", ("outage.blobs",), "given"),
    Fault("outage of the queue", "the queue is away", ("outage.queue",), "given"),
    Fault(
        "outage of a provider",
        "a provider is away",
        tuple(f"outage.{one}" for one in (*PROVIDERS, "bulk")),
        "given",
    ),
    Fault("duplicate message", "a message is delivered twice", ("queue.twice", "queue.two_workers"), "given"),
    Fault(
        "lost message",
        "a message is lost, late or overtaken; cron is late, comes twice or not at all",
        ("queue.lost", "queue.late", "queue.reorder", "cron.late", "cron.skipped", "cron.twice"),
        "seconds",
    ),
    Fault(
        "platform limit",
        "time, connections or writes of KV are used up",
        ("platform.ends", "platform.full", "kv.refused"),
    ),
    Fault(
        "bad answer",
        "a provider refuses, does not fit the schema, counts nothing or charges too much",
        (
            "provider.invalid",
            "provider.refuses",
            "provider.long_limit",
            "provider.overrun",
            "job.fails",
            "chat.babble",
            "chat.counts_nothing",
        ),
    ),
    Fault("webhook", "a webhook is lost, late, repeated, overtaken or forged", ("webhook.",), "given"),
    Fault(
        "person",
        "a person does not just answer: is late, vanishes, declines, accepts, or answers twice or wrongly",
        ("person.",),
        "given",
    ),
    Fault(
        "caller",
        "a caller cancels; an operator changes caps, stops spending or retries",
        ("caller.cancels", "operator", "operator.meanwhile", "operator.twice"),
        "seconds",
    ),
    Fault(
        "operator's deletion",
        "an operator deletes rows, and an id may come back",
        ("operator.deletes",),
        "given",
    ),
    Fault(
        "foreign write",
        "another application writes what it may, or what no worker can read",
        ("meddle", "application."),
        "given",
    ),
    Fault("edited route", "an editor changes a template, or breaks it", ("editor.",), "given"),
    Fault(
        "hostile tenant",
        "a tenant floods the queue, sends storms, sets caps at bad moments, or writes templates at their limits",
        ("tenant.",),
        "seconds",
    ),
    Fault("lowered cap", "an operator lowers a cap below what is reserved", ("operator.lowers",), "seconds"),
    Fault("large population", "thousands of tasks are older than the worker", ("population",), "seconds"),
    Fault("restore", "the database is taken back to an earlier time", ("restore", "restore."), "given"),
)
"""The columns, in order."""
TITLES: Final = tuple(fault.title for fault in FAULTS)


@cache
def fault_of(name: str) -> Fault:
    """The kind of fault that a name of the dice belongs to.  Raises LookupError for a name that has none."""
    for fault in FAULTS:
        if any(name == known or (known.endswith(".") and name.startswith(known)) for known in fault.names):
            return fault
    raise LookupError(f"{name} has no kind in tests/simulation/faults.py")
