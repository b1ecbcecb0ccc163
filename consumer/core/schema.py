"""JSON Schemas of templates: `check_schema` when a template is written, `mismatch` when a value is checked.

A schema must be complete in itself.  A reference (`$ref`) to another document is refused, so that no check ever needs
the network.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fastjsonschema import (
    JsonSchemaDefinitionException,
    JsonSchemaValueException,
    JsonSchemaValuesException,
)

from consumer.core import checker
from consumer.core.errors import BadInput, Problem, join
from consumer.core.pattern import Unsupported, compile_pattern
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES: Final = 32_768
"""Bytes of a schema as JSON in UTF-8."""
MAX_DEPTH: Final = 32
"""Levels of objects and lists in a schema."""
MAX_PATTERN: Final = 256
"""Characters of a pattern in a schema."""


def check_schema(schema: object, field: str) -> dict[str, Any]:
    """Accept a JSON Schema whose values are objects, and return it as it is.

    Raises BadInput naming the place in the schema that is wrong; `field` is the name of the schema itself."""
    if not isinstance(schema, dict):
        raise BadInput(field, "must be a JSON object: a JSON Schema")
    _check_node(schema, field, 0)
    if schema.get("type") != "object":
        raise BadInput(join(field, "type"), 'must be "object" at the top of the schema')
    try:
        text = dump_json(schema)
    except ValueError:
        raise BadInput(field, "must not hold NaN or Infinity: JSON has no such numbers") from None
    if len(text.encode()) > MAX_BYTES:
        raise BadInput(field, f"must be at most {MAX_BYTES} bytes of JSON")
    _compiled(text, field)
    return schema


def _check_node(node: object, field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadInput(field, f"must be nested at most {MAX_DEPTH} levels deep")
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_node(item, f"{field}[{index}]", depth + 1)
    elif isinstance(node, dict):
        for key, item in node.items():
            where = join(field, str(key))
            if key in ("$ref", "$dynamicRef") and isinstance(item, str) and not item.startswith("#"):
                raise BadInput(where, "must begin with #: a reference cannot leave the schema")
            if key in ("$id", "id") and isinstance(item, str):
                raise BadInput(where, "must be left out: a schema here has no address of its own")
            for pattern in _patterns(key, item):
                _check_pattern(pattern, where)
            _check_node(item, where, depth + 1)


def _patterns(key: object, item: object) -> list[str]:
    """The patterns that a keyword of a schema holds."""
    if key == "pattern" and isinstance(item, str):
        return [item]
    return list(map(str, item)) if key == "patternProperties" and isinstance(item, dict) else []


def _check_pattern(pattern: str, field: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise BadInput(field, f"must have patterns of at most {MAX_PATTERN} characters")
    try:
        compile_pattern(pattern)
    except Unsupported as error:
        raise BadInput(field, str(error)) from None


@lru_cache(maxsize=256)
def _compiled(text: str, field: str, *, collect: bool = False) -> Callable[[Any], None]:
    """The check of a schema's text.  Raises BadInput naming `field` when it is not a schema that can be used."""
    try:
        check = checker.make(json.loads(text), collect=collect)
    except (JsonSchemaDefinitionException, RecursionError, ValueError, TypeError, KeyError) as error:
        raise BadInput(field, f"not a JSON Schema: {error}") from None
    except Exception as error:  # noqa: BLE001  # the library can raise anything on a hostile schema
        raise BadInput(field, f"not a JSON Schema: {type(error).__name__}") from None
    return check


class SchemaCheck:
    """A schema together with its compiled check, which is made at the first use."""

    __slots__ = ("_check", "_schema")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._check: Callable[[Any], None] | None = None

    def mismatch(self, value: object) -> Problem | None:
        """As the function `mismatch`, without the search for the compiled check."""
        try:
            if self._check is None:
                self._check = _compiled(dump_json(self._schema), "schema")
            self._check(value)
        except JsonSchemaValueException as error:
            return _problem(error)
        except checker.TooMuchWork:
            return Problem("", "needs more work than a check against a schema may take")
        except RecursionError:
            return Problem("", "is nested too deeply")
        except ArithmeticError:  # `multipleOf` divides, and no float holds the number
            return Problem("", "has a number that is too large to be checked")
        except Exception as error:  # noqa: BLE001  # the library accepts schemas that its own code stumbles over here
            return Problem("", f"cannot be checked against its schema: {type(error).__name__}")
        return None


def mismatch(schema: Mapping[str, Any], value: object) -> Problem | None:
    """The first place where `value` does not fit the schema; None when it fits.  Never raises.

    The field is a path such as `items[0].name`, empty for the whole value.  The message reads on from the field's
    name: `must be string`."""
    return SchemaCheck(schema).mismatch(value)


def mismatches(schema: Mapping[str, Any], value: object) -> list[Problem]:
    """Every place where `value` does not fit the schema, at most `checker.MAX_FOUND`; empty when it fits.

    Where they cannot be collected, because there are too many, only the first is returned.  Never raises."""
    first = mismatch(schema, value)
    if first is None:
        return []
    try:
        _compiled(dump_json(schema), "schema", collect=True)(value)
    except JsonSchemaValuesException as error:
        return [_problem(found) for found in error.errors]
    except Exception:  # noqa: BLE001  # `mismatch` has reported it
        return [first]
    return [first]


def _problem(error: JsonSchemaValueException) -> Problem:
    return Problem(checker.field_of(error.name), str(error.message))
