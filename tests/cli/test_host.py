"""The parts below the commands: the data directory, the model, the picture of progress, the examples."""

from __future__ import annotations

import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from consumer.cli import host
from consumer.cli.client import local, organization_id
from consumer.cli.dev.progress import Progress, columns, counted, pictured
from consumer.cli.dev.seed import seed_and_submit, with_model
from consumer.cli.host import EXAMPLES, OpenOptions
from consumer.core.errors import BadInput, NotFound
from consumer.local import model
from consumer.local.layout import Layout


class TestDataDirectory:
    async def test_is_not_made_unasked(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            async with host.opened(Layout(tmp_path / "new"), OpenOptions()):
                pass
        assert not (tmp_path / "new").exists()

    async def test_is_brought_up_to_date_once(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "new")
        async with host.opened(layout, OpenOptions(create=True)) as first:
            assert first.applied
        async with host.opened(layout, OpenOptions()) as second:
            assert second.applied == []

    def test_a_given_link_secret_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BIZQ_LINK_SECRET", "g" * 32)
        assert host.link_secret(Layout(tmp_path)) == "g" * 32
        assert list(tmp_path.iterdir()) == []

    def test_a_short_link_secret_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BIZQ_LINK_SECRET", "g" * 31)
        with pytest.raises(BadInput, match=r"BIZQ_LINK_SECRET.* has 31 characters and needs at least 32"):
            host.link_secret(Layout(tmp_path))
        monkeypatch.delenv("BIZQ_LINK_SECRET")
        Layout(tmp_path).link_secret.write_text("short")
        with pytest.raises(BadInput, match="has 5 characters"):
            host.link_secret(Layout(tmp_path))

    def test_an_empty_link_secret_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BIZQ_LINK_SECRET", raising=False)
        Layout(tmp_path).link_secret.touch()
        with pytest.raises(BadInput, match="delete it"):
            host.link_secret(Layout(tmp_path))

    async def test_links_lead_to_where_the_worker_was_last(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        layout.public_url.write_text("https://tasks.example\n")
        async with host.opened(layout, OpenOptions(create=True)) as opened:
            assert opened.world.config.public_url == "https://tasks.example"


class TestProfiles:
    async def test_the_local_model_is_known_before_it_runs(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        host.prepare(layout, create=True)
        host.keep_profile(layout, host.LOCAL_MODEL, host.MODEL_PROFILE)
        async with host.opened(layout, OpenOptions(create=True, accounts=True)) as idle:
            assert "local" in idle.world.accounts
        async with host.opened(layout, OpenOptions(working=True)) as working:
            assert working.idle == ["local"]
            assert "local" not in working.world.accounts
        async with host.opened(
            layout, OpenOptions(working=True, model_url="http://127.0.0.1:1/v1")
        ) as with_model:
            assert with_model.world.accounts["local"].profile.base_url == "http://127.0.0.1:1/v1"
            assert with_model.world.accounts["local"].profile.price is not None

    async def test_secrets_come_from_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layout = Layout(tmp_path)
        profile = {"provider": "openai_compatible", "base_url": "https://example.com", "key": "CLOUD_KEY"}
        host.prepare(layout, create=True)
        host.keep_profile(layout, "cloud", profile)
        monkeypatch.setenv("CLOUD_KEY", "s3cret")
        async with host.opened(layout, OpenOptions(create=True, working=True)) as opened:
            assert opened.world.accounts["cloud"].key == "s3cret"


class TestModel:
    @pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (2, 1), (4, 3), (64, 4)])
    def test_one_core_is_left_to_the_rest(self, cores: int | None, threads: int) -> None:
        assert model.threads(cores) == threads

    @pytest.mark.parametrize("missing", [model.SERVER, model.WEIGHTS])
    def test_a_missing_wheel_is_said(self, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        hidden = {missing}
        monkeypatch.setattr(
            "consumer.local.model.find_spec", lambda name: None if name in hidden else find_spec(name)
        )
        with pytest.raises(model.NoModel):
            model.weights()

    async def test_a_model_that_does_not_start_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model, "weights", lambda: tmp_path)
        monkeypatch.setattr("sys.executable", "false")
        with pytest.raises(model.NoModel, match=r"does not start: see .*model\.log"):
            async with model.running(tmp_path / "model.log"):
                pass


def row(number: int, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "status": status,
        "organization": "Fjord",
        "template": "echo",
        "title": f"Task [{number}]",
        "profile": None,
        "attempts": 0,
        "cost_micro": None,
    } | more


class TestProgress:
    def test_counts(self) -> None:
        rows = [row(1, "completed"), row(2, "running"), row(3, "completed")]
        assert counted(rows) == "1 running, 2 completed"

    @pytest.mark.parametrize("width", [40, 80, 100, 200])
    def test_columns_fill_the_width(self, width: int) -> None:
        chosen = columns(width)
        assert {"task", "title", "state", "profile", "attempts", "cost"} <= chosen.keys()
        assert sum(chosen.values()) + 2 * len(chosen) - 1 <= max(width, 70)

    def test_what_runs_is_shown_where_not_all_fit(self) -> None:
        rows = [row(number, "completed") for number in range(1, 40)]
        rows.append(row(40, "running", profile="local", attempts=2, cost_micro=1_500))
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(pictured(rows, 100, 12))
        shown = console.export_text()
        assert "and 34 more" in shown
        assert "Task [40]" in shown
        assert "$0.001500" in shown

    def test_without_a_terminal_a_line_is_said_when_counts_changed_and_a_while_has_passed(self) -> None:
        console = Console(record=True, force_terminal=False, width=80, file=io.StringIO())
        progress = Progress(console)
        with progress.shown():
            progress.update([row(1, "pending")], 10_000)
            progress.update([row(1, "running")], 11_000)
            progress.update([row(1, "running")], 16_000)
            progress.update([row(1, "running")], 30_000)
            progress.update([row(1, "completed")], 30_001, last=True)
        assert console.export_text().splitlines() == ["  1 pending", "  1 running", "  1 completed"]


class TestExamples:
    def test_tasks_are_of_two_organizations_and_many_kinds(self) -> None:
        tasks = [json.loads(line) for line in (EXAMPLES / "tasks.jsonl").read_text().splitlines()]
        assert len(tasks) >= 24
        assert len({task["organization"] for task in tasks}) == 2
        assert len({task["template"] for task in tasks}) >= 4

    async def test_they_are_accepted_again_and_again(self, tmp_path: Path) -> None:
        """Organizations, people and templates stay; each run has tasks of its own."""
        layout = Layout(tmp_path / "data")
        host.prepare(layout, create=True)
        for name, profile in json.loads((EXAMPLES / "profiles.json").read_text()).items():
            host.keep_profile(layout, name, profile)
        async with local(layout.root, OpenOptions(create=True, accounts=True)) as client:
            first = await seed_and_submit(client, EXAMPLES, "some-model")
            second = await seed_and_submit(client, EXAMPLES, "some-model")
            assert first == list(range(1, len(first) + 1))
            assert second == [len(first) + number for number in first]
            assert await organization_id(client, "Fjord Outdoor") == 1
            assert await organization_id(client, "Lindenhof Clinic") == 2

    def test_templates_ask_for_the_model_that_there_is(self) -> None:
        template = json.loads((EXAMPLES / "templates" / "reply-to-customer.json").read_text())
        asked = with_model(template, "other")["route"]["stages"]
        assert asked[0]["candidates"][0]["settings"]["model"] == "other"
        assert "model" not in asked[1]["candidates"][0]["settings"]
