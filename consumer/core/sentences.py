"""Our own short sentences about a value that does not fit its schema: one for each keyword.

A person reads them beside a field, and a model reads them when it is asked for another answer.  Each one reads on from
the name of the field: `name must be text`.  A pattern is never shown: it is written for machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from consumer.core.strictjson import dump_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_SHOWN: Final = 200
"""Characters of a template's own words or values in a sentence."""
NOTHING_FITS: Final = "must not be there"

_TYPES: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMATS: Final = {
    "date-time": "a time such as 2026-11-28T10:00:00Z",
    "date": "a date such as 2026-11-28",
    "time": "a time of day such as 10:00:00Z",
    "duration": "a duration such as P1D or PT30M",
    "email": "an e-mail address",
    "hostname": "the name of a host such as example.com",
    "ipv4": "an address such as 192.0.2.1",
    "ipv6": "an address such as 2001:db8::1",
    "uri": "an address such as https://example.com/",
    "uri-reference": "an address such as https://example.com/ or /page",
    "uri-template": "an address with places to fill in, such as /page/{number}",
    "iri": "an address such as https://example.com/",
    "uuid": "a UUID such as 123e4567-e89b-12d3-a456-426614174000",
    "json-pointer": "a JSON Pointer such as /name",
    "relative-json-pointer": "a relative JSON Pointer such as 1/name",
}


def sentence(keyword: str, schema: Mapping[str, Any]) -> str:
    """The sentence for a value that does not fit this keyword of a schema."""
    say = _SAY.get(keyword)
    return NOTHING_FITS if say is None else say(schema.get(keyword), schema)


def _counted(value: Any, one: str, several: str) -> str:
    return f"{value} {one if value == 1 else several}"


def _shown(value: Any) -> str:
    return dump_json(value)[:MAX_SHOWN]


def _types(value: Any, _: Mapping[str, Any]) -> str:
    return "must be " + " or ".join(
        _TYPES.get(name, str(name)) for name in (value if isinstance(value, list) else [value])
    )


def _enum(value: Any, _: Mapping[str, Any]) -> str:
    listed = ", ".join(_shown(each) for each in value) if isinstance(value, list) else _shown(value)
    return f"must be one of {listed[:MAX_SHOWN]}"


def _form(_: Any, schema: Mapping[str, Any]) -> str:
    """For a pattern: the words that the template has for this field say what is right."""
    words = next((schema[name] for name in ("description", "title") if isinstance(schema.get(name), str)), "")
    return "must have the form that the template asks for" + (f": {words[:MAX_SHOWN]}" if words else "")


_SAY: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "type": _types,
    "enum": _enum,
    "const": lambda value, _: f"must be {_shown(value)}",
    "pattern": _form,
    "format": lambda value, _: f"must be {_FORMATS.get(value, value)}",
    "minLength": lambda value, _: f"must have at least {_counted(value, 'character', 'characters')}",
    "maxLength": lambda value, _: f"must have at most {_counted(value, 'character', 'characters')}",
    "minimum": lambda value, _: f"must be at least {value}",
    "maximum": lambda value, _: f"must be at most {value}",
    "exclusiveMinimum": lambda value, _: f"must be more than {value}",
    "exclusiveMaximum": lambda value, _: f"must be less than {value}",
    "multipleOf": lambda value, _: f"must be a multiple of {value}",
    "minItems": lambda value, _: f"must have at least {_counted(value, 'entry', 'entries')}",
    "maxItems": lambda value, _: f"must have at most {_counted(value, 'entry', 'entries')}",
    "uniqueItems": lambda *_: "must not have the same entry twice",
    "items": lambda value, _: (
        f"must have at most {_counted(len(value), 'entry', 'entries')}"
        if isinstance(value, list)
        else "must have no entries"
    ),
    "contains": lambda *_: "must have an entry of the kind that the template asks for",
    "minProperties": lambda value, _: f"must have at least {_counted(value, 'field', 'fields')}",
    "maxProperties": lambda value, _: f"must have at most {_counted(value, 'field', 'fields')}",
    "propertyNames": lambda *_: "must have only fields whose names the template allows",
    "required": lambda *_: "must also have",
    "additionalProperties": lambda *_: "must not have",
    "anyOf": lambda *_: "must fit one of the forms that the template allows",
    "oneOf": lambda *_: "must fit exactly one of the forms that the template allows",
    "not": lambda *_: "must not be of the kind that the template excludes",
}
