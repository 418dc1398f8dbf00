"""The demo on PostgreSQL: the same project, task and commands with another target."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.lab import ROOT
from tests.warehouse.server import PASSWORD, PostgresServer


def _command(folder: Path, environment: dict[str, str]) -> Callable[..., str]:
    def command(*arguments: str) -> str:
        where = ["--project-dir", str(folder / "dbt_project"), "--profiles-dir", str(folder), "--target", "postgres"]
        done = subprocess.run(
            [*arguments, *where], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return command


def test_the_demo_is_labelled_and_built_by_the_same_commands_on_postgres(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "dbt_project", tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target", ".dbt*"))
    shutil.copy(ROOT / "profiles.yml", tmp_path)
    packages = tmp_path / "dbt_project" / "packages.yml"
    packages.write_text(f"packages: [{{local: {ROOT / 'connector' / 'dbt_package'}}}]\n")
    (tmp_path / "dbt_project" / "package-lock.yml").unlink(missing_ok=True)
    seed = tmp_path / "dbt_project" / "seeds" / "raw_comments.csv"
    odd = {"odd1": "x" * 100_000, "odd2": 'two\nlines, "quoted"\nand \\ three\n\n', "odd3": "it's 100% %s"}
    with seed.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([key, "forum", "A Film", "a", "2026-09-01 10:00:00", text] for key, text in odd.items())

    database = postgres.new_database()
    environment = {"DBT_LABELS_POSTGRES_HOST": "127.0.0.1", "DBT_LABELS_POSTGRES_PORT": str(postgres.port)}
    environment |= {"DBT_LABELS_POSTGRES_USER": "tester", "DBT_LABELS_POSTGRES_DATABASE": database}
    command = _command(tmp_path, environment | {"DBT_ENV_SECRET_POSTGRES_PASSWORD": PASSWORD})
    dbt = str(Path(sys.executable).with_name("dbt"))
    command(dbt, "deps")
    command(dbt, "--quiet", "build")

    label = [sys.executable, "-m", "connector", "build", "--local", "--yes", "--json"]
    said = command(*label)
    assert PASSWORD not in said
    pending = "select count(*) from films.comments_to_label"
    assert postgres.sql(database, pending) == [(0,)]
    [(labelled,)] = postgres.sql(
        database, "select count(*) from films_labels.comment_labels where outcome = 'labelled'"
    )
    assert labelled > 620
    kept = postgres.sql(
        database, "select comment_id, comment_text from films.raw_comments where comment_id like 'odd%'"
    )
    assert dict(kept) == odd
    for mart in ("daily_sentiment", "theme_sentiment", "intent_mix", "comment_themes", "label_coverage"):
        assert postgres.sql(database, f"select count(*) from films.{mart}") > [(0,)]
    assert postgres.sql(database, "select count(*) from films.label_quality where metric = 'n' and value > 300") == [
        (3,)
    ]

    command(dbt, "--quiet", "build", "--full-refresh")
    assert postgres.sql(database, pending) == [(0,)]
    assert '"submitted": []' in command(*label)
