"""Packed requests: several texts in one request, each answered as if it had been asked alone.

A request is packed where its strict schema is an object of one array of objects, with an integer `id` and more, and its
last user message is a JSON array of `{"id": <integer>, "text": <string>}`. Anything else is one text, whatever it says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.local.chat import Body, text_of
from connector.local.engine import Reply, resolve, say
from connector.local.faults import Fault
from connector.local.row_fault import spoil_item
from connector.local.schema import schema_of

ID = "id"


@dataclass(frozen=True)
class Item:
    """Hold one text of a packed request and the number its row has to name."""

    id: int
    text: str


@dataclass(frozen=True)
class Pack:
    """Hold what a packed request asks: its texts, and under which names and schema each of them is answered."""

    rows_name: str
    names: tuple[str, ...]
    schema: dict[str, Any]
    items: tuple[Item, ...]

    def bodies(self) -> list[Body]:
        """Ask each text alone, by the schema of a row without its id."""
        named = {"name": "row", "strict": True, "schema": self.schema}
        response_format = {"type": "json_schema", "json_schema": named}
        return [
            {"messages": [{"role": "user", "content": item.text}], "response_format": response_format}
            for item in self.items
        ]


def unpack(body: Body) -> Pack | None:
    """Read a checked request as a packed one; None where it is not exactly that."""
    root = schema_of(body) if _is_strict(body) else None
    found = None if root is None else _row_of(root)
    items = None if found is None else _read_items(text_of(body))
    if root is None or found is None or items is None:
        return None
    rows_name, row = found
    properties = row["properties"]
    single = {
        "type": "object",
        "properties": {name: node for name, node in properties.items() if name != ID},
        "required": [name for name in properties if name != ID],
        "additionalProperties": False,
        **{group: root[group] for group in ("$defs", "definitions") if group in root},
    }
    return Pack(rows_name, tuple(properties), single, items)


def join_replies(pack: Pack, replies: Sequence[Reply], faults: Mapping[int, Fault], seed: str) -> Reply:
    """Put the answers to single texts into one, in an order drawn by the seed; faults are by an item's place."""
    rows: list[dict[str, Any]] = []
    asked = {item.id for item in pack.items}
    for place, (item, reply) in enumerate(zip(pack.items, replies, strict=True)):
        row = {name: item.id if name == ID else reply.answer[name] for name in pack.names}
        fault = faults.get(place)
        rows += [row] if fault is None else spoil_item(fault, row, pack.schema, asked)
    random.Random(seed).shuffle(rows)
    return say({pack.rows_name: rows})


def _is_strict(body: Body) -> bool:
    return bool((body.get("response_format") or {}).get("json_schema", {}).get("strict"))


def _row_of(root: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Give the name of a schema's rows and the schema of one, where it has nothing but rows."""
    properties = root.get("properties", {})
    if len(properties) != 1:
        return None
    ((rows_name, rows),) = properties.items()
    rows = resolve(rows, root)
    row = resolve(rows["items"], root) if rows.get("type") == "array" else {}
    columns = row.get("properties", {})
    is_numbered = ID in columns and resolve(columns[ID], root).get("type") == "integer"
    return (rows_name, row) if row.get("type") == "object" and is_numbered and len(columns) > 1 else None


def _read_items(content: str) -> tuple[Item, ...] | None:
    if not content.lstrip().startswith("["):
        return None
    try:
        members = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not members or not all(_is_item(member) for member in members):
        return None
    return tuple(Item(member[ID], member["text"]) for member in members)


def _is_item(member: object) -> bool:
    if not isinstance(member, dict) or member.keys() != {ID, "text"}:
        return False
    # True is an int to Python, and no integer to JSON.
    return type(member[ID]) is int and isinstance(member["text"], str)
