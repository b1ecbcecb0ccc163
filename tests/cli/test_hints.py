"""The commands that messages name can be typed as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.cli.target import DATA, Remote, Target, command, program


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIZQ_DATA", "BIZQ_TARGET", "BIZQ_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["bizq"])


def test_the_default_directory_needs_no_option() -> None:
    assert command("doctor", Target(DATA)) == "`bizq doctor`"


def test_another_directory_is_named_and_quoted() -> None:
    assert command("doctor", Target(Path("my data"))) == "`bizq doctor --data 'my data'`"


def test_the_directory_of_the_environment_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIZQ_DATA", "elsewhere")
    assert command("doctor", Target(Path("elsewhere"))) == "`bizq doctor`"
    assert command("doctor", Target(DATA)) == "`bizq doctor --data .bizq`"


def test_a_directory_is_named_where_the_environment_has_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIZQ_TARGET", "https://tasks.example")
    assert command("doctor", Target(DATA)) == "`bizq doctor --data .bizq`"


def test_a_target_and_the_file_of_its_key_are_named_but_no_key() -> None:
    remote = Remote("https://tasks.example", "bizq_secret", Path("key"))
    assert (
        command("doctor", Target(DATA, remote))
        == "`bizq doctor --target https://tasks.example --key-file key`"
    )
    typed = Remote("https://tasks.example", "bizq_secret")
    assert command("doctor", Target(DATA, typed)) == "`bizq doctor --target https://tasks.example`"


def test_the_target_of_the_environment_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIZQ_TARGET", "https://tasks.example/")
    assert command("doctor", Target(DATA, Remote("https://tasks.example", "k"))) == "`bizq doctor`"


def test_a_program_that_is_not_on_the_path_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".venv" / "bin" / "bizq"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(file)])
    monkeypatch.setenv("PATH", "")
    assert program() == ".venv/bin/bizq"
    monkeypatch.setenv("PATH", str(file.parent))
    assert program() == "bizq"
    monkeypatch.setattr("sys.argv", ["consumer/__main__.py"])
    assert program() == "python -m consumer"
