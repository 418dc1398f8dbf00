"""Promises 1 to 3 under faults and kills at random: nothing is paid twice, nothing is lost, no budget is passed."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from tests.books import highest_charges
from tests.forge import Forge, Undisturbed
from tests.kills import FREE_FAULTS, GRACE_SECONDS, PAID_FAULTS, check_books, run_until_done
from tests.seeds import seeds


@pytest.mark.parametrize(
    ("seed", "transactions"),
    [*((seed, True) for seed in seeds(12, of=50)), *((seed, False) for seed in seeds(5, of=20, after=50))],
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
    said = run_until_done(forge, key, kills, transactions=transactions)
    check_books(forge, key, f"{context}: {said}")
    assert forge.lab.labels() == undisturbed.labels, context


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("wall", ["--budget-usd", "budget_usd", "budget_usd_per_month"])
@pytest.mark.parametrize("seed", seeds(2, of=8))
def test_no_run_passes_its_budget_whatever_fails_and_dies(
    forge: Forge, undisturbed: Undisturbed, seed: int, wall: str, rows: int
) -> None:
    chosen = random.Random(f"{seed} {wall} {rows}")
    # a packed request has other ids each time, so that `times` does not end what its row meets by chance
    endless = {name for name in FREE_FAULTS if rows > 1 and name.startswith("rows ")}
    [name] = chosen.sample(sorted({*FREE_FAULTS, *PAID_FAULTS} - endless), 1)
    key = forge.fresh(**(FREE_FAULTS.get(name) or PAID_FAULTS[name]))
    # three to six requests at their bound, of the six texts; a month has to pay for what failed as well
    is_monthly = wall == "budget_usd_per_month"
    budget = Decimal("0.00013") * (chosen.randrange(3, 7) + (6 if is_monthly else 0))
    kills = [chosen.randrange(60), chosen.randrange(60)]
    context = f"seed {seed}: {name}, killed at {kills}, {wall} {budget}, {rows} texts a request"
    task_run: dict[str, Any] = {"rows_per_request": rows}
    settings: dict[str, Any] = {"grace_seconds": GRACE_SECONDS, "max_requests": 2, "task_run": task_run}
    (settings if wall == "--budget-usd" else task_run)[wall.strip("-").replace("-", "_")] = str(budget)
    for kill_at in [*kills, *[None] * 12]:
        answer = forge.run(key, kill_at, **settings)
        assert answer["code"] in (-9, 0, 1, 4), (context, answer)
        if answer["code"] == 0:
            break
    else:
        raise AssertionError((context, answer))
    highest = highest_charges(forge.lab, together=is_monthly)
    assert max(highest.values()) <= budget, context
    check_books(forge, key, context)
    assert forge.lab.labels() == undisturbed.labels, context
