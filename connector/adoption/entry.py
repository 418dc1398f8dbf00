"""An entry in a list of somebody's YAML file: it is added, and everything else stays as it is, byte for byte."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

Place = Sequence[str | int]


class Unfit(Exception):
    """Tell that a file is written in a way that an entry can not be added to without changing something else."""


def read_list(text: str, place: Place) -> list[Any]:
    """Return the list at a place of a YAML file, empty where there is none; raises `Unfit` where it is no YAML."""
    try:
        found = _at(yaml.safe_load(text), place)
    except yaml.YAMLError as error:
        raise Unfit("it can not be read as YAML") from error
    return found if isinstance(found, list) else []


def add_entry(text: str, place: Place, key: str, value: str) -> tuple[str, str]:
    """Return the file with `{key: value}` at the end of the list at a place, and what was put in, without line feeds.

    Comments, quotes, indentation and line endings stay. What comes out is read back and compared: raises `Unfit` where
    it is anything else than the old document with one entry more.
    """
    try:
        before = yaml.safe_load(text)
        at, put = _insertion(text, yaml.compose(text, Loader=yaml.SafeLoader), place, key, value)
    except yaml.YAMLError as error:
        raise Unfit("it can not be read as YAML") from error
    after = text[:at] + put + text[at:]
    try:
        fits = yaml.safe_load(after) == _with_entry(before, place, {key: value})
    except yaml.YAMLError:
        fits = False
    if not fits:
        raise Unfit("it is written in an unusual way")
    return after, put.strip("\r\n")


def line_ending(text: str) -> str:
    """Return what ends a file's lines."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _insertion(text: str, root: yaml.Node | None, place: Place, key: str, value: str) -> tuple[int, str]:
    """Return where to put what."""
    newline, entry = line_ending(text), f"{key}: {value}"
    node = _node(root, place)
    if isinstance(node, yaml.SequenceNode) and node.flow_style:
        if node.value:
            return node.value[-1].end_mark.index, f", {{{entry}}}"
        return node.end_mark.index - 1, f"{{{entry}}}"
    if isinstance(node, yaml.SequenceNode):
        return _line_after(text, _leaf(node), newline, f"{' ' * node.start_mark.column}- {entry}")
    if node is not None:  # a key without a value
        return _line_after(text, node, newline, f"  - {entry}")
    lead = "" if not text or text.endswith("\n") else newline
    return len(text), f"{lead}{place[-1]}:{newline}  - {entry}{newline}"


def _line_after(text: str, node: yaml.Node, newline: str, line: str) -> tuple[int, str]:
    """Return the place after the line that a node ends in; a comment on that line stays with it."""
    end = node.end_mark
    if end.column == 0 and end.index:  # a text of several lines ends where the next line begins
        return end.index, f"{line}{newline}"
    at = text.find("\n", end.index) + 1
    return (at, f"{line}{newline}") if at else (len(text), f"{newline}{line}{newline}")


def _leaf(node: yaml.Node) -> yaml.Node:
    """Return what is written last in a node."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _leaf(last[1] if isinstance(node, yaml.MappingNode) else last)
    return node


def _node(node: yaml.Node | None, place: Place) -> yaml.Node | None:
    for step in place:
        if isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
        else:
            return None
    return node


def _at(document: Any, place: Place) -> Any:
    for step in place:
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int):
            document = document[step]
        else:
            return None
    return document


def _with_entry(before: Any, place: Place, entry: dict[str, str]) -> Any:
    """Return the document with the entry added, without any text in between."""
    after = copy.deepcopy(before) or {}
    *way, last = place
    owner = _at(after, way)
    if isinstance(owner, dict):
        owner[last] = [*(owner.get(last) or []), entry]
    return after
