"""The command line, run in this process on a data directory of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from consumer import telemetry
from consumer.cli.group import bizq

ECHO = {
    "name": "echo-title",
    "output_schema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
    "route": {"stages": [{"kind": "ai", "candidates": [{"profile": "echo"}]}]},
}
ASK = {
    "name": "ask",
    "output_schema": {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]},
    "route": {"stages": [{"kind": "human", "candidates": [{"profile": "people"}]}]},
}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Calls `bizq` with `--data`."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys

    def __call__(self, *args: object) -> Done:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            bizq.main([*map(str, args), "--data", str(self.data)])
        output = self._capsys.readouterr()
        return Done(int(ended.value.code or 0), output.out, output.err)

    def fine(self, *args: object) -> Done:
        done = self(*args)
        assert done.code == 0, done.err
        assert done.err == ""
        return done

    def json(self, *args: object) -> Any:
        return self.fine(*args, "--json").json

    def refused(self, *args: object, code: int = 1) -> str:
        """The message of a command that fails: on standard error, and never a traceback."""
        done = self(*args)
        assert done.code == code, done
        assert all(line.startswith("bizq: ") for line in done.err.splitlines())
        return done.err


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command silences the log of this process: later tests find it as it was."""
    yield
    telemetry.configure()
    structlog.reset_defaults()


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A data directory that does not exist yet."""
    for name in ("BIZQ_DATA", "BIZQ_PROFILES", "BIZQ_LINK_SECRET", "MODEL_URL", "MODEL_NAME", "MODEL_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Cli(tmp_path / "data", capsys)


@pytest.fixture
def cli(empty: Cli, tmp_path: Path) -> Cli:
    """One organization, one user, two templates."""
    empty.fine("org", "create", "Fjord")
    empty.fine("user", "create", "marta@fjord.example", "Marta")
    for template in (ECHO, ASK):
        put(empty, tmp_path, template)
    return empty


def put(cli: Cli, folder: Path, template: dict[str, Any], *args: str) -> Any:
    file = folder / f"{template['name']}.json"
    file.write_text(json.dumps(template))
    return cli.json("template", "put", file, *args)


def submit(cli: Cli, folder: Path, *tasks: object, args: tuple[str, ...] = ()) -> Any:
    file = lines(folder, *tasks)
    return cli.json("submit", file, *args)


def lines(folder: Path, *tasks: object) -> Path:
    file = folder / "tasks.jsonl"
    file.write_text("".join((task if isinstance(task, str) else json.dumps(task)) + "\n" for task in tasks))
    return file
