"""The error tree, cut by what the caller can do.

BizQError
├── BadInput          the caller's value is wrong: names the field and what would be right
├── NotFound          no such row for this caller
├── Conflict          the row is no longer in a state that allows it
├── Forbidden         the key does not allow it
└── IllegalTransition a programming error: the lifecycle does not know this move
"""

from __future__ import annotations

from dataclasses import dataclass


class BizQError(Exception):
    """Anything this product raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong field: `field` is a path such as `route.stages[0].candidates`, `message` says what would be right."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class BadInput(BizQError):
    """A value that cannot be accepted.  Carries one problem or several."""

    def __init__(self, field: str, message: str, *more: Problem) -> None:
        self.problems = (Problem(field, message), *more)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    @classmethod
    def of(cls, problems: list[Problem]) -> BadInput:
        first, *rest = problems
        return cls(first.field, first.message, *rest)

    def within(self, prefix: str) -> BadInput:
        """The same problems, seen from the value that contains this one."""
        return BadInput.of([Problem(join(prefix, p.field), p.message) for p in self.problems])


class NotFound(BizQError):
    """There is no such row, or none that this caller may see."""


class Conflict(BizQError):
    """The row exists but is no longer in a state that allows this."""


class Forbidden(BizQError):
    """The key is valid but its role does not allow this."""


class IllegalTransition(BizQError):
    """The lifecycle has no such move.  Nothing was changed."""


def join(prefix: str, field: str) -> str:
    """`join("a", "b")` is `a.b`; `join("a", "[0].b")` is `a[0].b`."""
    if not field or not prefix:
        return prefix or field
    return prefix + field if field.startswith("[") else f"{prefix}.{field}"
