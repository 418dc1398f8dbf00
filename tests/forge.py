"""Runs that die: a project, a server with many accounts, and a process that forks a run for each and kills it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.books import check_money
from tests.contestant import CRASH, Contestant
from tests.lab import Bench, Server

TEXTS = ["Loved it", "Hated it", "The music was fine", "Long. So long.", "👍", "first"]
COMMENTS = [*TEXTS, "Loved it", "  "]
ACCOUNTS = 400


class Forge:
    """A bench of `COMMENTS`, a server with many accounts, a process that forks runs; no account is used twice."""

    def __init__(self, folder: Path, bench: Bench, module: Sequence[str] = CRASH) -> None:
        self._bench = bench
        self.lab = bench.restored()
        tokens = [part for number in range(ACCOUNTS) for part in ("--token", f"account-{number}")]
        (folder / "server").mkdir()
        self.server = Server(folder / "server", *tokens).start()
        self._accounts = itertools.count()
        self._process = Contestant(self.lab.folder, module)
        assert self.run(self.fresh())["code"] == 0, "the first is run by the parent of all others"

    def close(self) -> None:
        self._process.end()
        self.server.kill()

    def fresh(self, **faults: Any) -> str:
        """Give a new account on a new warehouse, with these faults."""
        self._bench.restored()
        self.server.faults(**faults)
        return f"account-{next(self._accounts)}"

    def run(self, key: str, kill_at: int | None = None, **settings: Any) -> dict[str, Any]:
        """Run, and kill it at a boundary; return what it said."""
        quickly = {"key": key, "kill_at": kill_at, "max_requests": 4, "grace_seconds": 0.0}
        self._process.go(self.server, **{**quickly, **settings})
        return self._process.answer()

    def executed(self, key: str) -> Counter[str]:
        """Return how often each text was executed for an account."""
        return Counter(row["content_sha256"] for row in self.server.control("GET", "/local/executions", key=key))


class Undisturbed:
    """The labels, executions and boundaries of a run that nothing disturbs."""

    def __init__(self, forge: Forge, **settings: Any) -> None:
        key = forge.fresh()
        answer = forge.run(key, **settings)
        assert answer["code"] == 0, answer["error"]
        self.labels = forge.lab.labels()
        self.executed = forge.executed(key)
        self.boundaries: list[str] = answer["boundaries"]
        assert set(self.labels) == set(TEXTS)
        assert set(self.executed.values()) == {1}


def killed_and_run_again(
    forge: Forge, undisturbed: Undisturbed, boundaries: Sequence[int], **settings: Any
) -> Iterator[tuple[str, str]]:
    """Kill a run at each of these boundaries and run again: it ends as if nothing had been; give account and where."""
    for kill_at in boundaries:
        key = forge.fresh()
        killed = forge.run(key, kill_at, **settings)
        again = forge.run(key, **settings)
        where = f"killed at {kill_at}, {undisturbed.boundaries[kill_at]}"
        assert killed["code"] in (-9, 0), f"{where}: {killed}"
        assert again["code"] == 0, f"{where}: {again}"
        assert forge.lab.labels() == undisturbed.labels, where
        assert forge.executed(key) == undisturbed.executed, where
        check_money(forge.lab)
        assert not set(forge.lab.states()) - {"loaded", "released"}, where
        yield key, where
