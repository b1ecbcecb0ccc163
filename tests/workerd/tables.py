"""A D1 database of a running Worker, used without Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from sqlite3 import complete_statement
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.workerd.harness import Workerd


class Tables:
    """A D1 database of a running Worker, used without Python."""

    def __init__(self, worker: Workerd, binding: str) -> None:
        """Remember the binding; nothing is sent yet."""
        self._worker = worker
        self._binding = binding

    def run(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement and return its rows."""
        rows: list[dict[str, Any]] = self.full(sql, *parameters)["results"]
        return rows

    def full(self, sql: str, *parameters: object) -> dict[str, Any]:
        """Run one statement and return D1's whole answer: results, success, meta (`rows_read`, ...)."""
        return self.batch([(sql, parameters)])[0]

    def batch(self, statements: Sequence[tuple[str, Sequence[object]]]) -> list[dict[str, Any]]:
        """Run statements in one transaction and return D1's answers."""
        sent = [{"sql": sql, "parameters": list(parameters)} for sql, parameters in statements]
        answers: list[dict[str, Any]] = self._worker.lab("d1", binding=self._binding, statements=sent)
        return answers

    def migrate(self, directory: Path) -> None:
        """Apply every `*.sql` of a directory, each file in one transaction."""
        for path in sorted(directory.glob("*.sql")):
            self.batch([(statement, ()) for statement in split_statements(path.read_text())])


def split_statements(script: str) -> list[str]:
    """Split SQL at the semicolons that end statements, not those inside triggers, strings or comments."""
    statements: list[str] = []
    pending = ""
    for part in script.split(";"):
        pending += part + ";"
        if complete_statement(pending):
            if _has_code(pending[:-1]):
                statements.append(pending.strip())
            pending = ""
    if _has_code(pending.rstrip(";")):
        raise ValueError(f"the script ends within a statement: {pending.strip()[:80]!r}")
    return statements


def _has_code(sql: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in sql.splitlines())
