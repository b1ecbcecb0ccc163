"""Refusals: one clear line on standard error with the next step, and a non-zero exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from consumer.local.layout import Layout
from tests.cli.conftest import ECHO, Cli, lines, put

HELLO = {"template": "echo-title", "title": "Hello"}


@pytest.mark.parametrize(
    "command",
    [
        "submit -",
        "status",
        "status 1",
        "watch 1",
        "show 1",
        "cancel 1",
        "retry 1",
        "adopt",
        "inbox",
        "cost",
        "tick",
        "doctor",
        "user create a@b.example A",
        "key create",
        "key revoke x",
        "budget put 1",
    ],
)
def test_without_a_data_directory(empty: Cli, command: str, tmp_path: Path) -> None:
    args = [str(lines(tmp_path, HELLO)) if word == "-" else word for word in command.split()]
    assert f"create it with `bizq dev --data {empty.data}`" in empty.refused(*args)
    assert not empty.data.exists()


@pytest.mark.parametrize("command", ["status", "watch", "show", "cancel", "retry"])
def test_a_task_that_is_not_there(cli: Cli, command: str) -> None:
    assert cli.refused(command, "99") == (
        f"bizq: no task 99; `bizq status --data {cli.data}` counts the tasks of this data directory\n"
    )


@pytest.mark.parametrize(
    "command", ["status x", "show", "cost --by week", "nothing", "demo --nothing", "status 0"]
)
def test_wrong_usage_names_the_help(cli: Cli, command: str) -> None:
    output = cli.refused(*command.split(), code=2)
    assert re.search(r": see `bizq[a-z ]* --help`$", output.strip())
    assert len(output.splitlines()) == 1


def test_an_error_for_programs(cli: Cli) -> None:
    done = cli("show", "99", "--json")
    assert done.code == 1
    assert done.json["error"]["message"].startswith("no task 99")


class TestSubmit:
    def test_a_file_that_is_not_there(self, cli: Cli, tmp_path: Path) -> None:
        assert "No such file" in cli.refused("submit", tmp_path / "nothing.jsonl", code=2)

    def test_a_file_without_tasks(self, cli: Cli, tmp_path: Path) -> None:
        assert "has no tasks" in cli.refused("submit", lines(tmp_path, "", " "))

    def test_a_file_that_is_not_text(self, cli: Cli, tmp_path: Path) -> None:
        file = tmp_path / "tasks.jsonl"
        file.write_bytes(b'{"title": "\xff"}\n')
        assert "not UTF-8" in cli.refused("submit", file)

    def test_every_wrong_line_and_field_is_named_and_nothing_is_submitted(
        self, cli: Cli, tmp_path: Path
    ) -> None:
        file = lines(
            tmp_path, HELLO, "", HELLO | {"template": "nope"}, HELLO | {"titel": "x", "priority": "now"}
        )
        done = cli("submit", file, "--json")
        assert done.code == 1
        fields = [problem["field"] for problem in done.json["error"]["problems"]]
        assert fields == ["line 4: priority", "line 4: titel", "line 3: template", ""]
        assert done.err.splitlines()[-1] == "bizq: nothing was submitted: correct this and submit again"
        assert cli.json("status")["total"] == 0

    def test_a_single_wrong_line(self, cli: Cli, tmp_path: Path) -> None:
        output = cli.refused("submit", lines(tmp_path, "", {"template": "echo-title"}))
        assert output.startswith("bizq: line 2: title: ")

    @pytest.mark.parametrize("line", ["{", "[]", "7", '{"title": NaN}'])
    def test_a_line_that_is_no_object(self, cli: Cli, tmp_path: Path, line: str) -> None:
        assert cli.refused("submit", lines(tmp_path, HELLO, line)).startswith("bizq: line 2: ")

    def test_a_user_of_another_organization(self, cli: Cli, tmp_path: Path) -> None:
        output = cli.refused("submit", lines(tmp_path, HELLO, HELLO | {"assigned_to": "eve@else.example"}))
        assert output.startswith(
            "bizq: line 2: assigned_to: this organization has no user eve@else.example\n"
        )

    def test_a_template_of_another_organization(self, cli: Cli, tmp_path: Path) -> None:
        cli.fine("org", "create", "Linden")
        output = cli.refused("submit", lines(tmp_path, HELLO), "--org", "Linden")
        assert output.startswith("bizq: line 1: template: this organization has no template 'echo-title'")

    def test_all_or_none_for_several_organizations(self, cli: Cli, tmp_path: Path) -> None:
        cli.fine("org", "create", "Linden")
        file = lines(tmp_path, *[HELLO | {"organization": name} for name in ("Fjord", "Linden")])
        output = cli.refused("submit", file)
        assert output.startswith("bizq: line 2: template: this organization has no template 'echo-title'")
        assert cli.fine("submit", file, "--org", "1").out == (
            "1 tasks submitted, 1 lines of other organizations skipped: 1\n"
        )
        only = lines(tmp_path, HELLO | {"organization": "Fjord"})
        assert "no line is for organization Linden" in cli.refused("submit", only, "--org", "Linden")

    def test_an_organization_that_is_not_there(self, cli: Cli, tmp_path: Path) -> None:
        output = cli.refused("submit", lines(tmp_path, HELLO, HELLO | {"organization": "Oslo"}))
        assert output.startswith("bizq: line 2: organization: no organization Oslo")

    def test_which_organization(self, cli: Cli, tmp_path: Path) -> None:
        cli.fine("org", "create", "Linden")
        assert "--org: 1 (Fjord), 2 (Linden)" in cli.refused("submit", lines(tmp_path, HELLO))
        assert "no organization 7" in cli.refused("submit", lines(tmp_path, HELLO), "--org", "7")
        cli.fine("submit", lines(tmp_path, HELLO), "--org", "1")


class TestConfiguration:
    def test_a_template_that_is_wrong(self, cli: Cli, tmp_path: Path) -> None:
        file = tmp_path / "wrong.json"
        route = {"stages": [{"kind": "ai", "candidates": [{"profile": "missing"}]}]}
        file.write_text(json.dumps(ECHO | {"route": route}))
        assert "no profile 'missing'; its profiles are: echo, people" in cli.refused("template", "put", file)
        file.write_text("[]")
        assert "a template must be a JSON object" in cli.refused("template", "put", file)
        file.write_text("{")
        assert "not valid JSON" in cli.refused("template", "put", file)

    def test_a_budget_that_is_wrong(self, cli: Cli) -> None:
        assert "cap" in cli.refused("budget", "put", "much")
        assert "no such template" in cli.refused("budget", "put", "1", "--template", "99")
        assert "not both" in cli.refused("budget", "put", "1", "--template", "1", "--task", "1")

    @pytest.mark.parametrize("command", ["doctor", "template put -", "dev --port 0"])
    def test_profiles_that_are_wrong(self, cli: Cli, command: str, tmp_path: Path) -> None:
        """Only the commands that use the profiles read them."""
        file = tmp_path / "template.json"
        file.write_text(json.dumps(ECHO))
        args = [str(file) if word == "-" else word for word in command.split()]
        profiles = Layout(cli.data).profiles
        profiles.write_text("{")
        assert f"{profiles}: not valid JSON" in cli.refused(*args)
        profiles.write_text("[]")
        assert "must be an object of profiles by name" in cli.refused(*args)
        profiles.write_text('{"x": {"provider": "missing"}}')
        assert "profiles.x.provider" in cli.refused(*args)
        cli.fine("inbox")

    def test_a_secret_that_is_not_set_keeps_only_the_worker_from_starting(self, cli: Cli) -> None:
        profile = {"provider": "openai_compatible", "base_url": "https://example.com", "key": "NOT_SET_KEY"}
        Layout(cli.data).profiles.write_text(json.dumps({"cloud": profile}))
        cli.fine("inbox")
        assert "no secret named NOT_SET_KEY" in cli.refused("dev", "--port", "0")

    def test_other_profiles(self, cli: Cli, tmp_path: Path) -> None:
        file = tmp_path / "profiles.json"
        file.write_text('{"mine": {"provider": "echo"}}')
        route = {"stages": [{"kind": "ai", "candidates": [{"profile": "mine"}]}]}
        made = put(cli, tmp_path, ECHO | {"route": route}, "--profiles", str(file))
        assert made["created"] is False


def test_a_worker_does_not_start_on_a_broken_schema(cli: Cli) -> None:
    from tests.cli.test_commands import sql

    sql(cli, "DROP TRIGGER tasks_finished")
    for command in (("dev", "--port", "0"), ("tick",)):
        assert f"run `bizq doctor --data {cli.data}` to diagnose" in cli.refused(*command)


def test_two_models_are_one_too_many(cli: Cli) -> None:
    assert "not both" in cli.refused("dev", "--model", "--model-url", "http://127.0.0.1:1/v1")


def test_a_port_that_is_taken(cli: Cli) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another one with --port" in cli.refused("dev", "--port", taken.getsockname()[1])
