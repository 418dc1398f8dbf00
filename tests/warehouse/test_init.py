"""`dbt-labels init` on the shop's project where its warehouse is a server: from nothing to labels."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.adoption.shop import Shop
from tests.warehouse.server import PostgresServer
from tests.warehouse.spark_server import SparkServer

_PROFILE = "corner_shop_warehouse"


@dataclass(frozen=True)
class PostgresShop(Shop):
    """The shop on PostgreSQL."""

    server: PostgresServer
    name: str

    @property
    def environment(self) -> dict[str, str]:
        return {"DBT_ENV_SECRET_SHOP": self.server.password}

    def make(self) -> None:
        super().make()
        output = {"type": "postgres", "host": "127.0.0.1", "port": self.server.port, "user": "tester", "threads": 2}
        output |= {"password": "{{ env_var('DBT_ENV_SECRET_SHOP') }}", "dbname": self.name, "schema": "analytics"}
        _write_profile(self.folder, output)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.sql(self.name, statement)


@dataclass(frozen=True)
class SparkShop(Shop):
    """The shop on a Spark Connect server."""

    server: SparkServer

    @property
    def environment(self) -> dict[str, str]:
        return {"SPARK_REMOTE": self.server.remote}

    def make(self) -> None:
        super().make()
        output = {"type": "spark", "method": "session", "host": "none", "schema": "analytics", "threads": 1}
        _write_profile(self.folder, output)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        # a process has one session, and that may be the one of other tests
        asked = (
            "import sys; from pyspark.sql import SparkSession as S; s = S.builder.remote(sys.argv[1]).getOrCreate();"
        )
        asked += " print([tuple(row) for row in s.sql(sys.argv[2]).collect()])"
        command = [sys.executable, "-c", asked, self.server.remote, statement]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = ast.literal_eval(done.stdout)
        assert isinstance(found, list)
        return found


def _write_profile(folder: Path, output: dict[str, Any]) -> None:
    (folder / "profiles.yml").write_text(yaml.safe_dump({_PROFILE: {"target": "dev", "outputs": {"dev": output}}}))


@pytest.fixture(params=["postgres", "spark"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Give the shop on each engine in turn, its packages installed and its models built."""
    folder = tmp_path / "shop"
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        made: Shop = PostgresShop(folder, server, server.new_database())
    else:
        made = SparkShop(folder, request.getfixturevalue("spark_server"))
    made.make()
    made.done("dbt", "deps")
    made.done("dbt", "build")
    return made


def test_init_then_dbt_deps_then_build_labels_a_project_on_a_server(shop: Shop) -> None:
    pytest.importorskip("onnxruntime")
    shop.label()
    shop.done("dbt", "build")
