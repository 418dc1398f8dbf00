"""How many tokens a request and its answer have, by OpenAI's own byte-pair encoding.

A prompt's tokens are those of its messages' contents and of its schema as compact JSON, 4 more for each message and 3
for the reply: OpenAI's cookbook, "How to count tokens with tiktoken" (read 2026-11). A token is a byte at least, so
this never exceeds the bytes of what is counted by more than those few.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from connector.local.chat import Body
from connector.local.engine import Reply

ENCODING = "o200k_base"
TOKENS_PER_MESSAGE = 4
TOKENS_PER_REPLY = 3
# The encoding refuses a text of more than 200,000 tokens or 1,000,000 characters: none this long has as many.
PIECE_CHARACTERS = 50_000
# Prompt caching guide (read 2026-11): prompts of 1,024 tokens or more, in steps of 128.
LEAST_CACHED = 1024
CACHE_STEP = 128

Prefix = tuple[Any, ...]


@dataclass(frozen=True)
class Prompt:
    """Hold a prompt's tokens, and how many of them are before the last message: what a cache can know."""

    tokens: int
    prefix: Prefix
    prefix_tokens: int


class PromptCache:
    """Remember the beginnings of prompts; safe to use from several threads."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def find(self, model: str, prompt: Prompt) -> int:
        """Count the tokens of a prompt that were seen before, and see them now."""
        if prompt.prefix_tokens < LEAST_CACHED:
            return 0
        key = hash((model, prompt.prefix))
        with self._lock:
            known = key in self._seen
            self._seen.add(key)
        return prompt.prefix_tokens // CACHE_STEP * CACHE_STEP if known else 0


@functools.lru_cache(maxsize=1)
def load_encoding() -> Any:
    """Load the encoding, once: importing it takes half a second. A server does so before it has threads."""
    with warnings.catch_warnings():
        # bpe-openai 0.1.4 reads its tables by a function that Python 3.11 deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai

        return bpe_openai.get_encoding(ENCODING)


def count_text(text: str) -> int:
    """Count the tokens of a text."""
    return sum(len(_encode(piece)) for piece in _pieces(text))


def count_prompt(body: Body) -> Prompt:
    """Count the tokens of a request; one that has no form the chat endpoint takes has few or none."""
    messages = body.get("messages")
    contents = [_content(message) for message in messages] if isinstance(messages, list) else []
    prefix = (_compact_schema(body), *contents[:-1])
    prefix_tokens = _count_prefix(prefix)
    last = count_text(contents[-1]) + TOKENS_PER_MESSAGE if contents else 0
    return Prompt(prefix_tokens + last + TOKENS_PER_REPLY, prefix, prefix_tokens)


def limit_tokens(body: Body, reply: Reply) -> Reply:
    """Cut an answer that has more tokens, reasoning included, than the request allows, as a model that runs out."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if reply.content is None or limit is None or reply.completion_tokens is not None:
        return reply
    reasoning = min(reply.reasoning_tokens, limit)
    left = limit - reasoning
    if count_text(reply.content) <= left and reasoning == reply.reasoning_tokens:
        return reply
    kept = _first_tokens(reply.content, left)
    return dataclasses.replace(
        reply, content=kept, finish_reason="length", completion_tokens=limit, reasoning_tokens=reasoning
    )


def count_usage(body: Body, reply: Reply, cache: PromptCache) -> dict[str, Any]:
    """Build a completion's `usage`, of the engine's own counts where it has some."""
    prompt, output, cached = reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens
    if prompt is None:
        counted = count_prompt(body)
        prompt, cached = counted.tokens, cache.find(body["model"], counted)
    if output is None:
        output = count_text(reply.content or "") + count_text(reply.refusal or "") + reply.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


@functools.lru_cache(maxsize=256)
def _count_prefix(prefix: Prefix) -> int:
    schema, *contents = prefix
    tokens = 0 if schema is None else count_text(schema.decode("utf-8", "replace"))
    return tokens + sum(count_text(content) + TOKENS_PER_MESSAGE for content in contents)


def _content(message: object) -> str:
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _compact_schema(body: Body) -> bytes | None:
    asked = body.get("response_format")
    named = asked.get("json_schema") if isinstance(asked, Mapping) else None
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if schema is None:
        return None
    try:
        return orjson.dumps(schema)
    except orjson.JSONEncodeError:
        # orjson takes neither integers above 64 bits nor lone surrogates, nor what is nested more than 254 deep.
        return str(schema).encode("utf-8", "replace")


def _encode(text: str) -> list[int]:
    tokens: list[int] = load_encoding().encode_ordinary(text)
    return tokens


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]


def _first_tokens(text: str, most: int) -> str:
    kept: list[int] = []
    for piece in _pieces(text):
        kept += _encode(piece)[: most - len(kept)]
        if len(kept) >= most:
            break
    # A character may be cut in two; half of one is nothing.
    raw: bytes = load_encoding().decode_bytes(kept)
    return raw.decode("utf-8", "ignore")
