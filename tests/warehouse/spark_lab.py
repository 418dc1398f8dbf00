"""The small project on Spark: on a Connect server, or in a session of the test's own process."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from tests.lab import SMALL, Bench, Lab

_NAMED = re.compile(r"\b\w+\.\w+\b")


@dataclass(frozen=True)
class Catalog:
    """Where the tables are: on the Connect server `remote`, or in a session of this process with these `parameters`."""

    remote: str | None
    parameters: dict[str, str]

    def enter(self) -> None:
        """Have this process use it, whatever tests of other packages did to the environment meanwhile."""
        if self.remote is not None:
            os.environ["SPARK_REMOTE"] = self.remote


class SparkLab(Lab):
    """A copy of the small project in a folder of its own; all of them share one catalog, so there is one at a time."""

    has_transactions = False
    schema_names = re.compile("[A-Za-z0-9_]+")
    failing = "case when body like 'no%' then raise_error(body) else body end"

    def __init__(self, folder: Path, catalog: Catalog, template: Path = SMALL) -> None:
        super().__init__(folder, template)
        self.catalog = catalog
        output = {"type": "spark", "method": "session", "host": "none", "threads": 1}
        output |= {"server_side_parameters": catalog.parameters}
        outputs = {"dev": output | {"schema": "main"}, "other": output | {"schema": "other"}}
        profile = yaml.safe_load((self.folder / "dbt_project.yml").read_text())["profile"]
        (self.folder / "profiles.yml").write_text(yaml.safe_dump({profile: {"target": "dev", "outputs": outputs}}))

    @property
    def spark(self) -> Any:
        """Return the session that dbt uses in this process."""
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.enableHiveSupport()
        for name, value in self.catalog.parameters.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()

    def ddl(self, statement: str) -> str:
        for name, theirs in (("varchar", "string"), ("text", "string"), ("timestamp", "timestamp_ntz")):
            statement = re.sub(rf"\b{name}\b", theirs, statement)
        return statement.replace("double precision", "double")

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        spark = self.spark
        for name in set(_NAMED.findall(statement)):
            with suppress(Exception):  # no table
                spark.catalog.refreshTable(name)
        statement = re.sub(r"^(drop table .*) cascade$", r"\1", statement)
        found = spark.sql(statement, args=list(parameters)) if parameters else spark.sql(statement)
        table = found.toArrow()
        return [tuple(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def add_comments(self, texts: Sequence[str | None]) -> None:
        self.sql("create schema if not exists raw")
        self.sql("create table if not exists raw.comments (comment_id string, comment_text string) using parquet")
        [(had,)] = self.sql("select count(*) from raw.comments")
        ids = [f"c{had + number}" for number in range(len(texts))]
        rows = pa.table({"comment_id": ids, "comment_text": pa.array(texts, pa.string())})
        self.spark.createDataFrame(rows).createOrReplaceTempView("added")
        self.sql("insert into raw.comments select /*+ coalesce(1) */ * from added")

    def clear(self, table: str) -> None:
        self.sql(f"truncate table {table}")

    def name_of(self, schema: str) -> str:
        return schema.lower()

    def schemas(self) -> list[str]:
        return [name for (name,) in self.sql("show schemas")]

    def tables(self, schema: str) -> list[str]:
        return [name for _, name, is_temporary in self.sql(f"show tables in `{schema}`") if not is_temporary]

    def drop_all(self) -> None:
        """Drop every schema but the one that can not be dropped."""
        for schema in self.schemas():
            if schema != "default":
                self.sql(f"drop schema `{schema}` cascade")


class SparkBench(Bench):
    """A lab that is built once; before each test its tables are made anew as they were, and its files."""

    def __init__(self, folder: Path, lab: SparkLab, texts: Sequence[str | None]) -> None:
        self._lab: SparkLab = lab
        self._texts = texts
        self._kept = folder / "kept"
        self._parsed = lab.project
        tables = [f"{schema}.{name}" for schema in ("main_labels", "main") for name in lab.tables(schema)]
        made = [lab.sql(f"show create table {table}")[0][0] for table in tables]
        # what is selected from is made first: here that is a table, or the staging view
        self._statements = sorted(made, key=lambda statement: ("VIEW" in statement[:20], "stg_" not in statement[:60]))
        shutil.copytree(lab.folder, self._kept / "project", symlinks=True)

    def restored(self) -> SparkLab:
        self._lab.catalog.enter()
        shutil.rmtree(self._lab.folder)
        shutil.copytree(self._kept / "project", self._lab.folder, symlinks=True)
        self._lab.drop_all()
        for schema in ("main", "main_labels"):
            self._lab.sql(f"create schema {schema}")
        self._lab.add_comments(self._texts)
        for statement in self._statements:
            self._lab.sql(statement)
        self._lab.restore(self._parsed)
        return self._lab
