"""Every command of docs/first-task.md, run as it stands there, in an empty directory with a worker beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.core.model import parse
from consumer.core.profile import accounts
from consumer.core.template import Candidate
from providers import PROVIDERS
from scripts.stage import ROOT
from tests.support.documents import blocks, sections, shell
from tests.workerd.deployed import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE: Final = ROOT / "docs" / "first-task.md"
RUN: Final = {"Ten lines", "Let a person decide", "Set a limit on spending", "Over HTTP"}
"""The sections whose commands the test runs."""
WORKER: Final = re.compile(r"```sh worker\n(.*?)```", re.DOTALL)


@contextmanager
def worker(directory: Path) -> Iterator[str]:
    """The command of the page that starts the worker, on a free port; its URL."""
    (command,) = WORKER.findall(PAGE.read_text())
    words = command.split()
    assert words == ["bizq", "dev"]
    process = subprocess.Popen(
        [sys.executable, "-m", "consumer", *words[1:], "--port", "0", "--json"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.heavy
def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    def run(script: str) -> str:
        return shell(script, tmp_path, {"NO_PROXY": "127.0.0.1"})

    submit, look = blocks(PAGE, "Ten lines")
    assert run(submit).endswith("1 tasks submitted: 1\n")
    with worker(tmp_path) as url:
        shown = run(look)
        assert "task 1: completed" in shown
        assert '"greeting": "Hello, Ada!"' in shown
        assert "total $0.000000" in shown

        review, inbox = blocks(PAGE, "Let a person decide")
        assert "1 tasks submitted: 2" in run(review)
        assert eventually(lambda: f"{url}/inbox/" in run(inbox))

        (budget,) = blocks(PAGE, "Set a limit on spending")
        assert run(budget) == "budget 1: $5.000000 a day for organization 1\n"

        (http,) = blocks(PAGE, "Over HTTP", "sh api")
        submitted, status = run(http.replace("http://127.0.0.1:8080", url)).replace("}{", "}\n{").splitlines()
        assert json.loads(submitted) == {"id": 3, "status": "pending", "created": True}
        assert json.loads(status)["task"] == 3


def test_no_other_section_has_commands() -> None:
    marked = {title for title, text in sections(PAGE).items() if "```sh" in text}
    assert marked == RUN


def test_the_real_model_is_configured_as_the_code_reads_it() -> None:
    shown: dict[str, Any] = {
        kind: json.loads(text)
        for kind, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    }
    known = accounts(shown["profiles"], {"GROQ_API_KEY": "secret"})
    candidate = parse(Candidate, shown["candidate"])

    adapter = PROVIDERS[known[candidate.profile].profile.provider]
    parse(adapter.settings, candidate.settings)
