"""A shard: the requests of one JSONL file, cut from the spool of pending texts within the provider's limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from connector.files import open_private
from connector.ledger import Claim, new_key
from connector.request import Template

# Batch API, limits of an input file (platform documentation, read November 2026)
MAX_REQUESTS = 50_000
MAX_BYTES = 209_715_200
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Pending:
    """A text to send, as the spool has it."""

    text_key: str
    text: str
    attempt: int
    truncations: int


@dataclass(frozen=True)
class Shard:
    """A written file with its claims. `batch_key` is new; nothing has been sent."""

    batch_key: str
    path: Path
    claims: list[Claim]
    bytes: int


@dataclass(frozen=True)
class TooLarge:
    """A text whose request alone passes the limit of a file."""

    text_key: str
    attempt: int
    bytes: int


def write_shards(
    texts: Iterable[Pending],
    template: Template,
    folder: Path,
    max_requests: Callable[[], int] = lambda: MAX_REQUESTS,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Shard | TooLarge]:
    """Write shards one by one, each whole and on disk before it is given; the caller removes the file.

    `max_requests` is asked anew for each shard. Only one shard's claims are in memory. A text that can not fit in any
    file is given as `TooLarge`.
    """
    waiting = iter(texts)
    carried: Pending | None = next(waiting, None)
    while carried is not None:
        batch_key = new_key()
        path = folder / f"{batch_key}.jsonl"
        claims: list[Claim] = []
        too_large: list[TooLarge] = []
        written = 0
        buffer = bytearray()
        most = max_requests()
        with open_private(path) as descriptor:
            while carried is not None and len(claims) < most:
                custom_id = f"{batch_key}-{len(claims):x}"
                line = template.line(custom_id, carried.text, carried.truncations)
                if len(line) > max_bytes:
                    too_large.append(TooLarge(carried.text_key, carried.attempt, len(line)))
                    carried = next(waiting, None)
                    continue
                if written + len(line) > max_bytes:
                    break
                buffer += line
                written += len(line)
                claims.append(Claim(custom_id, carried.text_key, carried.attempt))
                carried = next(waiting, None)
                if len(buffer) >= _BUFFER_BYTES:
                    _write(descriptor, buffer)
            _write(descriptor, buffer)
            os.fsync(descriptor)
        yield from too_large
        if claims:
            yield Shard(batch_key, path, claims, written)
        else:
            path.unlink()


def _write(descriptor: int, buffer: bytearray) -> None:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        done += os.write(descriptor, view[done:])
    view.release()
    buffer.clear()
