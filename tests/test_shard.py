"""Shards: within the provider's limits, whole on disk, each text on its own line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from connector.estimate import make_estimate
from connector.files import syncing
from connector.ledger import Claim
from connector.request import make_template
from connector.shard import MAX_BYTES, MAX_REQUESTS, NoRoom, Pending, Room, Shard, TooLarge, group, write_shards
from tests.test_result import TASK

TEMPLATE = make_template(TASK)
ESTIMATE = make_estimate(TASK)
Found = Shard | TooLarge | NoRoom


def _pending(*texts: str) -> list[Pending]:
    return [Pending(f"key-{number}", text, 1, 0) for number, text in enumerate(texts)]


def _write(texts: list[Pending], folder: Path, rows: int = 1, max_bytes: int = MAX_BYTES, **room: Any) -> list[Found]:
    requests = group(texts, lambda: rows)
    return list(write_shards(requests, TEMPLATE, folder, lambda: Room(ESTIMATE, **room), max_bytes))


def _shards(found: list[Found]) -> list[Shard]:
    return [shard for shard in found if isinstance(shard, Shard)]


def test_the_limits_are_the_batch_apis() -> None:
    assert (MAX_REQUESTS, MAX_BYTES) == (50_000, 200 * 1024 * 1024)


def test_shards_are_cut_at_the_limit_of_requests_and_hold_every_text_once(tmp_path: Path) -> None:
    found = _shards(_write(_pending(*(f"text {n}" for n in range(7))), tmp_path, requests=3))
    assert [len(shard.claims) for shard in found] == [3, 3, 1]
    assert len({shard.batch_key for shard in found}) == 3
    texts = []
    for shard in found:
        lines = [json.loads(line) for line in shard.path.read_bytes().splitlines()]
        assert [line["custom_id"] for line in lines] == [claim.custom_id for claim in shard.claims]
        assert shard.bytes == shard.path.stat().st_size
        assert stat.S_IMODE(shard.path.stat().st_mode) == 0o600
        texts += [line["body"]["messages"][-1]["content"] for line in lines]
    assert texts == [f"text {n}" for n in range(7)]
    assert [c.text_key for shard in found for c in shard.claims] == [f"key-{n}" for n in range(7)]


def test_shards_are_cut_at_the_limit_of_bytes(tmp_path: Path) -> None:
    one = len(TEMPLATE.line(f"{'0' * 20}-0", "x" * 100))
    found = _shards(_write(_pending(*["x" * 100] * 5), tmp_path, max_bytes=2 * one))
    assert [len(shard.claims) for shard in found] == [2, 2, 1]
    assert max(shard.path.stat().st_size for shard in found) <= 2 * one


def test_a_packed_shard_holds_no_more_texts_than_memory_is_meant_for(tmp_path: Path) -> None:
    requests = group(_pending(*(f"text {n}" for n in range(14))), lambda: 3)
    found = _shards(list(write_shards(requests, TEMPLATE, tmp_path, lambda: Room(ESTIMATE), max_texts=6)))
    assert [len(shard.claims) for shard in found] == [6, 6, 2]
    assert [c.text_key for shard in found for c in shard.claims] == [f"key-{n}" for n in range(14)]


def test_a_text_too_large_for_any_file_is_told_and_the_others_are_written(tmp_path: Path) -> None:
    texts = _pending("small", "x" * 10_000, "small too")
    found = _write(texts, tmp_path, max_bytes=5_000)
    assert [item.text_key for item in found if isinstance(item, TooLarge)] == ["key-1"]
    assert [claim.text_key for shard in _shards(found) for claim in shard.claims] == ["key-0", "key-2"]
    alone = _write(_pending("x" * 10_000), tmp_path / "..", max_bytes=5_000)
    assert [type(item) for item in alone] == [TooLarge]


def test_a_truncated_attempt_gets_a_larger_output_limit(tmp_path: Path) -> None:
    texts = [Pending("a", "x", 1, 0), Pending("b", "x", 2, 1), Pending("c", "x", 3, 2)]
    shard = _shards(_write(texts, tmp_path))[0]
    limits = [json.loads(line)["body"]["max_completion_tokens"] for line in shard.path.read_bytes().splitlines()]
    assert limits == [200, 400, 800]
    assert shard.claims[1] == Claim(shard.claims[1].custom_id, "b", 2)


def test_a_shard_written_in_many_pieces_is_whole_and_in_order(tmp_path: Path) -> None:
    texts = _pending(*(letter * 1_000_000 for letter in "abcde"))
    [shard] = _shards(_write(texts, tmp_path))
    lines = shard.path.read_bytes().splitlines(keepends=True)
    assert lines == [TEMPLATE.line(claim.custom_id, text.text) for claim, text in zip(shard.claims, texts, strict=True)]
    assert shard.bytes == sum(map(len, lines))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_can_not_be_synced_is_told_to_whoever_writes() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="Invalid argument"):
        with syncing(full.fileno()):
            pass


def test_nothing_pending_makes_no_file(tmp_path: Path) -> None:
    assert _write([], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
