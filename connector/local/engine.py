"""What answers requests: the engine's contract, and the instant engine that derives an answer from the text's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connector.local.chat import Body, text_of
from connector.local.choice import Choice, write_json
from connector.local.problem import Problem
from connector.local.schema import schema_of
from connector.local.settings import ServerSettings


@dataclass(frozen=True)
class Reply:
    """Hold what an engine says to one request; `problem` stands for an HTTP error instead of an answer.

    A problem that `is_deferred` is the engine's own for now and says nothing of the request: a batch asks again later.
    `answer` is the tree that `content` was written from, or begins as; `logprobs` are those of an engine without one.
    Token counts are the engine's own where it has some, else they are counted; those of the answer have the reasoning.
    """

    content: str | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    problem: Problem | None = None
    is_deferred: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    answer: Any = None
    logprobs: Any = None


class Engine(Protocol):
    """Answer checked request bodies; called from several threads at once.

    `chunk_size` is how many texts are answered, and then stored, together. An engine that `forwards` gets packed
    requests as they came; the others get each of their texts as a request of its own.
    """

    name: str
    chunk_size: int
    forwards: bool

    def answer(self, bodies: Sequence[Body]) -> list[Reply]:
        """Answer each body, in their order."""
        ...

    def close(self) -> None:
        """Let go of threads and connections."""
        ...


class InstantEngine:
    """Answer any schema at once, without a model: each field's value is drawn by a hash of field name and text."""

    name = "instant"
    chunk_size = 500
    forwards = False

    def answer(self, bodies: Sequence[Body]) -> list[Reply]:
        """Answer each body; the same text and schema always get the same answer."""
        return [_instant_reply(body) for body in bodies]

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def open_engine(settings: ServerSettings) -> Engine:
    """Load the engine that the settings name; only then are its packages imported."""
    if settings.engine == "embedded":
        from connector.local.embedded import EmbeddedEngine

        return EmbeddedEngine.load(settings.model_path)
    if settings.engine == "upstream":
        from connector.local.upstream import UpstreamEngine

        return UpstreamEngine.connect(settings)
    return InstantEngine()


def say(answer: Any) -> Reply:
    """Make the reply of an answer's tree."""
    return Reply(content=write_json(answer), answer=answer)


def _instant_reply(body: Body) -> Reply:
    text = text_of(body)
    schema = schema_of(body)
    if schema is None:
        return Reply(content=f"This is an instant answer to {len(text)} characters.")
    return say(_draw(schema, text, schema, "$"))


def _number(path: str, text: str) -> int:
    digest = hashlib.blake2b(f"{path}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _draw(node: dict[str, Any], text: str, root: dict[str, Any], path: str) -> Any:
    node = resolve(node, root)
    number = _number(path, text)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return _choose(node["enum"][number % len(node["enum"])], number)
    if "anyOf" in node:
        return _draw(node["anyOf"][number % len(node["anyOf"])], text, root, path)
    kind = type_of(node)
    if kind == "object":
        return {name: _draw(child, text, root, f"{path}.{name}") for name, child in node.get("properties", {}).items()}
    if kind == "array":
        return _draw_array(node, text, root, path)
    if kind == "boolean":
        return _choose(bool(number % 2), number)
    if kind in ("integer", "number"):
        low, high = bounds_of(node)
        return _choose(low + number % (high - low + 1), number)
    return None if kind == "null" else _choose(extract(text, node), number)


def _choose(value: Any, number: int) -> Choice:
    """Make a choice of a probability above 0.3, of other bits of the number than those that chose."""
    return Choice(value, 1 - 0.7 * (number >> 32) / 2**32)


def _draw_array(node: dict[str, Any], text: str, root: dict[str, Any], path: str) -> Any:
    items = resolve(node["items"], root)
    choices = list(items.get("enum", ()))
    fewest = node.get("minItems", 0)
    most = max(fewest, node.get("maxItems", min(3, len(choices) or 3)))
    wanted = fewest + _number(path, text) % (most - fewest + 1)
    if not wanted:
        return _choose([], _number(f"{path}=[]", text))
    if not choices:
        return [_draw(items, text, root, f"{path}[{i}]") for i in range(wanted)]
    choices.sort(key=lambda value: _number(f"{path}={value}", text))
    return [_choose(value, _number(f"{path}={value}", text)) for value in choices[:wanted]]


def resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow a `$ref` into the schema's own definitions."""
    while "$ref" in node:
        target: Any = root
        for part in node["$ref"].lstrip("#/").split("/"):
            target = target.get(part, {}) if part else target
        node = target
    return node


def type_of(node: dict[str, Any]) -> str:
    """Give a node's type; of several, the first that is not null."""
    types = node.get("type", "string")
    if isinstance(types, list):
        types = next((t for t in types if t != "null"), "null")
    return str(types)


def bounds_of(node: dict[str, Any]) -> tuple[int, int]:
    """Give the least and the greatest integer a numeric node allows; 0 to 10 where it does not say."""
    low, high = node.get("minimum"), node.get("maximum")
    low = node["exclusiveMinimum"] + 1 if low is None and "exclusiveMinimum" in node else low
    high = node["exclusiveMaximum"] - 1 if high is None and "exclusiveMaximum" in node else high
    if low is None:
        low = 0 if high is None or high >= 0 else high - 10
    if high is None:
        high = low + 10
    return int(low), max(int(low), int(high))


def extract(text: str, node: dict[str, Any]) -> str:
    """Give the beginning of a text as the answer to a free-text field."""
    return " ".join(text.split())[: min(node.get("maxLength", 80), 80)]
