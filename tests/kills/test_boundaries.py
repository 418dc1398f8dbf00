"""Promises 1 and 2 under SIGKILL: nothing is paid twice and nothing is lost, wherever a run dies."""

from __future__ import annotations

from tests.forge import Forge, Undisturbed, killed_and_run_again
from tests.kills import check_books


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
        check_books(forge, key, where)
