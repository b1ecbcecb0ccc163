"""JSON Schemas of templates: `check_schema` when a template is written, `mismatch` when a value is checked.

A schema must be complete in itself.  A reference (`$ref`) to another document is refused, so that no check ever needs
the network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fastjsonschema import (
    JsonSchemaDefinitionException,
    JsonSchemaValueException,
    JsonSchemaValuesException,
)

from consumer.core import checker
from consumer.core.cache import Cache
from consumer.core.errors import BadInput, Problem, join
from consumer.core.keywords import Walk
from consumer.core.pattern import MAX_PLACES, TOO_MANY, Unsupported, compile_pattern, places
from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.core.checker import Check, Work

MAX_BYTES: Final = 32_768
"""Bytes of a schema as JSON in UTF-8."""
MAX_REMEMBERED: Final = 12_000_000
"""Bytes of compiled checks that are remembered: a Worker has 128 MB for everything."""


def check_schema(schema: object, field: str) -> dict[str, Any]:
    """Accept a JSON Schema whose values are objects, and return it as it is.

    Raises BadInput naming the place in the schema that is wrong; `field` is the name of the schema itself."""
    if not isinstance(schema, dict):
        raise BadInput(field, "must be a JSON object: a JSON Schema")
    walk = Walk(schema, field, strict=True)
    if schema.get("type") != "object":
        raise BadInput(join(field, "type"), 'must be "object" at the top of the schema')
    try:
        text = dump_json(schema)
    except ValueError:
        raise BadInput(field, "must not hold NaN or Infinity: JSON has no such numbers") from None
    if len(text.encode()) > MAX_BYTES:
        raise BadInput(field, f"must be at most {MAX_BYTES} bytes of JSON")
    _check_patterns(walk.patterns)
    try:
        _compiled(text)
    except BadInput as error:
        raise error.within(field) from None
    return schema


def _check_patterns(patterns: list[tuple[str, str]]) -> None:
    """Refuse a pattern that cannot be used, and patterns that are too large together, before any is built."""
    left, known = MAX_PLACES, set()
    for field, pattern in patterns:
        if pattern in known:
            continue
        known.add(pattern)
        try:
            left -= places(pattern)
            if left >= 0:
                compile_pattern(pattern)
        except Unsupported as error:
            raise BadInput(field, str(error)) from None
        if left < 0:
            raise BadInput(field, TOO_MANY)


_CHECKS: Final[Cache[Check]] = Cache(MAX_REMEMBERED)


def _compiled(text: str, work: Work | None = None, *, collect: bool = False) -> Check:
    """The check of a schema's text, compiled once while it is remembered.

    Raises BadInput when it is not a schema that can be used."""

    def make() -> tuple[Check, int]:
        check = _make(text, collect=collect)
        if work is not None:
            work.left -= checker.COMPILING * check.code
        return check, check.size + 2 * len(text)

    return _CHECKS.get((text, collect), make)


def _make(text: str, *, collect: bool) -> Check:
    try:
        return checker.make(Walk(json.loads(text), "", strict=False).schema, collect=collect)
    except BadInput:
        raise
    except (JsonSchemaDefinitionException, RecursionError, ValueError, TypeError, KeyError) as error:
        raise BadInput("", f"not a JSON Schema: {error}") from None
    except Exception as error:  # noqa: BLE001  # the library can raise anything on a hostile schema
        raise BadInput("", f"not a JSON Schema: {type(error).__name__}") from None


class SchemaCheck:
    """A schema whose check is compiled at the first use."""

    __slots__ = ("_text",)

    def __init__(self, schema: Mapping[str, Any] | str) -> None:
        """`schema`: the schema, or its JSON text as a row has it."""
        self._text = schema if isinstance(schema, str) else dump_json(schema)

    def mismatch(self, value: object, work: Work | None = None) -> Problem | None:
        """As the function `mismatch`, without writing the schema as text again.

        `work`: what the check may spend together with others."""
        try:
            _compiled(self._text, work)(value, work)
        except JsonSchemaValueException as error:
            return _problem(error)
        except checker.TooMuchWork:
            shared = (
                ""
                if work is None or work.left > 0 or not work.cuts
                else ", together with the others of this request"
            )
            return Problem("", f"needs more work than a check against a schema may take{shared}")
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
    name: `must be text`."""
    try:
        return SchemaCheck(schema).mismatch(value)
    except (ValueError, BadInput) as error:  # no JSON text can hold such a schema
        return Problem("", f"cannot be checked against its schema: {type(error).__name__}")


def mismatches(schema: Mapping[str, Any], value: object) -> list[Problem]:
    """Every place where `value` does not fit the schema, at most `checker.MAX_FOUND`; empty when it fits.

    Where they cannot be collected, because there are too many, only the first is returned.  Never raises."""
    first = mismatch(schema, value)
    if first is None:
        return []
    try:
        _compiled(dump_json(schema), collect=True)(value)
    except JsonSchemaValuesException as error:
        return [_problem(found) for found in error.errors]
    except Exception:  # noqa: BLE001  # `mismatch` has reported it
        return [first]
    return [first]


def _problem(error: JsonSchemaValueException) -> Problem:
    return Problem(checker.field_of(error.name), str(error.message))
