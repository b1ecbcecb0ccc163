"""Whether OpenAI's strict mode accepts a schema: the subset that its guide "Structured Outputs" publishes.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas, as of February 2026.  A schema outside of
the subset is answered with 400, so that a case that the guide leaves open counts as outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LEVELS: Final = 10
"""Levels of objects inside objects."""
MAX_PROPERTIES: Final = 5_000
"""Properties of all objects together."""
MAX_ENUM: Final = 1_000
"""Values of all enums together."""
MAX_NAMES: Final = 120_000
"""Characters of all names of properties and definitions, and of all values of enums and consts."""
LONG_ENUM: Final = 250
"""An enum of texts with more values than this has at most `MAX_LONG_ENUM` characters."""
MAX_LONG_ENUM: Final = 15_000

_WORDS: Final = frozenset("title description".split())
_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset("pattern format".split()),
    "number": frozenset("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split()),
    "integer": frozenset("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split()),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset("items minItems maxItems".split()),
    "object": frozenset("properties required additionalProperties".split()),
}
"""The keywords that the guide lists for each type."""
_FORMATS: Final = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
_DEFINITIONS: Final = ("$defs", "definitions")


class _Outside(Exception):
    """The schema is outside of the subset."""


def allows_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode accepts a schema."""
    try:
        _Subset(schema).check()
    except (_Outside, TypeError, AttributeError, RecursionError):
        return False
    return True


class _Subset:
    """One walk over a schema, and what it has counted."""

    def __init__(self, schema: Any) -> None:
        self.root = schema
        self.properties = self.enums = self.names = 0

    def check(self) -> None:
        """Raises _Outside."""
        root = dict(self.root)
        _need(root.get("type") == "object")
        for word in _DEFINITIONS:
            for name, node in root.pop(word, {}).items():
                self.names += len(name)
                self._node(node, 1)
        self._node(root, 1)
        _need(self.properties <= MAX_PROPERTIES and self.enums <= MAX_ENUM and self.names <= MAX_NAMES)

    def _node(self, node: Any, level: int) -> None:
        _need(isinstance(node, dict) and bool(node))
        if "$ref" in node:  # "$ref cannot have keywords"
            _need(len(node) == 1 and self._leads_to_definition(node["$ref"]))
        elif "anyOf" in node:
            _need(_WORDS.union(["anyOf"]) >= node.keys() and bool(node["anyOf"]))
            for each in node["anyOf"]:
                self._node(each, level)
        else:
            self._typed(node, level)

    def _leads_to_definition(self, reference: str) -> bool:
        """A reference can only point to the root and to definitions at the top level."""
        word, _, name = reference.removeprefix("#/").partition("/")
        return reference == "#" or (word in _DEFINITIONS and name in self.root.get(word, {}))

    def _typed(self, node: Mapping[str, Any], level: int) -> None:
        said: Any = node.get("type")
        types: list[Any] = said if isinstance(said, list) else [said]
        _need(bool(types) and set(types) <= _BY_TYPE.keys())
        allowed = _WORDS.union(["type", "enum", "const"], *(_BY_TYPE[name] for name in types))
        _need(allowed >= node.keys())
        _need("format" not in node or node["format"] in _FORMATS)
        self._values(node)
        if "array" in types:
            self._node(node.get("items"), level)
        if "object" in types:
            self._object(node, level)

    def _values(self, node: Mapping[str, Any]) -> None:
        values = node.get("enum", [])
        _need(bool(values) or "enum" not in node)
        size = sum(len(value) for value in values if isinstance(value, str))
        _need(len(values) <= LONG_ENUM or size <= MAX_LONG_ENUM)
        self.enums += len(values)
        self.names += size + (len(node["const"]) if isinstance(node.get("const"), str) else 0)

    def _object(self, node: Mapping[str, Any], level: int) -> None:
        """Every object is closed and requires all of its properties."""
        _need(level <= MAX_LEVELS and node.get("additionalProperties") is False)
        properties = node.get("properties", {})
        _need("required" in node and set(node["required"]) == properties.keys())
        self.properties += len(properties)
        for name, each in properties.items():
            self.names += len(name)
            self._node(each, level + 1)


def _need(holds: bool) -> None:  # noqa: FBT001  # its only argument
    if not holds:
        raise _Outside
