"""The strict subset of JSON schema that structured outputs accept, and what a request may say in `response_format`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from connector.local.problem import Problem, json_type, wrong_type

# Structured outputs guide, "Supported schemas" and its limits (read 2026-11). String lengths are not listed there.
_SUPPORTED_KEYWORDS = """
    type properties required additionalProperties items enum const description title anyOf $ref $defs definitions
    pattern format multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems
"""
SUPPORTED_KEYWORDS = frozenset(_SUPPORTED_KEYWORDS.split())
SUPPORTED_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
NAME_PATTERN = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
MAX_PROPERTIES = 5000
MAX_DEPTH = 10
MAX_ENUM_VALUES = 1000
MAX_NAME_CHARACTERS = 120_000


def check_response_format(response_format: object) -> None:
    """Refuse a `response_format` that the chat endpoint would refuse."""
    if response_format is None:
        return
    if not isinstance(response_format, dict):
        raise wrong_type("response_format", "an object", response_format)
    kind = response_format.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Problem(
            400,
            f"Invalid value: {kind!r}. Supported values are: 'json_object', 'json_schema', and 'text'.",
            code="invalid_value",
            param="response_format.type",
        )
    if kind == "json_schema":
        _check_named_schema(response_format.get("json_schema"))


def schema_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the JSON schema that a checked request body asks the answer to follow."""
    response_format = body.get("response_format") or {}
    if response_format.get("type") != "json_schema":
        return None
    schema: dict[str, Any] = response_format["json_schema"].get("schema") or {}
    return schema


def _check_named_schema(named: object) -> None:
    if not isinstance(named, dict):
        raise Problem(
            400,
            "Missing required parameter: 'response_format.json_schema'.",
            code="missing_required_parameter",
            param="response_format.json_schema",
        )
    name = named.get("name")
    if name is None:
        raise Problem(
            400,
            "Missing required parameter: 'response_format.json_schema.name'.",
            code="missing_required_parameter",
            param="response_format.json_schema.name",
        )
    if not isinstance(name, str) or not NAME_PATTERN.match(name):
        raise Problem(
            400,
            f"Invalid 'response_format.json_schema.name': {name!r} does not match '^[a-zA-Z0-9_-]{{1,64}}$'.",
            code="invalid_value",
            param="response_format.json_schema.name",
        )
    schema = named.get("schema")
    if not named.get("strict"):
        return
    fault = _known_fault(schema)
    if fault is not None:
        raise Problem(400, f"Invalid schema for response_format '{name}': {fault}", param="response_format")


def _known_fault(schema: object) -> str | None:
    # All requests of a batch have one schema, as a rule: it is judged once.
    try:
        return _find_fault_in(orjson.dumps(schema))
    except orjson.JSONEncodeError:
        return find_schema_fault(schema)


@functools.lru_cache(maxsize=64)
def _find_fault_in(raw: bytes) -> str | None:
    return find_schema_fault(orjson.loads(raw))


def find_schema_fault(schema: object) -> str | None:
    """Describe the first thing in a schema that strict mode does not accept, or return None."""
    if not isinstance(schema, dict):
        return f"schema must be an object, got {json_type(schema)}."
    if schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"" + str(schema.get("type")) + "\"'."
    properties = enum_values = characters = 0
    for path, node in _nodes(schema, ()):
        fault = _node_fault(path, node)
        if fault is not None:
            return fault
        if len(path) > 2 * MAX_DEPTH:
            return f"nesting goes deeper than {MAX_DEPTH} levels."
        names = node.get("properties", {})
        values = node.get("enum", ())
        properties += len(names)
        enum_values += len(values)
        characters += sum(map(len, names)) + sum(len(v) for v in values if isinstance(v, str))
    if properties > MAX_PROPERTIES:
        return f"{properties} properties are more than the {MAX_PROPERTIES} allowed."
    if enum_values > MAX_ENUM_VALUES:
        return f"{enum_values} enum values are more than the {MAX_ENUM_VALUES} allowed."
    if characters > MAX_NAME_CHARACTERS:
        return f"names and enum values have {characters} characters, more than the {MAX_NAME_CHARACTERS} allowed."
    return None


def _nodes(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if not isinstance(node, dict):
        yield path, {"": node}
        return
    yield path, node
    for group in ("properties", "$defs", "definitions"):
        members = node.get(group)
        for name, child in members.items() if isinstance(members, dict) else ():
            yield from _nodes(child, (*path, group, name))
    if "items" in node:
        yield from _nodes(node["items"], (*path, "items"))
    for position, child in enumerate(node.get("anyOf") or ()):
        yield from _nodes(child, (*path, "anyOf", str(position)))


def _node_fault(path: tuple[str, ...], node: dict[str, Any]) -> str | None:
    where = f"In context={path!r}, "
    unsupported = sorted(set(node) - SUPPORTED_KEYWORDS)
    if unsupported:
        return f"{where}'{unsupported[0]}' is not permitted."
    if not {"type", "anyOf", "$ref", "enum", "const"} & set(node):
        return f"{where}schema must have a 'type' key."
    types = node.get("type", [])
    types = types if isinstance(types, list) else [types]
    unknown = [t for t in types if t not in SUPPORTED_TYPES]
    if unknown:
        return f"{where}{unknown[0]!r} is not a valid type."
    if "array" in types and "items" not in node:
        return f"{where}array schema missing items."
    if "enum" in node and (not isinstance(node["enum"], list) or not node["enum"]):
        return f"{where}'enum' must be a non-empty array."
    if "object" not in types:
        return None
    if node.get("additionalProperties") is not False:
        return f"{where}'additionalProperties' is required to be supplied and to be false."
    names = node.get("properties", {})
    if not isinstance(names, dict):
        return f"{where}'properties' must be an object."
    required = node.get("required", [])
    missing = [name for name in names if name not in required]
    if missing:
        return (
            f"{where}'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'."
        )
    extra = [name for name in required if name not in names]
    return f"{where}Extra required key '{extra[0]}' supplied." if extra else None
