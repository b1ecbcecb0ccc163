"""The pages name only what there is: links, paths, commands, words, and the sums that the demo prints."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from consumer.cli.group import COMMANDS
from scripts import lifecycle_doc
from scripts.stage import ROOT
from tests.support.documents import sections

if TYPE_CHECKING:
    from pathlib import Path

README: Final = ROOT / "README.md"
DOCS: Final = sorted((ROOT / "docs").rglob("*.md"))
PAGES: Final = [README, ROOT / "CONTRIBUTING.md", *DOCS, *sorted((ROOT / "examples").rglob("*.md"))]
GLOSSARY: Final = ROOT / "docs" / "glossary.md"
EXAMPLES: Final = ROOT / "examples"

LINK: Final = re.compile(r"\]\(([^)#\s]*)(?:#([^)]+))?\)")
CODE: Final = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
TARGET: Final = re.compile(r"\bmake ((?:[a-z]+(?:-[a-z]+)*)(?: [a-z]+)*)")
PATH: Final = re.compile(
    r"(?<![\w./-])((?:consumer|providers|scripts|tests|docs|examples|migrations)/[\w./-]*\w/?)"
)
OF_A_MACHINE: Final = frozenset({"examples/producer/.dev.vars"})
"""Files that a step of a page makes."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code(page: Path) -> str:
    """All that stands in code spans and blocks."""
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith("http"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            titles = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections(file)]
            assert anchor in titles, f"{target}#{anchor}"


def test_the_readme_links_every_page() -> None:
    linked = {
        (ROOT / target).resolve() for target, _ in LINK.findall(README.read_text(encoding="utf-8")) if target
    }
    assert [name(page) for page in PAGES[1:] if page not in linked and page.parent not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    text = code(page)
    made = {word for found in TARGET.findall(text) for word in found.split()}
    assert made - targets == set()
    assert set(re.findall(r"(?<![\w./-])bizq ([a-z]+)", text)) - COMMANDS.keys() - DATABASE_NAMES == set()


DATABASE_NAMES: Final = frozenset({"time", "remote"})
"""Words after `bizq` where that is a database's name."""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = {found for found in PATH.findall(code(page)) if "<" not in found}
    assert [path for path in sorted(named) if not (ROOT / path).exists() and path not in OF_A_MACHINE] == []


def test_the_lifecycle_page_is_drawn_from_the_tables() -> None:
    written = lifecycle_doc.TARGET.read_text(encoding="utf-8")
    assert written == lifecycle_doc.document(), "run: python -m scripts.lifecycle_doc"


def test_the_glossary_has_one_line_for_each_word_and_every_word_that_it_uses() -> None:
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    words = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")][1:]
    assert words == sorted(set(words))
    used = {
        word.removesuffix("'s")
        for line in lines[6:]
        for word in re.findall(r"\*([a-z][a-z -]*(?:'s)?)\*", line)
    }
    assert {word for word in used if not _known(word, words)} == set()


def _known(word: str, words: list[str]) -> bool:
    """A word or its plural, or a form of a verb."""
    return any(word in {one, f"{one}s", f"{one}d", f"{one}ed"} for one in words)


def test_the_line_that_the_demo_ends_with_is_that_of_its_tasks() -> None:
    tasks = [json.loads(line) for line in (EXAMPLES / "tasks.jsonl").read_text(encoding="utf-8").splitlines()]
    routes = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))["route"]["stages"]
        for file in (EXAMPLES / "templates").glob("*.json")
    }
    ends = Counter(any(stage["kind"] != "ai" for stage in routes[task["template"]]) for task in tasks)
    counts = f"{ends[False]} completed, {ends[True]} waiting for people, 0 failed"
    line = f"demo: {len(tasks)} tasks, {counts}, cost $0.000000"

    assert line in README.read_text(encoding="utf-8")
    assert f"does {len(tasks)} tasks of two organizations" in README.read_text(encoding="utf-8")
    assert len({task["organization"] for task in tasks}) == 2
