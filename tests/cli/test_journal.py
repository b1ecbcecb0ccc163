"""What `bizq journal` exports leads to what it says of its task, and carries no payload."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from consumer.cli.journal import entries
from tests.cli.conftest import Cli, submit
from tests.cli.test_dev import dev, ended, until
from tests.simulation.__main__ import main as simulation
from tests.simulation.journal import read, replay

SECRET = "a word that stays where it is"


def test_a_journal_replays_to_the_task_s_row(cli: Cli, tmp_path: Path) -> None:
    with dev(cli.data) as (process, _):
        submit(
            cli, tmp_path, {"template": "echo-title", "title": SECRET}, {"template": "ask", "title": "Yes?"}
        )
        until(cli.data, 1, "completed")
        until(cli.data, 2, "waiting")
        ended(process, signal.SIGINT)
    cli.fine("cancel", "2")
    for task, status in ((1, "completed"), (2, "cancelled")):
        output = cli.fine("journal", str(task)).out
        entries = read(output)
        assert entries == cli.json("journal", str(task))
        assert SECRET not in output
        assert entries[0]["status"] == status
        assert replay(entries) == []


def test_a_journal_that_was_changed_is_detected(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(cli, tmp_path, {"template": "echo-title", "title": "Hello"})
    cli.fine("cancel", "1")
    output = cli.fine("journal", "1").out
    path = tmp_path / "journal.jsonl"
    for text, code in ((output, 0), (output.replace('"status":"cancelled"', '"status":"completed"'), 1)):
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["simulation", "--journal", str(path)])
        assert simulation() == code
    assert "it was ended as cancelled and is completed" in capsys.readouterr().out


def test_the_text_of_a_field_that_no_list_names_stays_where_it_is() -> None:
    history = {"task": {"id": 1, "status": "failed", "a_new_field": SECRET}, "executions": [], "audit": []}

    (line,) = entries(history)

    assert (line["id"], line["status"]) == (1, "failed")
    assert line["a_new_field"].keys() == {"bytes", "sha256"}
