"""JSON Schema: what a template says of its input and output, checked when written and when used.

Only what needs no network and no second document is allowed: `$ref` stays inside the schema.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fastjsonschema import JsonSchemaDefinitionException, JsonSchemaValueException

from consumer.core import checker
from consumer.core.errors import BadInput, join
from consumer.core.pattern import Unsupported, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES: Final = 32_768
MAX_DEPTH: Final = 32
MAX_PATTERN: Final = 256
MAX_JSON_DEPTH: Final = 200
"""Levels of nesting in JSON from outside."""

_BOXES: Final = (dict, list, tuple)
_BRACKETS: Final = re.compile(r"[\[{]+|[\]}]+")

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ASCII_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def parse_json(text: str | bytes, field: str = "", *, unique: bool = False) -> Any:  # JSON is any value
    """Read JSON strictly: NaN, Infinity and 1e999 are refused, absurd nesting is an error and not a crash.

    `unique`: a name that stands twice in an object is refused, for values from outside."""
    decoder = _UNIQUE_DECODER if unique else _DECODER
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        if nests_too_deeply(text):
            raise BadInput(field, "JSON nested too deeply")
        return decoder.decode(text)
    except RecursionError:
        raise BadInput(field, "JSON nested too deeply") from None
    except ValueError as error:
        raise BadInput(field, f"not valid JSON: {error}") from None


def nests_too_deeply(text: str) -> bool:
    """Whether brackets outside of strings nest beyond `MAX_JSON_DEPTH`, in one pass at the speed of C.

    Asked before parsing: in a Worker, thousands of levels overflow a stack that Python does not guard, and the
    whole isolate dies of it instead of one reply."""
    if text.count("[") + text.count("{") <= MAX_JSON_DEPTH:
        return False
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    depth = 0
    for run in _BRACKETS.findall(outside):
        depth += len(run) if run[0] in "[{" else -len(run)
        if depth > MAX_JSON_DEPTH:
            return True
    return False


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text[:20])
    return number


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        msg = "a name stands twice in an object"
        raise ValueError(msg)
    return value


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_UNIQUE_DECODER: Final = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_refuse_twice
)


def dump_json(value: object) -> str:
    """The shortest JSON text of a value, which every database can hold: half a surrogate pair stays an escape.

    Raises ValueError on NaN and Infinity, BadInput on absurd nesting."""
    if isinstance(value, _BOXES) and _nests(value):
        raise BadInput("", "JSON nested too deeply")
    try:
        text = _ENCODER.encode(value)
        return text if text.isascii() or clean(text) == text else _ASCII_ENCODER.encode(value)
    except RecursionError:
        raise BadInput("", "JSON nested too deeply") from None


def _nests(value: Any, left: int = MAX_JSON_DEPTH) -> bool:
    """Whether a value nests deeper than `left` levels: the encoder has the parser's problem with the stack."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, _BOXES) and (left <= 1 or _nests(part, left - 1)):
            return True
    return False


def clean(text: str) -> str:
    """Text that every database can hold: half a surrogate pair becomes a question mark, and NUL U+FFFD."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


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
