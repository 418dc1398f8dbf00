"""A shard: the requests of one JSONL file, cut from the spool of texts within the limits of provider and budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from connector.estimate import Estimate, Tally
from connector.files import open_private, syncing
from connector.ledger import Claim, new_key
from connector.price import Price
from connector.request import Template, draw_ids, pack, sendable

# Batch API, limits of an input file (platform documentation, read November 2026)
MAX_REQUESTS = 50_000
MAX_BYTES = 209_715_200
# A batch's claims and outcomes are in memory at once: packed it has no more of them than unpacked.
MAX_TEXTS = MAX_REQUESTS
# So many shards fill a queue: as one ends, a sixteenth is empty for as long as it takes to see it.
_SHARDS_IN_QUEUE = 16
_BUFFER_BYTES = 1 << 20
# A packed request stays far below any context window; a long text goes alone.
_PACKED_CHARACTERS = 40_000
_LONG_CHARACTERS = 8_000


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A text to send, as the spool has it. `alone` is one that a packed request has failed before."""

    text_key: str
    text: str
    attempt: int
    truncations: int
    alone: bool = False


@dataclass(frozen=True)
class Room:
    """How large the next shard may be: in requests, in tokens of the provider's queue, in dollars at its bound.

    A first request is written whatever `tokens` says, or it would never be sent; `usd` is a wall for it as well.
    """

    estimate: Estimate
    price: Price | None = None
    requests: int = MAX_REQUESTS
    tokens: int | None = None
    usd: Decimal | None = None


@dataclass(frozen=True)
class Shard:
    """A written file with its claims. `batch_key` is new; nothing has been sent.

    `tokens` are the input tokens to expect, `bound_usd` what it costs at most, `expected_usd` about what it costs; None
    where there is no price.
    """

    batch_key: str
    path: Path
    claims: list[Claim]
    bytes: int
    requests: int
    tokens: int
    bound_usd: Decimal | None
    expected_usd: Decimal | None


@dataclass(frozen=True)
class TooLarge:
    """A text whose request alone passes the limit of a file."""

    text_key: str
    attempt: int
    bytes: int


@dataclass(frozen=True)
class NoRoom:
    """The next request does not fit the budget: it costs `bound_usd` at most."""

    bound_usd: Decimal


def queue_share(limit: int) -> int:
    """Return how many tokens a shard may have where the provider's queue takes so many."""
    return max(1, limit // _SHARDS_IN_QUEUE)


def group(texts: Iterable[Pending], rows_per_request: Callable[[], int]) -> Iterator[list[Pending]]:
    """Give the texts of each request: so many together, asked anew each time; alone what is long or failed packed."""
    together: list[Pending] = []
    characters = 0
    for text in texts:
        most = rows_per_request()
        if most == 1 or text.alone or len(text.text) > _LONG_CHARACTERS:
            yield [text]
            continue
        if together and characters + len(text.text) > _PACKED_CHARACTERS:
            yield together
            together, characters = [], 0
        together.append(text)
        characters += len(text.text)
        if len(together) >= most:
            yield together
            together, characters = [], 0
    if together:
        yield together


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request before its line is written: everything but the custom_id.

    `rows` are the texts that it carries, `doublings` says how often its output limit is doubled.
    """

    texts: list[Pending]
    ids: list[int] | None
    content: str
    rows: int
    doublings: int

    def claims(self, custom_id: str) -> list[Claim]:
        """Return the claims of its texts."""
        if self.ids is None:
            [text] = self.texts
            return [Claim(custom_id, text.text_key, text.attempt)]
        return [
            Claim(custom_id, text.text_key, text.attempt, str(item_id))
            for text, item_id in zip(self.texts, self.ids, strict=True)
        ]


def make_request(texts: list[Pending]) -> Request:
    """Return the request of these texts: of several a packed one, with ids of its own."""
    if len(texts) == 1:
        [text] = texts
        return Request(texts, None, sendable(text.text), 1, text.truncations)
    ids = draw_ids(len(texts))
    return Request(texts, ids, pack(ids, [text.text for text in texts]), len(texts), 0)


def write_shards(
    requests: Iterable[list[Pending]],
    template: Template,
    folder: Path,
    room: Callable[[], Room],
    max_bytes: int = MAX_BYTES,
    max_texts: int = MAX_TEXTS,
) -> Iterator[Shard | TooLarge | NoRoom]:
    """Write shards one by one, each whole and on disk before it is given; the caller removes the file.

    `requests` are the texts of each, as `group` gives them. `room` is asked anew for each shard. Only one shard's
    claims are in memory. A text that can not fit in any file is given as `TooLarge`. Where the next request does not
    fit the budget, `NoRoom` is given for as long as it is so.
    """
    waiting = map(make_request, requests)
    carried: Request | None = next(waiting, None)
    while carried is not None:
        batch_key = new_key()
        path = folder / f"{batch_key}.jsonl"
        claims: list[Claim] = []
        too_large: list[TooLarge] = []
        no_room: NoRoom | None = None
        written = 0
        lines: list[bytes] = []
        flushed = 0
        limits = room()
        tally, measure = Tally(limits.price), limits.estimate.measure
        with open_private(path) as descriptor, syncing(descriptor) as sync:
            while carried is not None and tally.requests < limits.requests and len(claims) < max_texts:
                custom_id = f"{batch_key}-{tally.requests:x}"
                line = template.line(custom_id, carried.content, carried.rows, carried.doublings)
                size_bytes = len(line)
                if size_bytes > max_bytes:
                    too_large += [TooLarge(text.text_key, text.attempt, size_bytes) for text in carried.texts]
                    carried = next(waiting, None)
                    continue
                size = measure(template, carried.content, carried.rows, carried.doublings)
                if limits.usd is not None and tally.bound_usd_with(size) > limits.usd:
                    no_room = NoRoom(Tally(limits.price).bound_usd_with(size))
                    break
                is_full = limits.tokens is not None and tally.tokens + size.tokens > limits.tokens
                if (is_full and claims) or written + size_bytes > max_bytes:
                    break
                tally.add(size)
                lines.append(line)
                written += size_bytes
                claims += carried.claims(custom_id)
                carried = next(waiting, None)
                if written - flushed >= _BUFFER_BYTES:
                    _write(descriptor, lines)
                    flushed = written
                    sync()
            _write(descriptor, lines)
        yield from too_large
        if claims:
            bound_usd, expected_usd = tally.bound_usd, tally.expected_usd
            yield Shard(batch_key, path, claims, written, tally.requests, tally.tokens, bound_usd, expected_usd)
        else:
            path.unlink()
            if no_room is not None:
                yield no_room


def _write(descriptor: int, lines: list[bytes]) -> None:
    left = memoryview(b"".join(lines))
    lines.clear()
    while left:
        left = left[os.write(descriptor, left) :]
