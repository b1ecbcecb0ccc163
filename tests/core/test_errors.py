"""The error tree."""

from __future__ import annotations

import pytest

from consumer.core.errors import (
    BadInput,
    BizQError,
    Conflict,
    Forbidden,
    IllegalTransition,
    NotFound,
    Problem,
    join,
)


@pytest.mark.parametrize("error", [BadInput, NotFound, Conflict, Forbidden, IllegalTransition])
def test_every_error_of_ours_is_caught_by_its_base_class(error: type[BizQError]) -> None:
    assert issubclass(error, BizQError)
    assert not issubclass(error, ValueError)


@pytest.mark.parametrize(
    ("prefix", "field", "path"),
    [
        ("a", "b", "a.b"),
        ("a", "[0].b", "a[0].b"),
        ("a[0]", "b.c", "a[0].b.c"),
        ("a", "", "a"),
        ("", "b", "b"),
        ("", "", ""),
    ],
)
def test_paths_are_joined(prefix: str, field: str, path: str) -> None:
    assert join(prefix, field) == path


def test_bad_input_names_every_problem() -> None:
    error = BadInput("title", "is empty", Problem("[0].a", "is missing"), Problem("", "is odd"))
    assert str(error) == "title: is empty; [0].a: is missing; is odd"
    assert [problem.field for problem in error.problems] == ["title", "[0].a", ""]


def test_bad_input_can_be_named_from_the_value_around_it() -> None:
    error = BadInput.of([Problem("title", "is empty"), Problem("[0].a", "is missing"), Problem("", "is odd")])
    around = error.within("tasks[3]")
    assert [str(problem) for problem in around.problems] == [
        "tasks[3].title: is empty",
        "tasks[3][0].a: is missing",
        "tasks[3]: is odd",
    ]
    assert error.within("").problems == error.problems
