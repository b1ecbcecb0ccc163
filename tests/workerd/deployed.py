"""The deployed Worker at work: its templates, tasks and doorbells, seen from outside."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.core.snapshot import key
from tests.workerd.harness import Workerd
from tests.workerd.loopback import Answer, Loopback, Seen, closed_port, completion
from tests.workerd.replies import Event, Verdicts

ORGANIZATION: Final = 1
DOORBELLS: Final = "bizq-doorbells"
DEAD_LETTERS: Final = "bizq-dead-letters"
ANSWER: Final = {"answer": "yes"}
SCHEMA: Final = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
SECRETS: Final = {
    "LINK_SECRET": "x" * 32,
    "HOOK_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}

Play = Answer | Callable[[Seen], Answer]


@dataclass
class Models:
    """The models behind the loopback server: each has a name and plays its script."""

    plays: dict[str, list[Play]] = field(default_factory=dict)

    def __call__(self, seen: Seen) -> Answer:
        """Play the next of a model's plays; the last one repeats, and a model without any answers yes."""
        name = seen.json()["model"]
        plays = self.plays.get(name) or [Answer(json=completion(ANSWER))]
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        return play(seen) if callable(play) else play


def profiles(server: Loopback) -> str:
    """The deployment's accounts: `echo`, `hooked` (with webhooks), `model`, and `refused` (a closed port)."""
    price = {"input_per_million": "1", "output_per_million": "2"}
    model = {"provider": "openai_compatible", "price": price}
    free = {"per_task": "0"}
    known = {
        "echo": {"provider": "echo", "price": free},
        "hooked": {"provider": "echo", "webhook_secret": "HOOK_SECRET", "price": free},
        "people": {"provider": "inbox", "price": free},
        "model": {**model, "base_url": f"{server.url}/v1"},
        "refused": {**model, "base_url": f"http://127.0.0.1:{closed_port()}/v1"},
    }
    return json.dumps(known)


@dataclass
class DeployedWorker:
    """A running Worker and its surroundings."""

    worker: Workerd
    server: Loopback
    models: Models
    unseen: list[Event] = field(default_factory=list)
    """Events that a test has read; the guards check them too."""
    names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create_organization(self) -> None:
        """Insert the organization that owns all rows of the tests."""
        self.sql("INSERT INTO organizations (id, name) VALUES (?1, 'tests')", ORGANIZATION)

    def sql(self, text: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement, like another application."""
        return self.worker.database("DB").run(text, *parameters)

    # --- templates and tasks ------------------------------------------------------------------------

    def template(
        self,
        profile: str = "echo",
        *,
        settings: Mapping[str, object] | None = None,
        limits: Mapping[str, object] | None = None,
        schema: Mapping[str, object] = SCHEMA,
    ) -> int:
        """Make a template with one candidate."""
        candidate = {"profile": profile, "settings": dict(settings or {})}
        route = {"stages": [{"kind": "ai", "candidates": [candidate]}]}
        (row,) = self.sql(
            "INSERT INTO task_templates (organization_id, name, prompt, output_schema, route, limits)"
            " VALUES (?1, 'of a test', 'Answer.', ?2, ?3, ?4) RETURNING id",
            ORGANIZATION,
            *(json.dumps(part) for part in (schema, route, limits or {})),
        )
        return int(row["id"])

    def asks(self, name: str, *plays: Play, **limits: object) -> int:
        """Make a template for a model with this script."""
        self.models.plays[name] = list(plays)
        settings = {"model": name, "max_output_tokens": 10}
        return self.template("model", settings=settings, limits=limits)

    def tasks(self, template: int, count: int = 1) -> list[int]:
        """Make tasks that are due now."""
        rows = self.sql(
            "INSERT INTO tasks (template_id, organization_id, title) SELECT ?1, ?2, 'task ' || value"
            " FROM json_each(?3) RETURNING id",
            template,
            ORGANIZATION,
            json.dumps(list(range(count))),
        )
        return sorted(int(row["id"]) for row in rows)

    def task(self, number: int) -> dict[str, Any]:
        """The row of a task."""
        (row,) = self.sql("SELECT * FROM tasks WHERE id = ?1", number)
        return row

    def states(self, tasks: Sequence[int]) -> list[str]:
        """The status of each task."""
        rows = self.sql(
            "SELECT id, status FROM tasks WHERE id IN (SELECT value FROM json_each(?1))", json.dumps(tasks)
        )
        found = {row["id"]: row["status"] for row in rows}
        return [found[task] for task in tasks]

    def executions(self, task: int) -> list[dict[str, Any]]:
        """The executions of a task, in order."""
        return self.sql("SELECT * FROM task_executions WHERE task_id = ?1 ORDER BY id", task)

    def status(self, task: int) -> dict[str, Any] | None:
        """The live status of a task."""
        (row,) = self.sql("SELECT identity FROM tasks WHERE id = ?1", task)
        value = self.worker.kv("STATUS", "get", key(task, row["identity"]))["value"]
        return json.loads(value) if value else None

    # --- events -------------------------------------------------------------------------------------

    def doorbells(self, count: int = 1, attempts: int = 1) -> list[dict[str, Any]]:
        """Messages for `deliver`."""
        return [{"id": f"m{next(self.names)}", "body": {"v": 1}, "attempts": attempts} for _ in range(count)]

    def ring(self, count: int = 1) -> Verdicts:
        """Deliver a batch of doorbells."""
        return self.worker.deliver(DOORBELLS, self.doorbells(count))

    def later(self) -> None:
        """Make all unfinished work due."""
        self.sql("UPDATE rests SET until_ms = 0")
        self.sql(
            "UPDATE tasks SET run_at_ms = 0"
            " WHERE status = 'pending' AND (blocked_by IS NULL OR blocked_by LIKE 'rest:%')"
        )
        self.sql("UPDATE task_executions SET wake_at_ms = 0 WHERE status IN ('waiting', 'unknown')")
        self.sql("UPDATE outbox SET due_ms = 0")

    def events(self, kind: str = "queue") -> list[Event]:
        """The usage of the events since the last call."""
        ended = self.worker.events()
        self.unseen += ended
        return [event for event in ended if event.event == kind]

    def clear(self) -> None:
        """Leave no work and no faults for the next test."""
        self.unseen.clear()
        self.worker.faults()
        self.sql("DELETE FROM leases")
        self.sql("DELETE FROM outbox")
        self.sql("DELETE FROM rests")
        self.sql(
            "UPDATE tasks SET blocked_by = 'over', run_at_ms = 9007199254740990 WHERE status = 'pending'"
        )
        self.sql("UPDATE task_executions SET wake_at_ms = NULL WHERE status IN ('waiting', 'unknown')")
        self.server.drain()
        self.worker.logs()


def eventually(read: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first true value of `read`; each call is a round trip to the Worker."""
    end = time.monotonic() + seconds
    while not (seen := read()):
        assert time.monotonic() < end, "it did not happen in time"
    return seen
