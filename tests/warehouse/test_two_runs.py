"""Two runs at once against one PostgreSQL, from folders of their own as on two machines: nothing is paid for twice."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

from tests.lab import Server
from tests.test_two_runs import Contestant
from tests.warehouse.labs import PostgresLab

WAYS = 10
HELD = (
    r"another run may send and load for `comment_labels` now:"
    r" process \d+ on \S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
)


def test_of_two_runs_at_once_one_sends_and_the_other_says_who_holds_the_lease_and_since_when(
    postgres_lab: PostgresLab, server: Server, tmp_path: Path
) -> None:
    lab = postgres_lab
    shutil.copytree(lab.folder, tmp_path / "elsewhere", symlinks=True)
    contestants = [Contestant(lab.folder), Contestant(tmp_path / "elsewhere")]
    held = 0
    try:
        for way in range(WAYS):
            lab.add_comments([f"way {way}, comment {number}" for number in range(5)])
            for contestant in contestants:
                contestant.go(server)
            answers = [contestant.answer() for contestant in contestants]
            assert 0 in [answer["code"] for answer in answers], answers
            for answer in answers:
                if answer["code"] != 0:
                    held += 1
                    assert re.match(HELD, str(answer["error"])), answer
            assert set(Counter(row["content_sha256"] for row in server.executions()).values()) == {1}
            assert len(lab.labels()) == 3 + 5 * (way + 1)
    finally:
        for contestant in contestants:
            contestant.end()
    assert held > 0, "the runs never met: the test shows nothing"
    claims = lab.sql("select text_key from main_labels.label_claims group by text_key having count(*) > 1")
    assert claims == []
    assert lab.sql("select count(*) from main_labels.label_leases") == [(0,)]
