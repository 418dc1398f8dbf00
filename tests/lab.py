"""A small dbt project on a DuckDB file and a local batch server to label it with: real parts, for tests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb
import yaml

from connector import pipeline
from connector.pipeline import Summary, Voice
from connector.provider import Provider
from connector.run import Settings
from connector.warehouse.project import Options, Project, parse_project
from tests.forked import start_server
from tests.limit import LONGEST_SECONDS, rounds

ROOT = Path(__file__).resolve().parent.parent
SMALL = ROOT / "tests" / "project"
KEY = "test-key"
QUICK = Settings(poll_seconds=0.01, grace_seconds=0.0)


class Server:
    """The local batch server in a process of its own, so that it can be killed and started again on its state."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir
        self.arguments = arguments
        self.base_url = ""
        self._process: ForkServerProcess | None = None

    def start(self) -> Server:
        always = ["--state-dir", str(self.state_dir), "--engine", "instant", "--token", KEY, "--token", "other-key"]
        self._process, self.base_url = start_server([*always, *self.arguments])
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def provider(self, key: str = KEY) -> Provider:
        return Provider(key, self.base_url)

    def control(self, method: str, path: str, body: Any = None, key: str = KEY) -> Any:
        """Call one of the server's own endpoints (`/local/...`) and return its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base_url.removesuffix("/v1") + path,
            data=data,
            method=method,
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=LONGEST_SECONDS) as response:
            return json.load(response)

    def faults(self, **faults: Any) -> None:
        """Replace the active faults."""
        self.control("PUT", "/local/faults", faults)

    def ended(self, status: str) -> None:
        """Wait until every batch there is has ended, with this status."""
        for _ in rounds():
            listed = self.control("GET", "/v1/batches?limit=100")["data"]
            if listed and all(batch["status"] == status for batch in listed):
                return

    def executions(self) -> list[dict[str, Any]]:
        """Return every request that was executed, in the shape the server documents."""
        answer = self.control("GET", "/local/executions")
        return answer if isinstance(answer, list) else answer["data"]


def _adapter_of(project: Project) -> tuple[str, ...]:
    """Tell which project, target, database and variables dbt's adapter in this process is for."""
    try:
        credentials = project._config.credentials
        database = getattr(credentials, "path", credentials.database)
        return str(project.folder), project.target, database, str(project._config.cli_vars)
    except (KeyError, AttributeError):
        return ()


class Lab:
    """A copy of the small project (or of another one) in a folder of its own, with its DuckDB file."""

    has_transactions = True
    # what a schema may be called: whatever can not end its quotes
    schema_names = re.compile("[^\"'`\\\\\0-\x1f\x7f]+")
    # fails for a text that is no number
    failing = "cast(body as bigint)"

    def __init__(self, folder: Path, template: Path = SMALL) -> None:
        self.folder = folder / "project"
        self.database = folder / "warehouse.duckdb"
        shutil.copytree(template, self.folder, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages", ".dbt*"))
        (self.folder / "dbt_packages").mkdir()
        (self.folder / "dbt_packages" / "dbt_labels").symlink_to(ROOT / "connector" / "dbt_package")
        (self.folder / "packages.yml").write_text(f"packages: [{{local: {ROOT / 'connector' / 'dbt_package'}}}]\n")
        os.environ["LAB_DUCKDB"] = str(self.database)
        self._project: Project | None = None
        self._adapter: tuple[str, ...] = ()

    def options(self, target: str | None = None, variables: str | None = None) -> Options:
        return Options(self.folder, self.folder, target, variables)

    @property
    def project(self) -> Project:
        """Return the parsed project; `edit_task` and `reparse` make it be parsed anew.

        So does a project that was parsed since: dbt has one adapter for a process, of the project it parsed last.
        """
        os.environ["LAB_DUCKDB"] = str(self.database)
        if self._project is None or _adapter_of(self._project) != self._adapter:
            self._project = parse_project(self.options())
            self._adapter = _adapter_of(self._project)
        return self._project

    def restore(self, parsed: Project) -> None:
        """Take what was parsed of the files as they are again."""
        self._project = replace(parsed)

    def reparse(self) -> Project:
        self._project = None
        return self.project

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            return connection.execute(statement, list(parameters) or None).fetchall()

    def add_comments(self, texts: Sequence[str | None]) -> None:
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("create schema if not exists raw")
            connection.execute("create table if not exists raw.comments (comment_id varchar, comment_text varchar)")
            had = connection.execute("select count(*) from raw.comments").fetchall()[0][0]
            rows = [[f"c{had + number}", text] for number, text in enumerate(texts)]
            connection.executemany("insert into raw.comments values (?, ?)", rows)

    def ddl(self, statement: str) -> str:
        """Return a `create table` with the engine's own names of types in place of DuckDB's."""
        return statement

    def clear(self, table: str) -> None:
        """Take every row out of a table."""
        self.sql(f"delete from {table}")

    def dbt(self, command: str, *arguments: str) -> None:
        self.project.run_dbt(command, *arguments)

    def build(self) -> None:
        """Run dbt up to the pending model, which makes the labels schema too."""
        self.dbt("build", "--select", "+comments_to_label")

    def edit_task(self, **changes: Any) -> None:
        """Change keys of the task's block and parse the project anew; None takes a key away."""
        path = self.folder / "models" / "comments_to_label.yml"
        document = yaml.safe_load(path.read_text())
        block = document["models"][0]["config"]["meta"]["dbt_labels"]
        for key, value in changes.items():
            if value is None:
                block.pop(key, None)
            else:
                block[key] = value
        path.write_text(yaml.safe_dump(document))
        self.reparse()

    def add_task(self) -> None:
        """Give the project a second task over the same comments, and a mart that reads its labels."""
        models = self.folder / "models"
        document = yaml.safe_load((models / "comments_to_label.yml").read_text())
        [first] = document["models"]
        task = {**first["config"]["meta"]["dbt_labels"], "table": "comment_moods"}
        task["fields"] = [{"name": "calm", "type": "boolean"}, {"name": "stars", "type": "integer", "min": 1, "max": 5}]
        document["models"].append({"name": "moods_to_label", "config": {"meta": {"dbt_labels": task}}})
        (models / "comments_to_label.yml").write_text(yaml.safe_dump(document))
        pending = (models / "comments_to_label.sql").read_text()
        (models / "moods_to_label.sql").write_text(pending.replace("comment_labels", "comment_moods"))
        (models / "moods.sql").write_text("select count(*) as texts from {{ source('labels', 'comment_moods') }}")
        sources = yaml.safe_load((models / "raw.yml").read_text())
        sources["sources"][1]["tables"].append({"name": "comment_moods"})
        (models / "raw.yml").write_text(yaml.safe_dump(sources))
        self.reparse()

    def move_table(self, table: str) -> None:
        """Give the task another table, in all that names it, and build."""
        raw, model = self.folder / "models" / "raw.yml", self.folder / "models" / "comments_to_label.sql"
        raw.write_text(raw.read_text().replace("comment_labels", table))
        model.write_text(model.read_text().replace('"comment_labels"', f'"{table}"'))
        self.edit_task(table=table)
        self.build()

    def run(self, provider: Provider, settings: Settings = QUICK, say: Any = None) -> Summary:
        """Run every task without any dbt command: what `dbt-labels run` does after staging."""
        voice = Voice(say or (lambda line: None), lambda batches: None, lambda plans: None)
        try:
            return pipeline.run(self.project, self.project.tasks, provider, settings, voice)
        finally:
            provider.close()

    def labels(self, version: int = 1) -> dict[str, tuple[Any, ...]]:
        """Return the labels by the text itself."""
        texts = self.sql("select distinct comment_text from raw.comments where comment_text is not null")
        by_key = {hashlib.sha256(text.encode()).hexdigest(): text for (text,) in texts}
        rows = self.sql(
            "select distinct text_key, sentiment, themes from main_labels.comment_labels"
            " where outcome = 'labelled' and version = ?",
            [version],
        )
        found = {by_key[row[0]]: row[1:] for row in rows if row[0] in by_key}
        assert len(found) == sum(row[0] in by_key for row in rows), "a text has two labels"
        return found

    def outcomes(self) -> dict[str, int]:
        """Return the rows of the labels' table by outcome and reason."""
        rows = self.sql(
            "select outcome || coalesce(':' || reason, ''), count(*) from main_labels.comment_labels group by 1"
        )
        return dict(rows)

    def name_of(self, schema: str) -> str:
        """Return the name under which the database has a schema."""
        return schema

    def schemas(self) -> list[str]:
        """Return every schema that is not the database's own."""
        found = self.sql("select distinct schema_name from information_schema.schemata")
        return [name for (name,) in found if not name.startswith(("pg_", "information_schema"))]

    def tables(self, schema: str) -> list[str]:
        """Return every table and view of a schema."""
        found = self.sql("select table_name from information_schema.tables where table_schema = ?", [schema])
        return [name for (name,) in found]

    def states(self) -> list[str]:
        """Return the state of every batch, oldest first, as the ledger's view has it."""
        with self.project.connect() as session:
            batches = session.macro("batches", events=session.relation("label_events"))
            rows = session.handle.rows(f"select state from ({batches}) as batches order by planned_at, batch_key")
        return [row["state"] for row in rows]


class Bench:
    """A lab that is built once and put back to how it was then before each test."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self._lab = lab
        self._kept = folder / "kept"
        self._parsed = lab.project
        shutil.copytree(lab.folder, self._kept / "project", symlinks=True)
        shutil.copy(lab.database, self._kept / "warehouse.duckdb")

    def restored(self) -> Lab:
        """Return the lab as it was."""
        shutil.rmtree(self._lab.folder)
        shutil.copytree(self._kept / "project", self._lab.folder, symlinks=True)
        self._lab.database.with_suffix(".duckdb.wal").unlink(missing_ok=True)
        shutil.copy(self._kept / "warehouse.duckdb", self._lab.database)
        self._lab.restore(self._parsed)
        os.environ["LAB_DUCKDB"] = str(self._lab.database)
        return self._lab
