"""Promises 1 and 2 under SIGKILL: nothing is paid twice and nothing is lost, wherever a run dies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.books import check_money, highest_charges
from tests.forge import COMMENTS, Forge, Undisturbed, killed_and_run_again
from tests.lab import Bench, Lab


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("forge")
    lab = Lab(folder)
    lab.add_comments(COMMENTS)
    lab.build()
    made = Forge(folder, Bench(folder, lab))
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(forge: Forge) -> Undisturbed:
    return Undisturbed(forge)


def test_a_run_killed_before_or_after_any_call_or_commit_is_finished_by_the_next(
    forge: Forge, undisturbed: Undisturbed
) -> None:
    boundaries = undisturbed.boundaries
    assert {"commit", "POST", "GET"} <= {name.split()[1] for name in boundaries}
    assert len(list(killed_and_run_again(forge, undisturbed, range(len(boundaries))))) == len(boundaries)


def test_without_transactions_a_run_killed_before_or_after_any_single_write_is_finished_by_the_next(
    forge: Forge,
) -> None:
    undisturbed = Undisturbed(forge, transactions=False)
    written = {name.removeprefix("after ") for name in undisturbed.boundaries if "after" in name and "label" in name}
    assert len(written) > 8, written
    writes = [place for place, name in enumerate(undisturbed.boundaries) if "label" in name]
    for key, where in killed_and_run_again(forge, undisturbed, writes, transactions=False):
        _check_books(forge, key, where)


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


def _run_until_done(forge: Forge, key: str, kills: list[int] = [], **settings: Any) -> list[str]:  # noqa: B006 - only read
    """Run again and again as a person would; return what the last run said."""
    for kill_at in [*kills, *[None] * 8]:
        answer = forge.run(key, kill_at, grace_seconds=GRACE_SECONDS, **settings)
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
    faults = {**FREE_FAULTS, **PAID_FAULTS, **FINAL_FAULTS}[name]
    key = forge.fresh(**faults)
    _run_until_done(forge, key)
    _check_books(forge, key, name)
    if name not in FINAL_FAULTS:
        assert forge.lab.labels() == undisturbed.labels
    else:
        assert set(forge.lab.labels().items()) < set(undisturbed.labels.items())
    if name in FREE_FAULTS:
        assert forge.executed(key) == undisturbed.executed


@pytest.mark.parametrize(
    ("seed", "transactions"), [*((seed, True) for seed in range(50)), *((seed, False) for seed in range(50, 70))]
)
def test_two_faults_and_two_kills_at_random_cost_no_text_and_no_second_payment(
    forge: Forge, undisturbed: Undisturbed, seed: int, transactions: bool
) -> None:
    chosen = random.Random(seed)
    names = chosen.sample([*FREE_FAULTS, *PAID_FAULTS], 2)
    faults: dict[str, Any] = {}
    for name in names:
        faults.update(FREE_FAULTS.get(name) or PAID_FAULTS[name])
    kills = [chosen.randrange(60), chosen.randrange(60)]
    key = forge.fresh(**faults)
    context = f"seed {seed}: {names}, killed at {kills}"
    said = _run_until_done(forge, key, kills, transactions=transactions)
    _check_books(forge, key, f"{context}: {said}")
    assert forge.lab.labels() == undisturbed.labels, context


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
    assert forge.lab.labels() == undisturbed.labels, context
