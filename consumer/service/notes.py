"""Notes about fields for the API's document.

pydantic writes a note into the JSON schema of its field, as it does with its own `Field`.  But pydantic is imported
only for the document, because importing it takes longer than a short command of `bizq`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Note:
    """Keywords that a field adds to its JSON schema.  It is used as `Annotated[int, Note(description="...")]`."""

    __slots__ = ("_keywords",)

    def __init__(self, **keywords: object) -> None:
        self._keywords = {name: value for name, value in keywords.items() if value is not None}

    def __get_pydantic_json_schema__(
        self, core: Any, schema_of: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        """Pydantic's hook: the JSON schema of the field with the keywords."""
        return {**schema_of(core), **self._keywords}


def about(text: str, *, deprecated: bool | None = None) -> Note:
    """The description of a field."""
    return Note(description=text, deprecated=deprecated)


def time(text: str) -> Note:
    """The description of a time."""
    return Note(description=text, format="date-time")


def one_of(values: Iterable[str], text: str | None = None) -> Note:
    """A text that is one of these."""
    return Note(description=text, enum=[*map(str, values)])
