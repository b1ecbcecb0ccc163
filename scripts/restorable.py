"""Print a backup of `wrangler d1 export` so that D1 can load it: D1 refuses a statement of more than 100 KB.

    python -m scripts.restorable ../bizq-backup.sql > ../bizq-restore.sql
    npx wrangler d1 execute bizq-restored --remote --file ../bizq-restore.sql

A row may hold two million bytes, and the export writes it as one statement.  This program puts each long text into a
table of its own first, in pieces, and the statement joins them again.  Everything else is printed as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_STATEMENT: Final = 90_000
"""Bytes from which a statement is rewritten: D1 takes 100,000."""
PIECE: Final = 20_000
"""Characters of a piece, which has at most 80,000 bytes."""
SHORT: Final = 500
"""Characters up to which a text stays in its statement."""
TABLE: Final = "bizq_restore_pieces"
_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | --[^\n]* | ; | [^'"`;-]+ | .""", re.VERBOSE | re.DOTALL
)
_QUOTED_PAIR: Final = re.compile(r"''|[^']", re.DOTALL)


def statements(script: str) -> Iterator[list[str]]:
    """The tokens of each statement.  A trigger comes in several parts, which are short."""
    tokens: list[str] = []
    for found in _TOKEN.finditer(script):
        tokens.append(found[0])
        if found[0] == ";":
            yield tokens
            tokens = []
    if tokens:
        yield tokens


def pieces(literal: str) -> list[str]:
    """A text of SQL as several; a doubled quote is not divided."""
    inner = _QUOTED_PAIR.findall(literal[1:-1])
    return ["'" + "".join(inner[start : start + PIECE]) + "'" for start in range(0, len(inner), PIECE)]


def rewritten(tokens: Sequence[str]) -> Iterator[str]:
    """A long statement as short ones that have the same effect."""
    yield f"\nCREATE TABLE IF NOT EXISTS {TABLE} (n INTEGER PRIMARY KEY, value INTEGER, piece TEXT);"
    parts: list[str] = []
    number = 0
    for index, token in enumerate(tokens):
        if not token.startswith("'") or len(token) <= SHORT:
            parts.append(token)
            continue
        for piece in pieces(token):
            number += 1
            yield f"\nINSERT INTO {TABLE} VALUES ({number}, {index}, {piece});"
        ordered = f"SELECT piece FROM {TABLE} WHERE value = {index} ORDER BY n"  # noqa: S608  # a number
        parts.append(f"(SELECT group_concat(piece, '') FROM ({ordered}))")  # noqa: S608  # the same
    yield "".join(parts)
    yield f"\nDROP TABLE {TABLE};"


def restorable(script: str) -> Iterator[str]:
    """The script, with every long statement rewritten."""
    for tokens in statements(script):
        text = "".join(tokens)
        yield from rewritten(tokens) if len(text.encode()) > MAX_STATEMENT else (text,)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the backup that the first argument names."""
    (file,) = sys.argv[1:] if arguments is None else arguments
    for text in restorable(Path(file).read_text(encoding="utf-8")):
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
