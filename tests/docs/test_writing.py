"""The repository's own text follows docs/writing.md: no word that was given up, no clause as a sentence's subject.

The words, their replacements and the phrases that stay are data: the two tables of that page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from scripts.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PLACES: Final = (
    *("README.md", "CONTRIBUTING.md", "docs", "examples"),
    *("consumer", "providers", "migrations", "scripts", "tests"),
    *("Makefile", "pyproject.toml", "wrangler.toml", "package.json", ".ci"),
)
"""The files and folders that are checked, relative to the repository."""

SUFFIXES: Final = frozenset({".py", ".sql", ".md", ".toml", ".ts", ".mjs", ".html", ".json"})
NAMES: Final = frozenset({"Makefile"})
SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules", "python_modules", "dist"})
"""Beside every folder whose name begins with a dot."""
EXCEPT: Final[Mapping[str, str]] = {
    "tests/docs/test_writing.py": "it quotes sentences that the check has to find",
}
"""Files that are not checked, with the reason."""

PAGE: Final = ROOT / "docs" / "writing.md"
GUARANTEES: Final = ROOT / "docs" / "guarantees.md"
WORDS_GIVEN_UP: Final = "Words given up"
PHRASES_THAT_STAY: Final = "Phrases that stay"

VERBS: Final = (
    "is was are were has had have comes came goes can cannot could may must will would does did kills costs"
)
HEADLESS: Final = re.compile(
    rf"""(?: ^ | (?<=[.!?:;|]) \s | (?<=["'(]) | (?<=[#*>-]\ ) ) \s*
    (?P<clause> What (?:ever)? \s+ (?:{"|".join(VERBS.split())}) \b )
    (?: (?!\n\s*\n) [^.?!|] )* [.|]""",
    re.VERBOSE | re.MULTILINE,
)
"""A sentence that begins with `What is ...` and ends with a period; a question mark makes it a question."""


@dataclass(frozen=True)
class Rule:
    """One row of the page: the words that were given up, and the advice about them."""

    pattern: re.Pattern[str]
    advice: str


def table(page: Path, heading: str) -> list[tuple[str, str]]:
    """The rows of the two-column table below a heading of a page, without its head."""
    section = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(first.strip(), second.strip()) for first, second in rows[1:]]


def words(cell: str) -> list[str]:
    """The words or phrases of a cell, which are separated by commas."""
    return [word.strip() for word in cell.split(",") if word.strip()]


def pattern_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words, across line ends.  A part of a name is a word: `last_look`, `HeardEvent`."""
    gap = r"[\s_]+(?:[#*>|-]+\s+)?"
    ways = "|".join(gap.join(map(re.escape, phrase.split())) for phrase in phrases)
    start = r"(?:(?<![A-Za-z])|(?-i:(?<=[a-z0-9])(?=[A-Z])))"
    end = r"(?:(?![A-Za-z])|(?-i:(?<=[a-z])(?=[A-Z])))"
    return re.compile(f"{start}(?:{ways}){end}", re.IGNORECASE)


RULES: Final = [Rule(pattern_of(words(given_up)), advice) for given_up, advice in table(PAGE, WORDS_GIVEN_UP)]
ALLOWED: Final = pattern_of([phrase for cell, _ in table(PAGE, PHRASES_THAT_STAY) for phrase in words(cell)])


def findings(text: str) -> Iterator[tuple[int, str]]:
    """The faults of a text: the number of the line, and a message that says what to write instead."""
    text = ALLOWED.sub(lambda found: re.sub(r"\S", "~", found[0]), text)
    for rule in RULES:
        for found in rule.pattern.finditer(text):
            yield _line(text, found.start()), f"{_shown(found[0])!r} was given up; write: {rule.advice}"
    for found in HEADLESS.finditer(text):
        where = _line(text, found.start("clause"))
        yield where, f"the sentence begins with {_shown(found['clause'])!r}: name its subject"


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _shown(found: str) -> str:
    return " ".join(found.split())


def own_text(file: Path) -> str:
    """The text of a file that the rules are about.

    The tables of the page itself quote the words that they forbid.  Names of tests and invariants are words of the
    files that define them."""
    text = file.read_text(encoding="utf-8")
    if file == PAGE:
        return re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "``", text) if file == GUARANTEES else text


def files(root: Path, places: Sequence[str]) -> Iterator[Path]:
    """The files of these places that hold text of ours."""
    for place in places:
        start = root / place
        for file in sorted(start.rglob("*")) if start.is_dir() else [start]:
            inside = file.relative_to(root)
            folders = inside.parts[:-1]
            skipped = any(folder.startswith(".") or folder in SKIPPED_FOLDERS for folder in folders)
            ours = file.suffix in SUFFIXES or file.name in NAMES
            if file.is_file() and ours and not skipped and inside.as_posix() not in EXCEPT:
                yield file


# ------------------------------------------------------------------------------------------ the repository


def test_our_own_text_keeps_the_rules_of_the_page() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {message}"
        for file in files(ROOT, PLACES)
        for line, message in findings(own_text(file))
    ]
    if found:
        pytest.fail(f"{len(found)} places do not follow docs/writing.md:\n" + "\n".join(found), pytrace=False)


def test_every_file_that_is_not_checked_is_there() -> None:
    assert [name for name in EXCEPT if not (ROOT / name).is_file()] == []


# ------------------------------------------------------------------------------------------ the check itself


@pytest.mark.parametrize("given_up", [row[0] for row in table(PAGE, WORDS_GIVEN_UP)])
def test_each_word_of_the_page_is_found(given_up: str) -> None:
    for word in words(given_up):
        for text in (f"It was {word} then.", f"It was\n{word.capitalize()}: x", f"x = last_{word}_(1)"):
            assert [line for line, _ in findings(text)] == [
                text[: text.lower().index(word.lower())].count("\n") + 1
            ]


def test_a_part_of_a_name_is_a_word_and_a_part_of_a_word_is_not() -> None:
    assert [line for line, _ in findings("a\nclass HeardEvent:\n    UNHEARD = 1\n")] == [2, 3]
    assert list(findings("The heart, a desktop, an amendment, a toldo and a hearing.")) == []


def test_a_phrase_is_found_across_lines_and_inside_comments() -> None:
    assert [line for line, _ in findings("# It works all\n# the same.")] == [1]


def test_the_message_names_the_word_and_what_to_write_instead() -> None:
    ((line, message),) = findings("one\nIt was dearer.")
    assert (line, message) == (2, "'dearer' was given up; write: higher cost, more expensive")


@pytest.mark.parametrize(
    "text",
    [
        "What is wrong is named.",
        "It ends. What cannot be read is refused.",
        "x = 1  # What comes back\n# is kept.",
        "* What was paid stays.",
        "Whatever has ended stays.",
    ],
)
def test_a_clause_as_the_subject_is_found(text: str) -> None:
    assert [message for _, message in findings(text) if "name its subject" in message]


@pytest.mark.parametrize(
    "text",
    ["What is wrong?", "## What is not promised\n\nMore.", "It says what is wrong.", "What a task needs."],
)
def test_a_question_a_heading_and_an_object_are_not(text: str) -> None:
    assert list(findings(text)) == []


def test_allowed_phrases_are_not_found() -> None:
    phrases = [phrase for cell, _ in table(PAGE, PHRASES_THAT_STAY) for phrase in words(cell)]
    assert phrases
    assert [phrase for phrase in phrases if list(findings(f"It {phrase} here."))] == []
