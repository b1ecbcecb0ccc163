"""Every command, for people and for programs."""

from __future__ import annotations

import io
import json
import re
import stat
from pathlib import Path

import pytest

from consumer.cli.group import COMMANDS, bizq
from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.ports import Statement, Value
from tests.cli.conftest import ASK, ECHO, Cli, lines, put, submit
from tests.fixtures.http import PROFILE

HELLO = {"template": "echo-title", "title": "Hello"}


def sql(cli: Cli, statement: str, *parameters: Value) -> list[dict[str, Value]]:
    database = SqliteDatabase(Layout(cli.data).database)
    try:
        return [dict(row) for row in database.run([Statement(statement, parameters)])[0].rows]
    finally:
        database.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bizq.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"Usage: bizq {name} ")


def test_without_a_command_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bizq.main([])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


class TestSettingUp:
    def test_the_first_organization_makes_the_data_directory(self, empty: Cli) -> None:
        assert empty.json("org", "create", "Fjord") == {"id": 1, "name": "Fjord"}
        layout = Layout(empty.data)
        assert stat.S_IMODE(layout.link_secret.stat().st_mode) == 0o600
        assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700
        assert sorted(json.loads(layout.profiles.read_text())) == ["echo", "people"]
        assert empty.fine("org", "create", "Linden").out == "organization 2: Linden\n"

    def test_the_link_secret_is_made_once(self, cli: Cli) -> None:
        before = Layout(cli.data).link_secret.read_text()
        cli.fine("inbox")
        assert Layout(cli.data).link_secret.read_text() == before
        assert len(before) == 64

    def test_user(self, cli: Cli) -> None:
        assert cli.json("user", "create", "jonas@fjord.example", "Jonas") == {
            "id": 2,
            "organization": 1,
            "email": "jonas@fjord.example",
        }
        assert (
            cli.fine("user", "create", "a@b.example", "A").out == "user 3: A <a@b.example>, organization 1\n"
        )

    def test_key(self, cli: Cli) -> None:
        made = cli.json("key", "create", "--role", "admin")
        assert re.fullmatch(r"bizq_[0-9a-f]{12}_[0-9a-f]{32}", made["key"])
        assert (made["organization"], made["role"]) == (1, "admin")
        assert cli.json("key", "create", "--role", "operator")["organization"] is None
        assert cli.fine("key", "revoke", made["key"]).out == "the key is revoked\n"
        assert "no key" in cli.refused("key", "revoke", made["key"])
        assert len(sql(cli, "SELECT id FROM api_keys WHERE revoked_ms IS NULL")) == 1

    def test_putting_a_template_of_the_same_name_replaces_it(self, cli: Cli, tmp_path: Path) -> None:
        made = put(cli, tmp_path, ECHO | {"description": "Says it again"})
        assert made == {"id": 1, "organization": 1, "name": "echo-title", "created": False}
        assert sql(cli, "SELECT description FROM task_templates WHERE id = 1") == [
            {"description": "Says it again"}
        ]
        assert put(cli, tmp_path, ECHO | {"name": "other"})["created"] is True

    def test_budget(self, cli: Cli) -> None:
        made = cli.json("budget", "put", "5.50", "--period", "day", "--refused", "fail")
        assert (made["scope"], made["scope_id"], made["cap_micro"], made["refused"]) == (
            "organization",
            1,
            5_500_000,
            "fail",
        )
        output = cli.fine("budget", "put", "2", "--template", "1", "--period", "total").out
        assert output == "budget 2: $2.000000 in total for template 1\n"


class TestTasks:
    def test_submit_from_a_file(self, cli: Cli, tmp_path: Path) -> None:
        done = submit(
            cli, tmp_path, HELLO, "", {"template": 2, "title": "Yes?", "assigned_to": "marta@fjord.example"}
        )
        assert done == [
            {"id": 1, "status": "pending", "created": True},
            {"id": 2, "status": "pending", "created": True},
        ]
        assert sql(cli, "SELECT assigned_to FROM tasks WHERE id = 2") == [{"assigned_to": 1}]

    def test_submit_from_standard_input(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(HELLO).encode())))
        assert cli.fine("submit", "-").out == "1 tasks submitted: 1\n"

    def test_the_same_key_twice_is_one_task(self, cli: Cli, tmp_path: Path) -> None:
        task = HELLO | {"idempotency_key": "a"}
        submit(cli, tmp_path, task)
        assert cli.fine("submit", lines(tmp_path, task)).out == "0 tasks submitted, 1 existed already: 1\n"

    def test_status(self, cli: Cli, tmp_path: Path) -> None:
        assert cli.fine("status").out == "0 tasks\n"
        submit(cli, tmp_path, HELLO)
        assert cli.fine("status").out == "1 tasks: 1 pending\n"
        assert cli.json("status") == {"total": 1, "tasks": {"pending": 1}, "more": False}
        assert cli.fine("status", "1").out.startswith("task 1: pending, 20")
        assert cli.json("status", "1")["version"] == 0

    def test_cancel_watch_and_show(self, cli: Cli, tmp_path: Path) -> None:
        submit(cli, tmp_path, HELLO)
        assert cli.json("cancel", "1") == {"id": 1, "status": "cancelled"}
        assert cli.fine("cancel", "1").out == "task 1 is cancelled\n"
        watched = cli("watch", "1")
        assert (watched.code, watched.err) == (1, "")
        assert watched.out.startswith("task 1: cancelled, cancelled by bizq")
        shown = cli.fine("show", "1").out
        assert "It is cancelled: cancelled by bizq; its cost is $0.000000." in shown
        assert "cancelled by bizq" in shown.splitlines()[-1]
        assert cli.json("show", "1")["audit"][0]["event"] == "cancelled"

    def test_retry(self, cli: Cli, tmp_path: Path) -> None:
        submit(cli, tmp_path, HELLO)
        assert f"`bizq cancel 1 --data {cli.data}` ends it" in cli.refused("retry", "1")
        cli.fine("cancel", "1")
        assert cli.json("retry", "1") == {"id": 2, "status": "pending", "created": True, "retry_of": 1}

    def test_watch_gives_up(self, cli: Cli, tmp_path: Path) -> None:
        submit(cli, tmp_path, HELLO)
        assert (
            cli("watch", "1", "--timeout", "0").err
            == f"bizq: task 1 is still pending: `bizq show 1 --data {cli.data}` explains why\n"
        )

    def test_adopt(self, cli: Cli, tmp_path: Path) -> None:
        submit(cli, tmp_path, HELLO)
        sql(cli, "UPDATE tasks SET blocked_by = 'adopt', run_at_ms = 9007199254740990")
        assert "run `bizq adopt`" in cli.json("show", "1")["why"]
        assert cli.json("adopt", "--org", "Fjord") == {"adopted": 1, "lacking": 0}
        assert cli.fine("adopt").out == "0 tasks may run now\n"

    def test_an_empty_inbox(self, cli: Cli) -> None:
        assert cli.fine("inbox").out == "nothing waits for people\n"
        assert cli.json("inbox", "--user", "1") == []


class TestOperating:
    def test_cost(self, cli: Cli) -> None:
        assert cli.json("cost") == {"by": "profile", "costs": [], "cursor": None, "total_micro": 0}
        for by in ("org", "profile", "provider", "template", "day"):
            assert cli.fine("cost", "--by", by, "--since", "2026-01-01").out.endswith("total $0.000000\n")

    def test_restore_stops_all_and_shows_what_went_back(self, cli: Cli, tmp_path: Path) -> None:
        (task,) = submit(cli, tmp_path, {"template": "echo-title", "title": "Hello"})
        key = cli.json("key", "create")["key"]

        done = cli.json("restore", "--revoke", f"{key}, other", "--above", 50)
        said = cli.fine("restore", "--revoke", "none").out

        assert (done["tasks"], done["revoked"]) == (1, [key.split("_")[1]])
        assert "1 tasks go to echo next" in said
        assert "All spending is stopped" in said
        assert cli("restore").code == 2
        assert "the database was restored" in cli.fine("show", str(task["id"])).out

    def test_stop_holds_everything_until_resume(self, cli: Cli, tmp_path: Path) -> None:
        assert cli.fine("resume").out == "there was no stop\n"
        assert cli.fine("stop", "a runaway loop").out.endswith(": a runaway loop\n")
        assert cli.json("stop", "again")["reason"] == "a runaway loop"
        task = submit(cli, tmp_path, HELLO)[0]["id"]
        assert "All spending is stopped: a runaway loop" in cli.fine("show", str(task)).out
        assert "all spending is stopped" in cli.fine("doctor").out
        assert cli.json("resume") == {"resumed": True}
        assert "All spending" not in cli.fine("show", str(task)).out

    def test_tick_rings_for_what_is_due(self, cli: Cli, tmp_path: Path) -> None:
        submit(cli, tmp_path, HELLO)
        assert cli.json("tick")["due"] == 1
        line = "0 expired leases repaired, 0 tasks raised, 0 ended, 0 unblocked, 0 alerts, 1 due, 1 doorbells sent\n"
        assert cli.fine("tick").out == line

    def test_a_healthy_doctor(self, cli: Cli) -> None:
        assert {one["level"] for one in cli.json("doctor")} == {"ok"}
        assert cli.fine("doctor").out.startswith("ok       the schema is complete")

    def test_a_doctor_with_bad_news(self, cli: Cli) -> None:
        sql(cli, "DROP TRIGGER tasks_finished")
        done = cli("doctor")
        assert (done.code, done.err) == (1, "")
        assert done.out.startswith("ERROR    trigger tasks_finished is missing")

    def test_the_doctor_knows_of_secrets_and_of_the_model(self, cli: Cli) -> None:
        profiles = {
            "local": {"provider": "openai_compatible"},
            "cloud": {
                "provider": "openai_compatible",
                "base_url": "https://example.com",
                "key": "NOT_SET_KEY",
            },
        }
        Layout(cli.data).profiles.write_text(json.dumps(profiles))
        done = cli("doctor")
        assert done.code == 1
        assert "ERROR    the profiles name the secret NOT_SET_KEY, which is not set" in done.out
        assert "warning  profile local works only while a model runs" in done.out

    def test_the_doctor_checks_the_secrets_of_webhooks(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A text that is no key would refuse every genuine webhook as a forged one."""
        profiles = {"async": {"provider": "echo", "webhook_secret": "HOOK"}}
        Layout(cli.data).profiles.write_text(json.dumps(profiles))
        assert "secret HOOK, which is not set" in cli("doctor").out
        monkeypatch.setenv("HOOK", "whsec_abcde")
        assert "ERROR    profiles.async.webhook_secret: must be the signing secret" in cli("doctor").out
        monkeypatch.setenv("HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        assert "webhook_secret" not in cli("doctor").out

    def test_commands_work_without_the_secrets_of_providers_that_sign(self, cli: Cli, tmp_path: Path) -> None:
        """A command that makes no calls needs the names of secrets only."""
        profiles = {
            "clinic": {
                "provider": "webhook",
                "base_url": "https://clinic.example.com/bizq",
                "webhook_secret": "CLINIC_HOOK",
                "options": {"kind": "human"},
            },
            "replicate": PROFILE,
        }
        Layout(cli.data).profiles.write_text(json.dumps(profiles))

        said = cli("doctor").out
        for name in ("CLINIC_HOOK", "REPLICATE_HOOK", "REPLICATE_API_TOKEN"):
            assert f"the profiles name the secret {name}, which is not set" in said
        route = {
            "stages": [
                {"kind": "ai", "candidates": [{"profile": "replicate", "settings": {"model": "m"}}]},
                {"kind": "human", "candidates": [{"profile": "clinic"}]},
            ]
        }
        assert put(cli, tmp_path, {**ECHO, "name": "phone", "route": route})["created"]


def test_ask_is_a_template_too(cli: Cli) -> None:
    assert sql(cli, "SELECT name FROM task_templates ORDER BY id") == [
        {"name": ECHO["name"]},
        {"name": ASK["name"]},
    ]
