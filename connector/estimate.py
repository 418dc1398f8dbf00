"""An estimate: the tokens that a task's requests take, as expected and as a bound that no request can pass.

A bound of input tokens is either every byte as a token, which holds for any model that reads bytes, or, where the
model's encoding is known, the count of the messages with every byte of the schema as a token: how a provider writes the
schema into the prompt is not documented. A bound of output tokens is the limit that the request carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from connector.price import Price, Usage
from connector.request import Template, messages, response_format
from connector.task import AnyOf, Boolean, Integer, OneOf, Task, TaskField
from connector.token import counter, is_countable

# What a message's frame and the beginning of the answer take (OpenAI's cookbook, "How to count tokens with tiktoken": 3
# and 3, read November 2026), and what is assumed at most.
_MESSAGE_TOKENS, _REPLY_TOKENS = 4, 3
_MOST_MESSAGE_TOKENS, _MOST_OTHER_TOKENS = 16, 64
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """Tokens of a task's requests: those of the last message are measured, the rest is constant.

    `count` counts a message's tokens; without it, which is much quicker, they are estimated from its bytes. `is_exact`
    tells that the count is the model's own, and so a bound.
    """

    count: Callable[[str], int] | None
    is_exact: bool
    single_tokens: int
    packed_tokens: int
    single_most_tokens: int
    packed_most_tokens: int
    single_output_tokens: int
    packed_output_tokens: int

    def measure(self, template: Template, content: str, rows: int = 1, doublings: int = 0) -> Size:
        """Return the size of a request with this last message."""
        size_bytes = len(content) if content.isascii() else _bytes(content)
        counted = -(-size_bytes // _BYTES_PER_TOKEN) if self.count is None else self.count(content)
        most_input, most_output = counted if self.is_exact else size_bytes, template.output_limit(rows, doublings)
        if rows == 1:
            output = min(self.single_output_tokens, most_output)
            return Size(counted + self.single_tokens, most_input + self.single_most_tokens, output, most_output)
        output = min(rows * self.packed_output_tokens, most_output)
        return Size(counted + self.packed_tokens, most_input + self.packed_most_tokens, output, most_output)


class Size(msgspec.Struct, frozen=True, gc=False):
    """The tokens of one request, as expected and at most."""

    tokens: int
    most_tokens: int
    output_tokens: int
    most_output_tokens: int


class Tally:
    """Tokens and dollars of requests, added one by one; without a price the dollars are None.

    What is of the first rate is added up in whole tokens, so that a million requests are quick; the last digit that
    rounding each request up would add is added for each.
    """

    def __init__(self, price: Price | None) -> None:
        self._price = price
        self._most = [0, 0]
        self._expected = [0, 0]
        self._dear_bound_usd = self._dear_expected_usd = Decimal(0)
        self.requests = 0
        self.tokens = 0
        self.output_tokens = 0
        self.most_output_tokens = 0

    def add(self, size: Size) -> None:
        """Add a request."""
        self.requests += 1
        self.tokens += size.tokens
        self.output_tokens += size.output_tokens
        self.most_output_tokens += size.most_output_tokens
        if self._price is not None and not self._price.is_first_rate(size.most_tokens):
            self._dear_bound_usd += self._price.bound(size.most_tokens, size.most_output_tokens)
            self._dear_expected_usd += self._price.cost(Usage(size.tokens, size.output_tokens))
            return
        self._most[0] += size.most_tokens
        self._most[1] += size.most_output_tokens
        self._expected[0] += size.tokens
        self._expected[1] += size.output_tokens

    @property
    def bound_usd(self) -> Decimal | None:
        """Return what all requests cost at most."""
        if self._price is None:
            return None
        return self._price.first_bound(*self._most) + self._dear_bound_usd + self.requests * self._price.rounding_usd

    @property
    def expected_usd(self) -> Decimal | None:
        """Return about what all requests cost, with nothing cached."""
        if self._price is None:
            return None
        return self._price.first_cost(*self._expected) + self._dear_expected_usd

    def bound_usd_with(self, size: Size) -> Decimal:
        """Return what all requests and one more cost at most; 0 without a price."""
        if self._price is None:
            return Decimal(0)
        return (
            (self.bound_usd or Decimal(0))
            + self._price.bound(size.most_tokens, size.most_output_tokens)
            + self._price.rounding_usd
        )


def make_estimate(task: Task, output_tokens: int | None = None, counted: bool = True) -> Estimate:
    """Return the task's estimate; `output_tokens` is what answers took so far, per text.

    With `counted` each message is counted, about ten microseconds for a comment.
    """
    count = counter(task.model)
    is_exact = counted and is_countable(task.model)
    most = count if is_exact else _bytes
    single_output, packed_output = (typical_output_tokens(task, packed) for packed in (False, True))
    if output_tokens is not None:
        of_id = packed_output - single_output
        packs = task.run.rows_per_request > 1
        single_output = max(1, output_tokens - of_id) if packs else output_tokens
        packed_output = single_output + of_id
    return Estimate(
        count=count if counted else None,
        is_exact=is_exact,
        single_tokens=_constant(task, count, packed=False),
        packed_tokens=_constant(task, count, packed=True),
        single_most_tokens=_most(task, most, packed=False),
        packed_most_tokens=_most(task, most, packed=True),
        single_output_tokens=single_output,
        packed_output_tokens=packed_output,
    )


def typical_output_tokens(task: Task, packed: bool) -> int:
    """Return the tokens of one text's answer of middling length, where nothing is known of real ones."""
    answer: dict[str, Any] = {field.name: _typical(field) for field in task.fields}
    if packed:
        answer = {"id": 100_000, **answer}
    return counter(task.model)(orjson.dumps(answer).decode())


def _typical(field: TaskField) -> object:
    if isinstance(field, (OneOf, AnyOf)):
        words = sorted(field.values, key=len)
        middle = words[len(words) // 2]
        return [middle] if isinstance(field, AnyOf) else middle
    if isinstance(field, Boolean):
        return True
    if isinstance(field, Integer):
        return field.max
    return "word " * (field.max // 2 // _BYTES_PER_TOKEN)


def _constant(task: Task, count: Callable[[str], int], packed: bool) -> int:
    before = messages(task, packed)
    said = sum(count(message["content"]) + _MESSAGE_TOKENS for message in before)
    return said + _MESSAGE_TOKENS + _REPLY_TOKENS + count(_schema(task, packed))


def _most(task: Task, count: Callable[[str], int], packed: bool) -> int:
    before = messages(task, packed)
    said = sum(count(message["content"]) for message in before) + _MOST_MESSAGE_TOKENS * (len(before) + 1)
    return said + _MOST_OTHER_TOKENS + _bytes(_schema(task, packed))


def _schema(task: Task, packed: bool) -> str:
    return orjson.dumps(response_format(task, packed)).decode()


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
