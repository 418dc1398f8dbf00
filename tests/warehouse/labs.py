"""Labs on other engines than DuckDB, with the same interface, so that one list of behaviours is held against each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.warehouse import project
from tests.lab import SMALL, Bench, Lab
from tests.warehouse.server import PostgresServer


class PostgresLab(Lab):
    """A copy of the small project in a folder of its own, on a database of its own; `sql` takes `?` like DuckDB's."""

    def __init__(self, folder: Path, server: PostgresServer, template: Path = SMALL) -> None:
        super().__init__(folder, template)
        self.server = server
        self.use(server.new_database())

    def use(self, database: str) -> None:
        """Use this database of the server."""
        self.name = database
        output = {"type": "postgres", "host": "127.0.0.1", "port": self.server.port, "user": "tester"}
        output |= {"password": self.server.password, "dbname": database, "threads": 1}
        outputs = {"dev": output | {"schema": "main"}, "other": output | {"schema": "other"}}
        profile = yaml.safe_load((self.folder / "dbt_project.yml").read_text())["profile"]
        (self.folder / "profiles.yml").write_text(yaml.safe_dump({profile: {"target": "dev", "outputs": outputs}}))

    def name_of(self, schema: str) -> str:
        return schema[:63]

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        marked = re.sub(r"\?", "%s", statement.replace("%", "%%")) if parameters else statement
        return self.server.sql(self.name, marked, parameters)

    def add_comments(self, texts: Sequence[str | None]) -> None:
        self.sql("create schema if not exists raw")
        self.sql("create table if not exists raw.comments (comment_id varchar, comment_text varchar)")
        [(had,)] = self.sql("select count(*) from raw.comments")
        ids = [f"c{had + number}" for number in range(len(texts))]
        self.sql("insert into raw.comments select * from unnest(?::text[], ?::text[])", [ids, list(texts)])


class DbapiLab(PostgresLab):
    """The same, used through its driver alone, as any adapter is that has no handle of its own."""

    has_transactions = False


# runs what follows, a module and its arguments, with PostgreSQL used as any adapter is
FORCED = ("tests.warehouse.forced",)


def force_dbapi(patch: pytest.MonkeyPatch) -> None:
    """Have PostgreSQL used in this process as an adapter that has no handle of its own."""
    patch.delitem(project._HANDLES, "postgres", raising=False)


class PostgresBench(Bench):
    """A lab that is built once; each test gets a copy of its database and the files as they were."""

    def __init__(self, folder: Path, lab: PostgresLab) -> None:
        self._lab: PostgresLab = lab
        self._kept = folder / "kept"
        self._parsed = lab.project
        self._template = lab.server.set_aside(lab.name)
        shutil.copytree(lab.folder, self._kept / "project", symlinks=True)

    def restored(self) -> PostgresLab:
        shutil.rmtree(self._lab.folder)
        shutil.copytree(self._kept / "project", self._lab.folder, symlinks=True)
        self._lab.server.copy_database(self._template, self._lab.name)
        self._lab.restore(self._parsed)
        return self._lab


COMMENTS = ["Loved it", "Hated it", "Loved it", "The music was fine", "  ", None]


def built(lab: Lab) -> Lab:
    """Give a lab six comments of four texts, one of them blank, and build it up to its pending model."""
    lab.add_comments(COMMENTS)
    lab.build()
    return lab
