"""docs/operations.md says what the code does: levels of events, kinds of blockers, numbers, commands over HTTP."""

from __future__ import annotations

import re
from typing import Final

import pytest

from consumer.cli.group import COMMANDS
from consumer.core import policy
from consumer.core.template import Limits
from consumer.telemetry import Event
from tests.local import host
from tests.support.documents import OPERATIONS, ROOT, sections, tables
from tests.support.scene import Scene, Suite, ai

migrated, database = host.migrated, host.database
kv, blobs = host.kv, host.blobs

SECTIONS: Final = sections(OPERATIONS)
WHY: Final = "Why is this task not running?"
LOGGED: Final = re.compile(r"log\(\)\s*\.(\w+)\(\s*Event\.(\w+)")
BLOCKERS: Final = [row["`blocked_by`"].strip("`") for row in tables(OPERATIONS, WHY)[2]]


def test_every_event_is_logged_at_the_level_of_its_row() -> None:
    sources = "".join(file.read_text() for file in sorted((ROOT / "consumer").rglob("*.py")))
    levels = {(Event[name].value, level) for level, name in LOGGED.findall(sources)}
    rows = tables(OPERATIONS, "What the log says")[0]

    assert {(row["event"].strip("`"), row["level"]) for row in rows} == levels


def test_every_command_has_a_row() -> None:
    rows = tables(OPERATIONS, "Ask from elsewhere")[0]
    named = {found.split()[0] for row in rows for found in re.findall(r"`([a-z ]+)`", row["command"])}

    assert named == set(COMMANDS)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    limits = Limits()
    lost = (policy.LEASE + policy.CLOCK_SLACK + policy.MINUTE / 2) / policy.MINUTE
    assert f"about {lost:.0f} minutes after the last renewal" in SECTIONS[WHY].replace("\n", " ")
    assert policy.RENEW_EVERY == policy.MINUTE
    assert f"({limits.attempts} by default)" in SECTIONS["A provider is down"]
    assert f"({limits.person_s // 86_400} days by default)" in SECTIONS["People do not answer"]
    assert policy.BACKOFF_CAP == 15 * policy.MINUTE
    assert policy.LOST_LEASES == 3


class TestBlockers(Suite):
    @pytest.mark.parametrize("blocker", BLOCKERS)
    async def test_every_blocker_of_the_page_is_explained_in_a_sentence(
        self, scene: Scene, blocker: str
    ) -> None:
        task = await scene.given(ai("blind"))
        kind = blocker.partition(":")[0]

        await scene.sql("UPDATE tasks SET blocked_by = ?1 WHERE id = ?2", kind, task)

        assert not (await scene.why(task)).endswith(f": {kind}.")


def test_every_blocker_of_the_code_has_a_row() -> None:
    """The kinds that the worker and the triggers write, by the texts that they begin with."""
    sources = [file.read_text() for file in sorted((ROOT / "consumer").rglob("*.py"))]
    sources += [file.read_text() for file in sorted((ROOT / "migrations").glob("*.sql"))]
    written = set(
        re.findall(
            r"""["'](budget|rest|no_(?!evidence)[a-z]+|bad_settings|bad_row|unpriced|storage|adopt)[:"']""",
            "".join(sources),
        )
    )

    assert {name.partition(":")[0] for name in BLOCKERS} == written | {"stopped"}
