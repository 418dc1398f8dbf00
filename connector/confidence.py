"""Confidence: the probability of each value in an answer, from the log probabilities that came with it.

It is what the model gave the value's tokens, multiplied; a token that reaches over a value's edge counts as its. Where
a provider returns none, or tokens that are not the answer's, there is no confidence: it is never made up.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]  # documented nowhere, there since Python 3.0
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")
_raw_decode = json.JSONDecoder().raw_decode

Span = tuple[int, int]


def find_values(content: str, place: int = 0) -> dict[str, Span]:
    """Return where the values of a JSON object stand in its text; raises `ValueError` where there is no object."""
    spans: dict[str, Span] = {}
    place = _expect(content, place, "{")
    while content[place : place + 1] == '"':
        name, place = scanstring(content, place + 1)
        place = _expect(content, place, ":")
        _, end = _raw_decode(content, place)
        spans[name] = (place, end)
        place = _skip(content, end)
        if content[place : place + 1] == ",":
            place = _skip(content, place + 1)
    return spans


def find_rows(content: str, span: Span) -> Iterator[int]:
    """Give where the elements of a JSON array begin."""
    place, end = _expect(content, span[0], "["), span[1] - 1
    while place < end:
        yield place
        _, place = _raw_decode(content, place)
        place = _skip(content, place)
        if content[place : place + 1] == ",":
            place = _skip(content, place + 1)


class Probabilities:
    """The probabilities of an answer's tokens, by their place in its text."""

    def __init__(self, content: str, pieces: list[tuple[bytes, float]]) -> None:
        self._content = content
        self._ends = list(accumulate(len(piece) for piece, _ in pieces))
        self._sums = [0.0, *accumulate(logprob for _, logprob in pieces)]

    def of(self, span: Span) -> float:
        """Return the probability of the characters of a span; of a string only of those between its quotes."""
        start, end = span
        if self._content[start] == '"':
            start, end = start + 1, end - 1
        first = bisect_right(self._ends, self._bytes_before(start))
        last = bisect_left(self._ends, self._bytes_before(end)) + 1
        return min(1.0, math.exp(self._sums[last] - self._sums[first]))

    def _bytes_before(self, place: int) -> int:
        if self._content.isascii():
            return place
        return len(self._content[:place].encode("utf-8", "surrogatepass"))


def read_probabilities(content: str, logprobs: object) -> Probabilities | None:
    """Return the probabilities in a choice's `logprobs`, None where it has none that belong to this text."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    pieces = []
    for token in tokens:
        piece = _piece(token)
        if piece is None:
            return None
        pieces.append(piece)
    if b"".join(piece for piece, _ in pieces) != content.encode("utf-8", "surrogatepass"):
        return None
    return Probabilities(content, pieces)


def _piece(token: Any) -> tuple[bytes, float] | None:
    if not isinstance(token, dict):
        return None
    logprob, raw, text = token.get("logprob"), token.get("bytes"), token.get("token")
    if isinstance(logprob, bool) or not isinstance(logprob, (int, float)) or not math.isfinite(logprob):
        return None
    try:
        # a character can be spread over several tokens: their bytes tell
        piece = bytes(raw) if isinstance(raw, list) else str(text).encode()
    except (TypeError, ValueError):
        return None
    return piece, min(0.0, float(logprob))


def _expect(content: str, place: int, sign: str) -> int:
    place = _skip(content, place)
    if content[place : place + 1] != sign:
        raise ValueError(f"no {sign} at {place}")
    return _skip(content, place + 1)


def _skip(content: str, place: int) -> int:
    found = _SPACE.match(content, place)
    return found.end() if found else place
