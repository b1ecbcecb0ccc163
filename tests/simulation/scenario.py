"""The scenario: organizations, templates, budgets, and a list of tasks with their special cases."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumer.ports import Statement
from consumer.service.keys import hash_key

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

SCHEMA: Final = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
ORGANIZATIONS: Final = 3
KEY: Final = "bizq_simulation_secret"
"""The key of an operator, who names the organization."""

HOUR: Final = 3_600
BULK_EVERY: Final = 5
"""In each fifth seed an organization submits most of its tasks at once, and others come right after them."""
BULK_ORGANIZATION: Final = 1
BULK_AT_S: Final = 600.0
MODELS: Final = {"chat": "simulated", "listed": "mistral-medium"}
"""The model of each profile of the chat service.  The price book's rates of the second one are corrected."""


def ai(*names: str, **settings: Any) -> dict[str, Any]:
    """An AI stage with these candidates."""
    return {"kind": "ai", "candidates": [_candidate(name, settings) for name in names]}


def _candidate(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    if name in MODELS:
        settings = {"model": MODELS[name], "max_output_tokens": 500}
    return {"profile": name, "settings": settings if name in ("echo", *MODELS) else {}}


def person(kind: str = "human", *names: str) -> dict[str, Any]:
    """A stage for a person."""
    return {"kind": kind, "candidates": [{"profile": name} for name in names or ("inbox",)]}


ECHO: Final = {
    "script": [
        {"retry": "not yet", "after_ms": 2_000, "charge": "0"},
        {"asynchronous": True, "output": {"answer": "echo"}, "check_after_ms": 30_000},
    ]
}
ROUTES: Final[tuple[tuple[list[dict[str, Any]], dict[str, Any]], ...]] = (
    ([ai("plain")], {"call_s": 20}),
    ([ai("keyed")], {"call_s": 20}),
    ([ai("evident", "plain")], {"call_s": 30, "attempts": 2}),
    ([ai("both")], {"call_s": 20, "task_s": 4 * HOUR}),
    ([ai("jobs")], {"call_s": 20, "job_s": 2 * HOUR, "unknown": "wait"}),
    ([ai("calls", "keyed")], {"call_s": 20, "job_s": HOUR, "person_s": 2 * HOUR}),
    ([ai("chat")], {"call_s": 40, "repairs": 1}),
    ([person()], {"person_s": 3 * HOUR}),
    ([ai("keyed"), person("review")], {"call_s": 20, "person_s": 12 * HOUR}),
    (
        [ai("jobs"), ai("chat", "plain"), person("review")],
        {"call_s": 20, "job_s": 3 * HOUR, "person_s": 2 * HOUR},
    ),
    ([person(), ai("both")], {"person_s": HOUR, "task_s": 24 * HOUR}),
    ([person("human", "crowd", "inbox")], {"job_s": HOUR, "person_s": 5 * HOUR, "call_s": 20}),
    ([ai("echo", **ECHO), ai("plain")], {"call_s": 20, "unknown": "wait"}),
    ([ai("keyed"), ai("plain")], {"call_s": 5, "unknown": "retry"}),
    ([ai("plain")], {"call_s": 240}),
    ([ai("listed", "both")], {"call_s": 240}),
)
BUDGETS: Final = (
    # scope, scope_id, period, cap in micro-dollars, refused
    ("organization", 1, "day", 250_000, "wait"),
    ("template", 1, "total", 60_000, "wait"),
    ("template", 2, "month", 70_000, "fail"),
    ("organization", 2, "month", 40_000_000, "wait"),
    ("template", 5, "day", 40_000, "wait"),
)


@dataclass(slots=True)
class Wanted:
    """One task that will be submitted."""

    number: int
    at: float
    template: int
    organization: int
    foreign: bool
    twice: bool
    quirk: str | None
    priority: str
    due_s: float | None


def seed_rows(sim: Simulation) -> None:
    """Insert organizations, people, templates, budgets and keys."""
    batch = [
        Statement("INSERT INTO organizations (id, name) VALUES (?1, 'org')", (number + 1,))
        for number in range(ORGANIZATIONS)
    ]
    for index, (stages, limits) in enumerate(ROUTES):
        batch.append(
            Statement(
                "INSERT INTO task_templates (id, organization_id, name, prompt, output_schema, route, limits)"
                " VALUES (?1, ?2, ?3, 'Do {{title}} with {{input}}', ?4, ?5, ?6)",
                (
                    index + 1,
                    organization_of(index + 1),
                    f"template {index + 1}",
                    json.dumps(SCHEMA),
                    json.dumps({"stages": stages}),
                    json.dumps(limits),
                ),
            )
        )
    for number, (scope, scope_id, period, cap, refused) in enumerate(BUDGETS, start=1):
        batch.append(
            Statement(
                "INSERT INTO budgets (id, organization_id, scope, scope_id, period, cap_micro, refused)"
                " VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)",
                (number, scope, scope_id, period, cap, refused),
            )
        )
    whose: list[tuple[str, str, int | None]] = [(KEY, "operator", None)]
    whose += [(member_key(number + 1), "member", number + 1) for number in range(ORGANIZATIONS)]
    whose += [(admin_key(number + 1), "admin", number + 1) for number in range(ORGANIZATIONS)]
    for key, role, organization in whose:
        name, secret = key.split("_")[1:]
        batch.append(
            Statement(
                "INSERT INTO api_keys (id, hash, role, organization_id, created_ms) VALUES (?1, ?2, ?3, ?4, 0)",
                (name, hash_key(secret), role, organization),
            )
        )
    sim.database.commit("setup", batch)


def member_key(organization: int) -> str:
    """The key of an application that submits tasks of one organization."""
    return f"bizq_organization{organization}_secret"


def admin_key(organization: int) -> str:
    """The key of an administrator of one organization."""
    return f"bizq_administrator{organization}_secret"


def organization_of(template: int) -> int:
    """The organization that a template belongs to."""
    return 1 + (template - 1) % ORGANIZATIONS


def wanted(seed: int, tasks: int, span_s: float) -> list[Wanted]:
    """The tasks of a seed; the first n do not depend on the number of tasks."""
    found = []
    for number in range(tasks):
        chance = random.Random(f"{seed}/task/{number}")  # noqa: S311  # a seed decides, nothing is secret
        template = 1 + chance.randrange(len(ROUTES))
        draw = chance.random()
        quirk = "poison" if draw < 0.01 else "poison at claim" if draw < 0.015 else None
        found.append(
            Wanted(
                number=number,
                at=span_s * chance.random() ** 2,
                template=template,
                organization=organization_of(template),
                foreign=chance.random() < 0.2,
                twice=chance.random() < 0.1,
                quirk=quirk,
                priority=chance.choice(["urgent", "high", "medium", "medium", "low"]),
                due_s=chance.uniform(600, 40_000) if chance.random() < 0.2 else None,
            )
        )
        in_front = organization_of(template) == BULK_ORGANIZATION
        if seed % BULK_EVERY == 0 and chance.random() < (0.8 if in_front else 0.3):
            found[-1].at = BULK_AT_S + (0.0 if in_front else 0.5)
    return found
