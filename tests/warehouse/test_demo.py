"""The demo on PostgreSQL: the same project, task and commands with another target."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ROOT
from tests.page import BIN
from tests.warehouse.demos import DBT, LABELS, Demo
from tests.warehouse.labs import FORCED
from tests.warehouse.server import PostgresServer

ODD = {"odd1": "x" * 100_000, "odd2": 'two\nlines, "quoted"\nand \\ three\n\n', "odd3": "it's 100% %s"}


@pytest.mark.parametrize("labels", [LABELS, (sys.executable, "-m", *FORCED, "connector")], ids=["postgres", "dbapi"])
def test_the_demo_is_labelled_and_built_by_the_same_commands_on_postgres(
    postgres: PostgresServer, tmp_path: Path, labels: Sequence[str]
) -> None:
    database = postgres.new_database()
    environment = {"DBT_LABELS_POSTGRES_HOST": "127.0.0.1", "DBT_LABELS_POSTGRES_PORT": str(postgres.port)}
    environment |= {"DBT_LABELS_POSTGRES_USER": "tester", "DBT_LABELS_POSTGRES_DATABASE": database}
    environment |= {"DBT_ENV_SECRET_POSTGRES_PASSWORD": postgres.password, "PYTHONPATH": str(ROOT)}
    demo = Demo(tmp_path, "postgres", {**environment}, labels)
    demo.add_comments(ODD)
    demo.command(DBT, "--quiet", "build")

    demo.label()
    pending = "select count(*) from films.comments_to_label"
    assert postgres.sql(database, pending) == [(0,)]
    [(labelled,)] = postgres.sql(
        database, "select count(*) from films_labels.comment_labels where outcome = 'labelled'"
    )
    assert labelled > 620
    kept = postgres.sql(
        database, "select comment_id, comment_text from films.raw_comments where comment_id like 'odd%'"
    )
    assert dict(kept) == ODD
    for mart in ("daily_sentiment", "theme_sentiment", "intent_mix", "comment_themes", "label_coverage"):
        assert postgres.sql(database, f"select count(*) from films.{mart}") > [(0,)]
    assert postgres.sql(database, "select count(*) from films.label_quality where metric = 'n' and value > 300") == [
        (3,)
    ]
    if labels == LABELS:
        share = "round(avg((sentiment = 'positive')::int), 6)"
        _look(
            demo, postgres.sql(database, f"select platform, {share} from films.comments_labelled group by 1 order by 1")
        )

    demo.command(DBT, "--quiet", "build", "--full-refresh")
    assert postgres.sql(database, pending) == [(0,)]
    assert demo.label()["submitted"] == []


def _look(demo: Demo, shares: list[tuple[Any, ...]]) -> None:
    """Draw the boards and ask for a metric, with what is installed of the two."""
    if (BIN / "dct").exists():
        demo.look("dbt", "--quiet", "parse")
        drawn = ("--no-cache", "--format", "html", "--output", "target/boards/{stem}.html")
        demo.look("dct", "render", "charts/comments.yml", "charts/labels.yml", *drawn)
        page = (demo.folder / "dbt_project" / "target" / "boards" / "comments.html").read_text()
        for platform, share in shares:
            assert re.search(rf">{platform}<", page)
            assert f">{float(share) * 100:.1f}<" in page
    if (BIN / "mf").exists():
        by = ("--group-by", "comment__platform", "--order", "comment__platform", "--decimals", "6")
        said = demo.look("mf", "query", "--metrics", "positive_share", *by)
        found = re.findall(r"^(\w+) +([\d.]+)$", said, re.MULTILINE)
        assert [(platform, float(share)) for platform, share in found] == [
            (name, float(share)) for name, share in shares
        ]
