"""Two runs at once against one PostgreSQL, from folders of their own as on two machines: nothing is paid for twice."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.contestant import CRASH, check_two_at_once
from tests.lab import Server
from tests.warehouse.labs import FORCED, PostgresLab

WAYS = 10


def test_of_two_runs_at_once_one_sends_and_the_other_says_who_holds_the_lease_and_since_when(
    postgres_lab: PostgresLab, server: Server, tmp_path: Path
) -> None:
    lab = postgres_lab
    shutil.copytree(lab.folder, tmp_path / "elsewhere", symlinks=True)
    check_two_at_once(lab, server, WAYS, [lab.folder, tmp_path / "elsewhere"])
    assert lab.sql("select count(*) from main_labels.label_leases") == [(0,)]


def test_without_transactions_it_is_the_same(dbapi_lab: PostgresLab, server: Server, tmp_path: Path) -> None:
    lab = dbapi_lab
    shutil.copytree(lab.folder, tmp_path / "elsewhere", symlinks=True)
    check_two_at_once(lab, server, WAYS // 2, [lab.folder, tmp_path / "elsewhere"], [*FORCED, *CRASH])
    alive = "select owner from main_labels.label_leases group by owner, taken_at having count(*) = count(until_at)"
    assert lab.sql(alive) == []
