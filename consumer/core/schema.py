"""JSON Schema: what a template says of its input and output, checked when written and when used.

Only what needs no network and no second document is allowed: `$ref` stays inside the schema.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fastjsonschema import JsonSchemaDefinitionException, JsonSchemaValueException

from consumer.core import checker
from consumer.core.errors import BadInput, join
from consumer.core.pattern import Unsupported, compile_pattern
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES: Final = 32_768
MAX_DEPTH: Final = 32
MAX_PATTERN: Final = 256


def check_schema(schema: object, field: str) -> dict[str, Any]:
    """Accept a JSON Schema of an object.  Raises BadInput naming the place that is wrong."""
    if not isinstance(schema, dict):
        raise BadInput(field, "a JSON Schema is an object")
    _check_node(schema, field, 0)
    if schema.get("type") != "object":
        raise BadInput(join(field, "type"), 'the top of the schema has "type": "object"')
    try:
        text = dump_json(schema)
    except ValueError:
        raise BadInput(field, "NaN and Infinity are not JSON") from None
    if len(text.encode()) > MAX_BYTES:
        raise BadInput(field, f"at most {MAX_BYTES} bytes")
    _compiled(text, field)
    return schema


def _check_node(node: object, field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(field, f"nested deeper than {MAX_DEPTH}")
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_node(item, f"{field}[{index}]", depth + 1)
    elif isinstance(node, dict):
        for key, item in node.items():
            where = join(field, str(key))
            if key in ("$ref", "$dynamicRef") and isinstance(item, str) and not item.startswith("#"):
                raise BadInput(where, "a reference stays inside the schema: it starts with #")
            if key in ("$id", "id") and isinstance(item, str):
                raise BadInput(where, "a schema has no address of its own")
            for pattern in _patterns(key, item):
                _check_pattern(pattern, where)
            _check_node(item, where, depth + 1)


def _patterns(key: object, item: object) -> list[str]:
    if key == "pattern" and isinstance(item, str):
        return [item]
    return list(map(str, item)) if key == "patternProperties" and isinstance(item, dict) else []


def _check_pattern(pattern: str, field: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise BadInput(field, f"a pattern has at most {MAX_PATTERN} characters")
    try:
        compile_pattern(pattern)
    except Unsupported as error:
        raise BadInput(field, str(error)) from None


@lru_cache(maxsize=256)
def _compiled(text: str, field: str) -> Callable[[Any], None]:
    try:
        check = checker.make(json.loads(text))
    except (JsonSchemaDefinitionException, RecursionError, ValueError, TypeError, KeyError) as error:
        raise BadInput(field, f"not a JSON Schema: {error}") from None
    except Exception as error:  # noqa: BLE001  # the library raises whatever a hostile schema makes it stumble over
        raise BadInput(field, f"not a JSON Schema: {type(error).__name__}") from None
    return check


_KNOWN: Final[dict[int, tuple[Mapping[str, Any], Callable[[Any], Any]]]] = {}
"""Checks by the identity of their schema, which is kept so that the identity stays its own."""
_KNOWN_AT_MOST: Final = 512


def _check_of(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    known = _KNOWN.get(id(schema))
    if known is None:
        if len(_KNOWN) >= _KNOWN_AT_MOST:
            _KNOWN.clear()
        known = _KNOWN[id(schema)] = (schema, _compiled(dump_json(schema), "schema"))
    return known[1]


def mismatch(schema: Mapping[str, Any], value: object) -> str | None:
    """Why `value` does not fit the schema, in words that name the field; None when it fits."""
    try:
        _check_of(schema)(value)
    except JsonSchemaValueException as error:
        return str(error.message)
    except checker.TooMuchWork:
        return "more than can be checked against its schema"
    except RecursionError:
        return "nested too deeply"
    except ArithmeticError:  # a number that no float holds, divided by what it must be a multiple of
        return "a number too large to be checked"
    except Exception as error:  # noqa: BLE001  # what the library lets pass in a schema, it may stumble over here
        return f"the schema cannot be asked: {type(error).__name__}"
    return None
