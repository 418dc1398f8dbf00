"""The layout of a YAML file: a document written in a project's style, with comments beside its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from connector.adoption.style import Style


@dataclass(frozen=True)
class Noted:
    """A value with a comment after it."""

    value: Any
    comment: str


def write_yaml(document: dict[str, Any], style: Style) -> str:
    """Return a document as a file in this style, with its line endings."""
    whole = {"version": 2, **document} if style.has_version else document
    blocks = ["\n".join(_mapping({key: value}, 0, style)) for key, value in whole.items()]
    return with_line_endings("\n\n".join(blocks) + "\n", style)


def with_line_endings(text: str, style: Style) -> str:
    """Return a text with the project's line endings."""
    return text.replace("\n", style.newline)


def _mapping(mapping: dict[str, Any], indent: int, style: Style) -> Iterator[str]:
    for key, given in mapping.items():
        value, comment = (given.value, f"  # {given.comment}") if isinstance(given, Noted) else (given, "")
        lead = f"{' ' * indent}{key}:"
        if isinstance(value, dict) and value:
            yield lead + comment
            yield from _mapping(value, indent + style.indent, style)
        elif isinstance(value, list) and value:
            yield lead + comment
            for item in value:
                yield from _item(item, indent + style.dash, style)
        else:
            yield f"{lead} {_scalar(value)}{comment}"


def _item(item: Any, indent: int, style: Style) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{' ' * indent}- {_scalar(item)}"
        return
    first, *rest = _mapping(item, indent + 2, style)
    yield f"{' ' * indent}- {first.lstrip()}"
    yield from rest


def _scalar(value: Any) -> str:
    """Return a value as YAML has it on one line; quotes where it needs them."""
    if isinstance(value, str) and value.startswith("{{") and not {'"', "\\"} & set(value):
        return f'"{value}"'
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return written.removesuffix("\n").removesuffix("\n...")
