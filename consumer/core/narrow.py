"""A schema as far as Anthropic binds an answer to one.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs, and `transform_schema` of Anthropic's own
client 2.14, read 28 November 2026.  Every object is closed.  Bounds of numbers, lengths and patterns are refused, so
they go into the description, where the model can read them; the worker checks every answer against the whole schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMATS: Final = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())
_KEPT: Final = ("title", "enum", "const")
_BESIDE_REFERENCE: Final = {"$ref", "title", "description", "default"}
"""A reference stands alone: these say nothing about which answers fit, and any other keyword would."""
_TYPES: Final = frozenset("object array string integer number boolean null".split())
_READ: Final = frozenset(
    (
        "type properties required additionalProperties items anyOf oneOf $ref $defs $schema description title enum"
        " const"
    ).split()
)
"""Keywords that are kept or have been dealt with.  All others become words of the description."""


class _Outside(Exception):
    """No answer can be bound to this schema, or only in a way that excludes answers that fit."""


def narrowed(schema: Any) -> dict[str, Any] | None:
    """The schema to send; None if this one cannot be expressed."""
    try:
        root = dict(schema)
        definitions = root.pop("$defs", {})
        found = _node(root)
        if definitions:
            found["$defs"] = {name: _node(node) for name, node in definitions.items()}
    except (_Outside, TypeError, AttributeError, ValueError, RecursionError):
        return None
    return found


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        _need(node.keys() <= _BESIDE_REFERENCE and str(node["$ref"]).startswith("#/$defs/"))
        return {"$ref": node["$ref"]}
    choices = node.get("anyOf", node.get("oneOf"))
    if choices is not None:
        _need("type" not in node and "properties" not in node and bool(choices))
        return {"anyOf": [_node(each) for each in choices], **_described(node, ())}
    said = node.get("type")
    if isinstance(said, list):
        _need(bool(said) and "enum" not in node)
        parts = {key: value for key, value in node.items() if key not in ("type", "description", "title")}
        words = {key: node[key] for key in ("description", "title") if key in node}
        return {
            "anyOf": [_node(({} if each == "null" else parts) | {"type": each}) for each in said],
            **words,
        }
    _need(said in _TYPES or "enum" in node or "const" in node)
    return _typed(node)


def _typed(node: Mapping[str, Any]) -> dict[str, Any]:
    kind = node.get("type")
    for value in (*node.get("enum", ()), node.get("const")):
        _need(value is None or isinstance(value, str | int | float | bool))
    found: dict[str, Any] = {} if kind is None else {"type": kind}
    found |= {key: node[key] for key in _KEPT if key in node}
    also: tuple[str, ...] = ()
    if kind == "object":
        found |= _object(node)
    elif kind == "array":
        _need(isinstance(node.get("items"), dict))
        found["items"] = _node(node["items"])
        also = ("minItems",) if node.get("minItems") in (0, 1) else ()
    elif kind == "string":
        also = ("format",) if node.get("format") in _FORMATS else ()
    return found | {key: node[key] for key in also} | _described(node, also)


def _object(node: Mapping[str, Any]) -> dict[str, Any]:
    """A closed object.  One whose properties have no names cannot be closed without excluding its answers."""
    properties, open_to = node.get("properties", {}), node.get("additionalProperties", True)
    _need(isinstance(open_to, bool) and "patternProperties" not in node and (bool(properties) or not open_to))
    required = node.get("required", [])
    _need(set(required) <= properties.keys())
    return {
        "properties": {name: _node(each) for name, each in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def _described(node: Mapping[str, Any], also: tuple[str, ...]) -> dict[str, Any]:
    """The description, and the keywords that the API would refuse."""
    refused = {key: value for key, value in node.items() if key not in _READ and key not in also}
    words = [node["description"]] if node.get("description") else []
    words += [dump_json(refused)] if refused else []
    return {"description": "\n\n".join(words)} if words else {}


def _need(holds: bool) -> None:  # noqa: FBT001  # its only argument
    if not holds:
        raise _Outside
