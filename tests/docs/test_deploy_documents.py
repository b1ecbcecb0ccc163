"""Every command, event, state and link that docs/deploy.md and docs/operations.md name exists."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from consumer.core.lifecycle import ExecutionState, TaskState
from consumer.telemetry import Event
from tests.support.documents import DEPLOY, EXAMPLE, OPERATIONS, ROOT, sections, shell

if TYPE_CHECKING:
    from pathlib import Path

WRANGLER = re.compile(r"npx wrangler ([^`\n|;&#]+)")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]+))?\)")
DOCUMENTS = [DEPLOY, OPERATIONS, EXAMPLE]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text()):
        if target.startswith("http"):
            continue
        file = (document.parent / target).resolve() if target else document
        assert file.is_file(), target
        if anchor:
            titles = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections(file)]
            assert anchor in titles, f"{target}#{anchor}"


def test_every_event_and_every_state_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)", OPERATIONS.read_text(), re.MULTILINE)
    assert [name for name in rows if "." in name] == list(Event)
    assert set(rows) >= {*TaskState, *ExecutionState}


def path_of(command: str) -> str:
    """Return the words of a command without its arguments."""
    words = []
    for word in command.split():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", word) or word.startswith("bizq"):
            break
        words.append(word)
    return " ".join(words)


@pytest.mark.heavy
@pytest.mark.workerd
def test_every_wrangler_command_exists() -> None:
    """An unknown word would be read as an argument; an unknown option is rejected only with an account."""
    if not (ROOT / "node_modules" / "wrangler").is_dir():
        pytest.skip("wrangler is not installed: run `make setup`")
    commands = {found.strip() for document in DOCUMENTS for found in WRANGLER.findall(document.read_text())}
    paths = sorted({path_of(command) for command in commands})
    with ThreadPoolExecutor(4) as pool:
        help_of = dict(
            zip(paths, pool.map(lambda path: shell(f"npx wrangler {path} --help", ROOT), paths), strict=True)
        )
    for command in commands:
        text = help_of[path_of(command)]
        named = re.search(r"^wrangler ([a-z0-9 -]+?)(?: [<\[]|$)", text, re.MULTILINE)
        assert named is not None, text
        assert named[1] == path_of(command), f"wrangler has {named[1]}, not {path_of(command)}"
        assert "COMMANDS" not in text, f"{command} is incomplete"
        for option in re.findall(r" (--[a-z-]+)", command):
            assert option in text, f"{command}: {option} does not exist"
