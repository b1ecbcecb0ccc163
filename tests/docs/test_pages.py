"""What the documentation says is what the code does."""

from __future__ import annotations

import re

from scripts import lifecycle_doc
from scripts.stage import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"


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
