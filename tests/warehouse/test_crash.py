"""Promises 1 and 2 under SIGKILL on PostgreSQL, with its transactions and as an adapter of which nothing is known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contestant import CRASH
from tests.forge import COMMENTS, Forge, Undisturbed, killed_and_run_again
from tests.warehouse.labs import FORCED, DbapiLab, PostgresBench, PostgresLab, force_dbapi
from tests.warehouse.server import PostgresServer


@pytest.fixture(scope="module", params=["postgres", "dbapi"])
def forge(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("forge")
    forced = request.param == "dbapi"
    with pytest.MonkeyPatch.context() as patch:
        if forced:
            force_dbapi(patch)
        lab = (DbapiLab if forced else PostgresLab)(folder, postgres)
        lab.add_comments(COMMENTS)
        lab.build()
        made = Forge(folder, PostgresBench(folder, lab), [*FORCED, *CRASH] if forced else CRASH)
        yield made
        made.close()


def test_a_run_killed_before_or_after_any_commit_or_write_is_finished_by_the_next(forge: Forge) -> None:
    transactions = forge.lab.has_transactions
    undisturbed = Undisturbed(forge, transactions=transactions)
    # who is killed after one has done no more than who is killed before the next
    chosen = [
        place
        for place, name in enumerate(undisturbed.boundaries)
        if name.startswith("before") and (name.endswith("commit") or "label" in name or "POST" in name)
    ]
    assert len(chosen) > 10, undisturbed.boundaries
    assert len(list(killed_and_run_again(forge, undisturbed, chosen, transactions=transactions))) == len(chosen)
