"""A token: what providers count and charge; counted here without a network, by the model's own encoding."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

# The encodings of OpenAI's chat models by the beginning of their names (tiktoken's table, and the families since, read
# November 2026). What is not listed is counted by the newest, which is then an estimate.
_ENCODINGS = {
    "gpt-4o": "o200k_base",
    "gpt-4.1": "o200k_base",
    "gpt-4.5": "o200k_base",
    "gpt-5": "o200k_base",
    "gpt-6": "o200k_base",
    "chatgpt-4o": "o200k_base",
    "o1": "o200k_base",
    "o3": "o200k_base",
    "o4": "o200k_base",
    "gpt-4": "cl100k_base",
    "gpt-3.5": "cl100k_base",
}
_NEWEST = "o200k_base"
# the package refuses more than a million characters or 200,000 tokens at once; a cut adds a token at most
_PIECE_CHARACTERS = 50_000


def is_countable(model: str) -> bool:
    """Tell whether the model's encoding is known, so that a count is exact."""
    return _encoding_name(model) is not None


def counter(model: str) -> Callable[[str], int]:
    """Return what counts a text's tokens for the model; about ten microseconds for a comment."""
    encode = _encoding(_encoding_name(model) or _NEWEST).encode_ordinary

    def count(text: str) -> int:
        if len(text) <= _PIECE_CHARACTERS:
            return len(encode(text))
        places = range(0, len(text), _PIECE_CHARACTERS)
        return sum(len(encode(text[place : place + _PIECE_CHARACTERS])) for place in places)

    return count


def _encoding_name(model: str) -> str | None:
    # a fine-tuned model is named ft:base:organisation::id
    base = model.removeprefix("ft:")
    found = [prefix for prefix in _ENCODINGS if base.startswith(prefix)]
    return _ENCODINGS[max(found, key=len)] if found else None


@lru_cache
def _encoding(name: str) -> Any:
    # loaded when it is needed, because that takes a while; it opens its data by a call that Python deprecates
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai

        return bpe_openai.get_encoding(name)
