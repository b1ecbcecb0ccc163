"""The error tree: one class for each thing that a caller can do about an error.

BizQError
├── BadInput          correct the value: the error names the field and a right value
├── NotFound          check the id: this caller can see no such row
├── Conflict          read the row again: its state no longer allows this
├── Forbidden         use another key: the role of this one does not allow it
├── NotStored         send it again, or shorten it
└── IllegalTransition report a bug in this program: the lifecycle has no such move
"""

from __future__ import annotations

from typing import NamedTuple


class BizQError(Exception):
    """The base of every error that this product raises on purpose."""


class Problem(NamedTuple):
    """One wrong field.

    `field`: a path such as `route.stages[0].candidates`; empty for the whole value.
    `message`: the fault, and a right value."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class BadInput(BizQError):
    """A value cannot be accepted.  `problems` names each wrong field; there is at least one."""

    def __init__(self, field: str, message: str, *more: Problem) -> None:
        self.problems = (Problem(field, message), *more)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    @classmethod
    def of(cls, problems: list[Problem]) -> BadInput:
        """The error for these problems, of which there is at least one."""
        first, *rest = problems
        return cls(first.field, first.message, *rest)

    def within(self, prefix: str) -> BadInput:
        """The same problems, with paths that begin at the value around this one: `name` becomes `prefix.name`."""
        return BadInput.of([Problem(join(prefix, p.field), p.message) for p in self.problems])


class NotFound(BizQError):
    """The row does not exist, or this caller may not see it."""


class Conflict(BizQError):
    """The row exists, but its state no longer allows this."""


class Forbidden(BizQError):
    """The key is valid, but its role does not allow this."""


class NotStored(BizQError):
    """The database refused what a person sent, and nothing was stored."""


class IllegalTransition(BizQError):
    """The lifecycle has no such move.  Nothing was changed."""


def join(prefix: str, field: str) -> str:
    """A path inside a path: `join("a", "b")` is `a.b`, and `join("a", "[0].b")` is `a[0].b`."""
    if not field or not prefix:
        return prefix or field
    return prefix + field if field.startswith("[") else f"{prefix}.{field}"
