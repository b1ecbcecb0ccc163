"""Actions on all tasks that fit a filter: count, ask, act."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tests.cli.conftest import Cli, submit

HELLO = {"template": "echo-title", "title": "Hello"}


@pytest.fixture
def three(cli: Cli, tmp_path: Path) -> Cli:
    submit(cli, tmp_path, HELLO, HELLO, {"template": "ask", "title": "Yes?", "assigned_to": 1})
    return cli


def pending(cli: Cli) -> int:
    return int(cli.json("status")["tasks"].get("pending", 0))


def test_a_dry_run_prints_what_would_happen_and_changes_nothing(three: Cli) -> None:
    output = three.fine("cancel", "--template", "echo-title", "--dry-run").out

    assert output == "cancel 2 tasks; 0 open calls hold $0.000000, which comes back unless it is charged\n"
    assert pending(three) == 3
    counted = three.json("cancel", "--template", "echo-title", "--dry-run")
    assert (counted["tasks"], counted["changed"], counted["dry_run"]) == (2, 0, True)


def test_it_acts_only_after_a_confirmation(three: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no(text: str, *, abort: bool) -> None:
        asked.append(text)
        assert abort
        raise click.Abort

    monkeypatch.setattr(click, "confirm", no)
    assert three("cancel", "--template", "echo-title").code == 130
    assert (asked, pending(three)) == (["Go on?"], 3)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    output = three.fine("cancel", "--template", "echo-title").out
    assert output.splitlines()[1:] == ["2 tasks cancelled"]
    assert pending(three) == 1


def test_more_than_a_page_is_done_in_one_command(cli: Cli, tmp_path: Path) -> None:
    submit(cli, tmp_path, *[HELLO] * 120)

    assert cli.fine("cancel", "--org", "Fjord", "--status", "pending", "--yes").out == "120 tasks cancelled\n"
    assert cli.fine("retry", "--status", "cancelled", "--yes").out == "120 tasks retried\n"
    assert cli.fine("retry", "--status", "cancelled", "--yes").out == "no task fits: nothing to do\n"


def test_a_mistake_is_refused_with_the_right_way(three: Cli) -> None:
    assert "at least one option of the filter" in three.refused("cancel")
    assert "a task or a filter, not both" in three.refused("cancel", "1", "--status", "pending")
    assert "add --yes to act, or --dry-run to count" in three.refused(
        "cancel", "--status", "pending", "--json"
    )
    assert "filter.submitted_after: must be a time" in three.refused(
        "cancel", "--submitted-after", "yesterday", "--dry-run"
    )
    assert (
        three.fine("release", "1").out == "task 1 has no call of unknown outcome that can be released now\n"
    )
    assert "no task 9" in three.refused("release", "9")
    assert pending(three) == 3
