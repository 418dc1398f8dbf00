"""A shop's dbt project that knows nothing of dbt-labels, and the ways to use it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt.cli.main import dbtRunner

from tests.lab import ROOT
from tests.limit import LONGEST_SECONDS
from tests.page import shell_environment

ASKED = ("--model", "stg_reviews", "--text", "review_text")
INIT = ("init", *ASKED)
PACKAGE = "packages/dbt_labels/"
TEMPLATE = ROOT / "tests" / "shop"
REVIEWS = ["Great tea, friendly staff", "Cold toast, never again", "Cold toast, never again", "It is a shop", None]


def _raw_tables() -> Iterator[str]:
    """Yield what makes the tables that the shop's system exports, on any engine."""
    yield "create schema if not exists raw"
    yield "create table raw.raw_orders as select 1 as id, 'Ada' as customer, 450 as subtotal"
    rows = ", ".join(
        f"({number}, 1, {'null' if text is None else repr(text)}, timestamp '2026-09-01 00:00:00')"
        for number, text in enumerate(REVIEWS)
    )
    named = "reviews (id, order_id, body, created)"
    yield f"create table raw.raw_reviews as select * from (values {rows}) as {named}"


@dataclass(frozen=True)
class Shop:
    """A copy of the project in a folder of its own, on DuckDB; `environment` is what its profile reads."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder.parent / f"{self.folder.name}.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        return {"SHOP_DUCKDB": str(self.database)}

    def make(self) -> None:
        """Copy the template and fill the raw tables."""
        shutil.copytree(TEMPLATE, self.folder, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"))
        for statement in _raw_tables():
            self.sql(statement)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder, as a person does, with no terminal."""
        environment = shell_environment(**self.environment, **variables)
        around: dict[str, Any] = {"cwd": self.folder, "env": environment, "stdin": subprocess.DEVNULL}
        return subprocess.run(command, **around, capture_output=True, text=True, timeout=LONGEST_SECONDS)

    def done(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed and return what it said on stdout."""
        ended = self.run(*command, **variables)
        assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def dbt(self, *command: str) -> None:
        """Run a dbt command in this process; it has to succeed."""
        where = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        os.environ.update(self.environment)
        ended = dbtRunner().invoke([*command, *where, "--quiet"])
        assert ended.success, ended.exception or ended.result

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            return connection.execute(statement).fetchall()

    def files(self) -> dict[str, bytes]:
        """Return every file but what dbt and the command make while they run."""
        not_ours = ("target", "logs", "dbt_packages", ".dbt_labels")
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
            and path.relative_to(self.folder).parts[0] not in not_ours
            and path.name not in ("package-lock.yml", ".user.yml")
        }

    def label(self) -> None:
        """Do what the documentation says from `init` to labels; hold the project and the labels to it."""
        before = self.files()
        said = self.done("dbt-labels", *INIT, "--age", "reviewed_at")
        assert "packages.yml: one line more, `- local: packages/dbt_labels`" in said
        after = self.files()
        assert {name for name in before if after.get(name) != before[name]} == {"packages.yml"}
        ours = {name for name in after.keys() - before.keys() if not name.startswith(PACKAGE)}
        models = ("reviews_with_key", "reviews_to_label", "current_review_labels")
        assert ours == {
            "prompts/reviews.md",
            "transform/labeling/__sources.yml",
            *(f"transform/labeling/{name}.{kind}" for name in models for kind in ("sql", "yml")),
        }
        commands = [line.strip() for line in said.partition("Then:\n")[2].splitlines()]
        assert commands == ["dbt deps", "dbt-labels sync", "dbt-labels build --local"]
        for command in commands:
            self.done(*command.split())
        labels = "analytics_labels.review_labels where outcome = 'labelled'"
        assert self.sql(f"select count(*) from {labels}") == [(3,)]
        labelled = "analytics.current_review_labels where sentiment is not null"
        assert self.sql(f"select count(*) from {labelled}") == [(3,)]
        joined = "analytics.reviews_with_key join analytics.current_review_labels using (text_key)"
        assert self.sql(f"select count(*) from {joined}") == [(4,)], "each review finds the label of its text"
        self.done("dbt-labels", "sync", "--check")
