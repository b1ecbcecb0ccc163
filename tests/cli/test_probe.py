"""`bizq doctor --probe`, against a server on loopback."""

from __future__ import annotations

import json

import pytest

from consumer.local.layout import Layout
from tests.cli.conftest import Cli
from tests.workerd.loopback import Answer, Loopback, Seen


def answer(seen: Seen) -> Answer:
    return Answer(200 if "good" in seen.headers["authorization"] else 401, json={"data": [{"id": "m"}]})


def test_the_command_probes_each_profile_and_fails_if_one_cannot_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Layout(cli.data).profiles
    monkeypatch.setenv("GOOD", "good-secret")
    monkeypatch.setenv("BAD", "wrong-secret")

    with Loopback(answer) as server:
        chat = {"provider": "openai_compatible", "base_url": server.url}
        profiles = {name: {**chat, "key": name.upper()} for name in ("good", "bad", "unset")}
        file.write_text(json.dumps(json.loads(file.read_text()) | profiles))
        done = cli("doctor", "--probe")
        asked = len(server.seen)
        cli("doctor")
        assert len(server.seen) == asked == 2

    assert done.code == 1
    lines = [line for line in done.out.splitlines() if " profile " in line]
    assert any("profile good answers in" in line for line in lines)
    assert any("profile bad: its provider refuses the key (http_401)" in line for line in lines)
    assert not any("profile unset" in line for line in lines)  # the secret is missing, which the doctor says
    assert "secret" not in "".join(lines).replace("set the secret", "")
