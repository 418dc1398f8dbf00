"""An engine's answer as a tree: JSON values, of which those that the engine chose carry how probable they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold a chosen JSON value and its probability among the values it was chosen from, above 0 and at most 1."""

    value: Any
    probability: float


def write_json(answer: Any) -> str:
    """Write an answer as models with a strict schema do: without any space between its parts."""
    text = _ENCODER.encode(answer)
    return text if _is_utf8(text) else _ESCAPING_ENCODER.encode(answer)


def split_json(answer: Any) -> Iterator[tuple[str, float | None]]:
    """Yield what `write_json` writes in parts: chosen values with their probabilities, and what is between them.

    A string is without its quotes, unless it is empty.
    """
    encoder = _ENCODER if _is_utf8(_ENCODER.encode(answer)) else _ESCAPING_ENCODER
    yield from _split(answer, encoder.encode)


def _split(answer: Any, write: Callable[[Any], str]) -> Iterator[tuple[str, float | None]]:
    if isinstance(answer, Choice):
        text = write(answer.value)
        if isinstance(answer.value, str) and answer.value:
            yield from (('"', None), (text[1:-1], answer.probability), ('"', None))
        else:
            yield text, answer.probability
    elif isinstance(answer, dict):
        for position, (name, member) in enumerate(answer.items()):
            yield f"{',' if position else '{'}{write(name)}:", None
            yield from _split(member, write)
        yield "}" if answer else "{}", None
    elif isinstance(answer, list):
        for position, member in enumerate(answer):
            yield "," if position else "[", None
            yield from _split(member, write)
        yield "]" if answer else "[]", None
    else:
        yield write(answer), None


def _is_utf8(text: str) -> bool:
    # A lone surrogate has no UTF-8 form; escaped, it is still JSON.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _value_of(choice: Choice) -> Any:
    return choice.value


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_value_of)
_ESCAPING_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_value_of)
