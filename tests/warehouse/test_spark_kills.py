"""Promises 1 and 2 on Spark, where nothing is a transaction: killed between two writes, or in the middle of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.books import check_money
from tests.lab import KEY, ROOT, Server
from tests.limit import LONGEST_SECONDS
from tests.warehouse.spark_lab import SparkLab

# written in slices of two rows, so that the three claims are two slices, and so are the three labels
KILLS = {
    "before slice 2": "half of the claims are there",
    "before insert planned into label_events": "the claims are there",
    "before insert creating into label_events": "the file is uploaded",
    "after POST /v1/batches": "the batch is created, and nobody wrote it down",
    "before slice 4": "half of the labels are there",
    "before insert loaded into label_events": "all labels are there",
}


@pytest.mark.parametrize("kill_at", KILLS)
def test_a_run_on_spark_that_is_killed_is_finished_by_the_next(
    spark_lab: SparkLab, server: Server, kill_at: str
) -> None:
    if os.environ.get("DBT_LABELS_TEST_SPARK") == "session":
        pytest.skip("Spark's own metastore (Derby) lets one process in at a time")
    order = {"key": KEY, "base_url": server.base_url, "kill_at": kill_at, "transactions": False, "write_rows": 2}
    command = [sys.executable, "-m", "tests.crash", str(spark_lab.folder), "alone"]
    killed = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, cwd=ROOT, timeout=LONGEST_SECONDS, check=False
    )
    assert killed.returncode == -9, killed.stdout + killed.stderr

    assert spark_lab.run(server.provider()).problems == [], KILLS[kill_at]
    assert set(spark_lab.labels()) == {"Loved it", "Hated it", "The music was fine"}
    executed = Counter(row["content_sha256"] for row in server.executions())
    assert sorted(executed.values()) == [1, 1, 1], "each text is paid for once"
    assert spark_lab.sql("select count(*), count(distinct text_key) from main_labels.comment_labels") == [(3, 3)]
    assert not set(spark_lab.states()) - {"loaded", "released"}
    check_money(spark_lab)
    assert spark_lab.run(server.provider()).submitted == []
