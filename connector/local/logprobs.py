"""The log probabilities of an answer's tokens, as `logprobs` asks for them.

All of a value's probability is in the tokens of the value; every other token was certain. Where a value's tokens begin
and end differs from value to value, as it does with real tokenizers: it is one token or two, and the first one may have
the punctuation before it.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from typing import Any

from connector.local.choice import split_json

PIECE = re.compile(r"\w+|\W+")
FIRST_HALF = 0.75

Token = tuple[str, float]


def list_logprobs(content: str | None, refusal: str | None, answer: Any) -> dict[str, Any]:
    """Build a choice's `logprobs`: the tokens of its refusal, or of its content, which begins as `answer` does.

    The tokens joined are exactly the content. An answer of None stands for a content that is no engine's JSON.
    """
    if refusal is not None:
        return {"content": None, "refusal": [_show(token) for token in _pieces(refusal)]}
    said = content or ""
    tokens = _pieces(said) if answer is None else _cut(_tokens_of(answer), len(said))
    return {"content": [_show(token) for token in tokens], "refusal": None}


def _tokens_of(answer: Any) -> Iterator[Token]:
    between = ""
    for number, (text, probability) in enumerate(split_json(answer)):
        if probability is None:
            between += text
            continue
        draw = zlib.crc32(f"{number}{text}".encode())
        *pieces, last = [piece for piece, _ in _pieces(between)] or [""]
        yield from ((piece, 0.0) for piece in pieces)
        # Now and then the punctuation before a value is in its first token.
        joined = draw % 2 == 1 and not last.isalnum()
        if not joined and last:
            yield last, 0.0
        yield from _halve(last if joined else "", text, math.log(probability), halves=draw // 2 % 2 + 1)
        between = ""
    yield from _pieces(between)


def _halve(before: str, value: str, logprob: float, *, halves: int) -> Iterator[Token]:
    if halves == 1 or len(value) < 2:
        yield before + value, logprob
    else:
        middle = len(value) // 2
        yield before + value[:middle], logprob * FIRST_HALF
        yield value[middle:], logprob * (1 - FIRST_HALF)


def _pieces(text: str) -> Iterator[Token]:
    return ((piece, 0.0) for piece in PIECE.findall(text))


def _cut(tokens: Iterator[Token], length: int) -> Iterator[Token]:
    for text, logprob in tokens:
        if length <= 0:
            return
        yield text[:length], logprob
        length -= len(text)


def _show(token: Token) -> dict[str, Any]:
    text, logprob = token
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace")), "top_logprobs": []}
