"""A shard: the requests of one JSONL file, cut from the spool of texts within the limits of provider and budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
        draft = _Draft(folder, template, room(), max_bytes, max_texts)
        with draft.open():
            while carried is not None and draft.take(carried):
                carried = next(waiting, None)
        yield from draft.too_large
        if draft.claims:
            yield draft.shard()
        else:
            draft.path.unlink()
            if draft.no_room is not None:
                yield draft.no_room


class _Draft:
    """A shard while it is written: what is in its file so far, and what it has met that is not."""

    def __init__(self, folder: Path, template: Template, room: Room, max_bytes: int, max_texts: int) -> None:
        self._batch_key = new_key()
        self.path = folder / f"{self._batch_key}.jsonl"
        self.claims: list[Claim] = []
        self.too_large: list[TooLarge] = []
        self.no_room: NoRoom | None = None
        self._template, self._room, self._max_bytes, self._max_texts = template, room, max_bytes, max_texts
        self._tally = Tally(room.price)
        self._bytes = 0
        self._lines: list[bytes] = []
        self._written_bytes = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the file for as long as requests are taken; after that all of it is on disk."""
        with open_private(self.path) as self._descriptor, syncing(self._descriptor) as self._sync:
            yield
            self._write()

    def take(self, request: Request) -> bool:
        """Add a request, or pass over one that fits no file; False where it is for another shard, or for none yet."""
        tally, room = self._tally, self._room
        if tally.requests >= room.requests or len(self.claims) >= self._max_texts:
            return False
        custom_id = f"{self._batch_key}-{tally.requests:x}"
        line = self._template.line(custom_id, request.content, request.rows, request.doublings)
        size_bytes = len(line)
        if size_bytes > self._max_bytes:
            self.too_large += [TooLarge(text.text_key, text.attempt, size_bytes) for text in request.texts]
            return True
        size = room.estimate.measure(self._template, request.content, request.rows, request.doublings)
        if room.usd is not None and tally.bound_usd_with(size) > room.usd:
            self.no_room = NoRoom(Tally(room.price).bound_usd_with(size))
            return False
        fills_queue = room.tokens is not None and tally.tokens + size.tokens > room.tokens
        if (fills_queue and self.claims) or self._bytes + size_bytes > self._max_bytes:
            return False
        tally.add(size)
        self.claims += request.claims(custom_id)
        self._lines.append(line)
        self._bytes += size_bytes
        if self._bytes - self._written_bytes >= _BUFFER_BYTES:
            self._write()
            self._sync()
        return True

    def shard(self) -> Shard:
        """Return what was written."""
        return Shard(
            batch_key=self._batch_key,
            path=self.path,
            claims=self.claims,
            bytes=self._bytes,
            requests=self._tally.requests,
            tokens=self._tally.tokens,
            bound_usd=self._tally.bound_usd,
            expected_usd=self._tally.expected_usd,
        )

    def _write(self) -> None:
        left = memoryview(b"".join(self._lines))
        self._lines.clear()
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._written_bytes = self._bytes
