"""Promises 1 and 2 under SIGKILL: nothing is paid twice and nothing is lost, wherever a run dies."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.books import check_money, highest_charges
from tests.lab import ROOT, Lab, Server

TEXTS = ["Loved it", "Hated it", "The music was fine", "Long. So long.", "👍", "first"]
ACCOUNTS = 400


class Forge:
    """A project, a server with many accounts, a process that forks runs; none of its accounts is used twice."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(folder)
        self.lab.add_comments([*TEXTS, "Loved it", "  "])
        self.lab.build()
        self._template = folder / "template.duckdb"
        shutil.copy(self.lab.database, self._template)
        tokens = [part for number in range(ACCOUNTS) for part in ("--token", f"account-{number}")]
        (folder / "server").mkdir()
        self.server = Server(folder / "server", *tokens).start()
        self._accounts = itertools.count()
        command = [sys.executable, "-m", "tests.crash", str(self.lab.folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        assert self.run(self.fresh())["code"] == 0, "the first is run by the parent of all others"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self.server.kill()

    def fresh(self, **faults: Any) -> str:
        """Give a new account on a new warehouse, with these faults."""
        self.lab.database.with_suffix(".duckdb.wal").unlink(missing_ok=True)
        shutil.copy(self._template, self.lab.database)
        self.server.faults(**faults)
        return f"account-{next(self._accounts)}"

    def run(self, key: str, kill_at: int | None = None, **settings: Any) -> dict[str, Any]:
        command = {"key": key, "base_url": self.server.base_url, "kill_at": kill_at, "max_requests": 4, **settings}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def executed(self, key: str) -> Counter[str]:
        """Return how often each text was executed for an account."""
        return Counter(row["content_sha256"] for row in self.server.control("GET", "/local/executions", key=key))


Undisturbed = tuple[dict[str, Any], Counter[str], list[str]]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(forge: Forge) -> Undisturbed:
    """Give the labels, executions and boundaries of a run that nothing disturbs."""
    key = forge.fresh()
    answer = forge.run(key)
    assert answer["code"] == 0, answer["error"]
    return forge.lab.labels(), forge.executed(key), answer["boundaries"]


def test_a_run_killed_before_or_after_any_call_or_commit_is_finished_by_the_next(
    forge: Forge, undisturbed: Undisturbed
) -> None:
    labels, executed, boundaries = undisturbed
    assert set(labels) == set(TEXTS)
    assert set(executed.values()) == {1}
    kinds = {name.split()[1] for name in boundaries}
    assert {"commit", "POST", "GET"} <= kinds
    for kill_at in range(len(boundaries)):
        key = forge.fresh()
        killed = forge.run(key, kill_at)
        again = forge.run(key)
        where = f"killed at {kill_at}, {boundaries[kill_at]}"
        assert killed["code"] in (-9, 0), f"{where}: {killed}"
        assert again["code"] == 0, f"{where}: {again}"
        assert forge.lab.labels() == labels, where
        assert forge.executed(key) == executed, where
        check_money(forge.lab)
        assert not set(forge.lab.states()) - {"loaded", "released"}, where


FREE_FAULTS: dict[str, Any] = {
    "lost_reply to create": {"lost_reply": {"route": "create_batch"}},
    "lost_reply to upload": {"lost_reply": {"route": "upload", "times": 2}},
    "refuse_before create": {"refuse_before": {"route": "create_batch"}},
    "refuse_before retrieve": {"refuse_before": {"route": "retrieve", "times": 3}},
    "429 on create": {"http_429": {"route": "create_batch", "times": 2, "retry_after": 0.01}},
    "503 on create": {"http_503": {"route": "create_batch", "times": 1, "retry_after": 0.01}},
    "500 on upload": {"http_500": {"route": "upload", "times": 2, "retry_after": 0.01}},
    "503 on download": {"http_503": {"route": "download", "times": 2, "retry_after": 0.01}},
    "lost reply, list lags": {"lost_reply": {"route": "create_batch"}, "list_lag": {"seconds": 0.2}},
    "lost reply, metadata dropped": {"lost_reply": {"route": "create_batch"}, "drop_metadata": True},
    "expired with partial output": {"expire_after": {"share": 0.5, "times": 1}},
    "expired, lines missing": {"expire_after": {"share": 0.5, "times": 1}, "expire_unlisted": True},
    "cancelled by somebody": {"cancel_midway": {"share": 0.5, "times": 1}},
    "output id null at first": {"output_id_null_first": {"times": 2}},
    "404 after completion": {"content_404_first": {"times": 2}},
    "cut download": {"cut_download": {"times": 1, "variant": "length"}},
    "cut download that looks complete": {"cut_download": {"times": 1, "variant": "chunked"}},
    "empty string for no error file": {"error_file_id_empty_string": True},
    "rows missing": {"row_missing": {"share": 0.5, "times": 1}},
    "rows twice": {"row_twice": {"share": 0.5}},
    "rows 429": {"row_429": {"share": 0.5, "times": 1}},
    "rows 500": {"row_500": {"share": 0.5, "times": 2}},
    "rows status 0": {"row_status_0": {"share": 0.5, "times": 1}},
    "queue full": {"fail_validation": {"code": "token_limit_exceeded", "times": 1}},
}
PAID_FAULTS: dict[str, Any] = {
    "rows truncated": {"row_truncate": {"share": 0.5, "times": 1}},
    "rows off the schema": {"row_break_schema": {"share": 0.5, "times": 2}},
    "rows not JSON": {"row_not_json": {"share": 0.5, "times": 1}},
    "rows with an empty body": {"row_empty_body": {"share": 0.5, "times": 1}},
}
FINAL_FAULTS: dict[str, Any] = {
    "rows refuse": {"row_refusal": {"share": 0.5}},
    "rows filtered": {"row_content_filter": {"share": 0.5}},
    "rows 400": {"row_400": {"share": 0.6, "by": "content"}},
    "rows always truncated": {"row_truncate": {"share": 0.5, "by": "content"}},
    "rows always unavailable": {"row_500": {"share": 0.5, "by": "content"}},
}
GRACE_SECONDS = 0.4


def _run_until_done(forge: Forge, key: str, kills: list[int] = []) -> list[str]:  # noqa: B006 - only read
    """Run again and again as a person would; return what the last run said."""
    for kill_at in [*kills, *[None] * 8]:
        answer = forge.run(key, kill_at, grace_seconds=GRACE_SECONDS)
        if answer["code"] == 0:
            return list(answer["said"])
        assert answer["code"] in (-9, 1), answer
        assert "Traceback" not in answer.get("error", ""), answer
    raise AssertionError(answer)


def _check_books(forge: Forge, key: str, context: str) -> None:
    """Hold the warehouse to what the server did: each execution is one row, each text has one outcome."""
    paid = dict(
        forge.lab.sql(
            "select text_key, count(*) from main_labels.comment_labels where reason is null or reason in"
            " ('truncated', 'invalid', 'refused', 'filtered') group by text_key"
        )
    )
    assert forge.executed(key) == Counter(paid), f"{context}: paid for and not written down, or the other way round"
    finals = forge.lab.sql(
        "select text_key, count(*) from main_labels.comment_labels where outcome in ('labelled', 'rejected')"
        " group by text_key"
    )
    assert (
        dict(finals).keys()
        == dict(forge.lab.sql("select text_key, 1 from stg_comments where trim(comment_text) <> ''")).keys()
    ), context
    assert {count for _, count in finals} == {1}, context
    check_money(forge.lab)
    assert not set(forge.lab.states()) - {"loaded", "released", "refused"}, context


@pytest.mark.parametrize("name", [*FREE_FAULTS, *PAID_FAULTS, *FINAL_FAULTS])
def test_a_fault_of_the_provider_costs_no_text_and_no_second_payment(
    forge: Forge, undisturbed: Undisturbed, name: str
) -> None:
    labels, executed, _ = undisturbed
    faults = {**FREE_FAULTS, **PAID_FAULTS, **FINAL_FAULTS}[name]
    key = forge.fresh(**faults)
    _run_until_done(forge, key)
    _check_books(forge, key, name)
    if name not in FINAL_FAULTS:
        assert forge.lab.labels() == labels
    else:
        assert set(forge.lab.labels().items()) < set(labels.items())
    if name in FREE_FAULTS:
        assert forge.executed(key) == executed


@pytest.mark.parametrize("seed", range(50))
def test_two_faults_and_two_kills_at_random_cost_no_text_and_no_second_payment(
    forge: Forge, undisturbed: Undisturbed, seed: int
) -> None:
    chosen = random.Random(seed)
    names = chosen.sample([*FREE_FAULTS, *PAID_FAULTS], 2)
    faults: dict[str, Any] = {}
    for name in names:
        faults.update(FREE_FAULTS.get(name) or PAID_FAULTS[name])
    kills = [chosen.randrange(60), chosen.randrange(60)]
    labels, _, _ = undisturbed
    key = forge.fresh(**faults)
    context = f"seed {seed}: {names}, killed at {kills}"
    said = _run_until_done(forge, key, kills)
    _check_books(forge, key, f"{context}: {said}")
    assert forge.lab.labels() == labels, context


@pytest.mark.parametrize("seed", range(25))
def test_no_run_passes_its_budget_whatever_fails_and_dies(forge: Forge, undisturbed: Undisturbed, seed: int) -> None:
    chosen = random.Random(1000 + seed)
    [name] = chosen.sample([*FREE_FAULTS, *PAID_FAULTS], 1)
    key = forge.fresh(**(FREE_FAULTS.get(name) or PAID_FAULTS[name]))
    # three to six requests at their bound, of the six texts
    budget = Decimal("0.00013") * chosen.randrange(3, 7)
    kills = [chosen.randrange(60), chosen.randrange(60)]
    context = f"seed {seed}: {name}, killed at {kills}, budget {budget}"
    for kill_at in [*kills, *[None] * 12]:
        answer = forge.run(key, kill_at, grace_seconds=GRACE_SECONDS, budget_usd=str(budget), max_requests=2)
        assert answer["code"] in (-9, 0, 1, 4), (context, answer)
        if answer["code"] == 0:
            break
    else:
        raise AssertionError((context, answer))
    highest = highest_charges(forge.lab)
    assert max(highest.values()) <= budget, context
    _check_books(forge, key, context)
    assert forge.lab.labels() == undisturbed[0], context
