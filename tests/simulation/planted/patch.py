"""Plants a bug, and undoes it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.simulation import watch

if TYPE_CHECKING:
    from consumer.store.sql import Query

HOMES: Final = ("consumer.", "providers.", "tests.simulation.")
BUGS: Final[dict[str, Callable[[Patch], None]]] = {}
"""Every planted bug by its name."""


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Add a bug to the list."""
    BUGS[plant.__name__] = plant
    return plant


@dataclass(slots=True)
class Patch:
    """Changes to the product that can be undone.  Each change fails if its target does not exist."""

    _undo: list[Callable[[], None]] = field(default_factory=list)

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute; return the original value."""
        before = owner.__dict__[name]
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before))
        return getattr(before, "__func__", before)

    def everywhere(self, original: Any, value: Any) -> None:
        """Replace a function or class in every module that has imported it."""
        places = [
            (module, name)
            for title, module in list(sys.modules.items())
            if title.startswith(HOMES)
            for name, found in list(vars(module).items())
            if found is original
        ]
        if not places:
            raise LookupError(f"no module uses {original}")
        for module, name in places:
            self.set(module, name, value)

    def sql(self, query: Query, old: str, new: str) -> None:
        """Change a statement.  `old` is a part of the sent text, with numbered parameters."""
        before = query.sql
        if old not in before:
            raise LookupError(f"{old!r} is not in {before}")
        setattr(query, "sql", before.replace(old, new))  # noqa: B010  # the attribute is final
        self._undo.append(lambda: setattr(query, "sql", before))

    def schema(self, *statements: str) -> None:
        """Change the schema of every database that is made from now on, and disable the schema check."""
        before = list(watch.PLANTED)
        watch.PLANTED.extend(statements)
        self._undo.append(lambda: watch.PLANTED.__setitem__(slice(None), before))
        from consumer.run import schema

        self.set(schema, "broken", _sound)

    def undo(self) -> None:
        """Undo all changes, the last one first."""
        while self._undo:
            self._undo.pop()()


async def _sound(*_arguments: object) -> list[str]:
    """The result of `broken` for a complete schema."""
    return []
