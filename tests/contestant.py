"""Processes of their own that run the pipeline when they are told to, and what must come of two that begin at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import KEY, ROOT, Lab, Server
from tests.limit import limited

CRASH = ("tests.crash",)
_MOST_TIMES = 5  # as many ways as were asked for, until two runs have met
_HELD = (
    r"another run may send and load for `comment_labels` now:"
    r" process \d+ on \S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
)


class Contestant:
    """A process of its own that runs the pipeline on a folder when it is told to (tests/crash.py)."""

    def __init__(self, folder: Path, module: Sequence[str] = CRASH) -> None:
        command = [sys.executable, "-m", *module, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        with limited(self._process):
            assert self._process.stdout.readline() == "ready\n"

    def go(self, server: Server, **settings: Any) -> None:
        """Have it begin a run."""
        assert self._process.stdin is not None
        command = {"key": KEY, "base_url": server.base_url, "max_requests": 2, "grace_seconds": 60, **settings}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what became of it."""
        assert self._process.stdout is not None
        with limited(self._process):
            answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with limited(self._process):
            self._process.wait()
        self._process.stdout.close()


def check_two_at_once(
    lab: Lab, server: Server, ways: int, folders: Sequence[Path], module: Sequence[str] = CRASH
) -> None:
    """Begin two runs at the same time, again and again: every text is sent once, and who is not let in says by whom.

    So many times at least, and until the two have met.
    """
    contestants = [Contestant(folder, module) for folder in folders]
    held = way = 0
    try:
        while way < ways or (held == 0 and way < _MOST_TIMES * ways):
            lab.add_comments([f"way {way}, comment {number}" for number in range(5)])
            for contestant in contestants:
                contestant.go(server)
            answers = [contestant.answer() for contestant in contestants]
            losers = [answer for answer in answers if answer["code"] != 0]
            for loser in losers:
                assert re.match(_HELD, str(loser["error"])), loser
            if len(losers) == len(contestants):
                assert not lab.has_transactions, answers  # there it may be nobody's, where one of them stalled
                contestants[0].go(server)
                assert contestants[0].answer()["code"] == 0
            held += len(losers)
            assert set(Counter(row["content_sha256"] for row in server.executions()).values()) == {1}
            way += 1
            assert len(lab.labels()) == 3 + 5 * way
    finally:
        for contestant in contestants:
            contestant.end()
    assert held > 0, f"in {way} ways the runs never met: the test shows nothing"
    twice = "select text_key from main_labels.label_claims group by text_key having count(*) > 1"
    assert lab.sql(twice) == []
