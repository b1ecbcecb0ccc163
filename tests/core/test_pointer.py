"""JSON Pointers find what RFC 6901 says."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import TypeAdapter, ValidationError

from consumer.core.pointer import Pointer, find

DOCUMENT: Final[dict[str, Any]] = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_the_specification(pointer: str, value: Any) -> None:
    assert find(DOCUMENT, pointer) == value
    assert TypeAdapter(Pointer).validate_python(pointer) == pointer


@pytest.mark.parametrize(
    "pointer",
    ["/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/1e0", "/foo/0/x", "/nope/x", "/foo/bar", "/foo/\u0660"],
)
def test_a_place_that_does_not_exist_has_no_value(pointer: str) -> None:
    assert find(DOCUMENT, pointer) is None


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_any_value_can_be_searched(value: Any) -> None:
    assert find(value, "/a/0") is None
    assert find(value, "") is value


def test_the_escape_of_the_escape_comes_last() -> None:
    assert find({"~1": "yes", "/": "no"}, "/~01") == "yes"


@pytest.mark.parametrize("wrong", ["foo", "$.foo", "#/foo", "/a~", "/a~2", "foo/0"])
def test_another_language_of_paths_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="must be a JSON Pointer"):
        TypeAdapter(Pointer).validate_python(wrong)
