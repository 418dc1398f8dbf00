"""A full run by the command, in a process of its own, and then every trace of it: for the key and for the texts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pytest
import yaml

from connector.files import STATE_FOLDER
from tests.between import Between
from tests.command import QUICKLY
from tests.lab import ROOT, Lab
from tests.trust import KEY
from tests.trust.test_files import open_to_others

MARK = "nobody but the model may read this 7f3a"
TEXTS = [f"{MARK} one", f'{MARK} two\n"}}]', f"{MARK} three '; drop table x; --", f"{MARK} four \x1b[2J"]
# where texts belong: where they came from, and the views over it
_OF_TEXTS = {"raw.comments", "main.stg_comments", "main.comments_to_label"}


def processes() -> list[str]:
    """Return the command line of every process."""
    return [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]


class Witness:
    """Looks at the process list and at the private files each time the provider is asked."""

    def __init__(self, project: Path) -> None:
        self.processes: set[str] = set()
        self.files: set[str] = set()
        self.open: set[str] = set()
        self._folder = project / STATE_FOLDER

    def look(self, _: str) -> None:
        # the server of the tests has its accounts on its command line
        self.processes.update(line for line in processes() if "connector.local" not in line)
        self.files.update(path.suffix for path in self._folder.rglob("*"))
        self.open.update(open_to_others(self._folder))


@pytest.fixture
def witness(lab: Lab, between: Between) -> Witness:
    """Give one that has looked on from the first request."""
    lab.add_comments(TEXTS)
    lab.edit_task(run={"max_output_tokens": 50, "rows_per_request": 2})
    path = lab.folder / "models" / "comments_to_label.yml"
    block = yaml.safe_load(path.read_text())
    block["models"][0]["columns"] = [{"name": "comment_text", "data_tests": ["not_null"]}]
    path.write_text(yaml.safe_dump(block))
    seen = Witness(lab.folder)
    between.listen = seen.look
    return seen


def _call(lab: Lab, home: Path, base_url: str, *arguments: str) -> str:
    """Run the command with the key in its environment and every file made open; return all that it said."""
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "DBT"))}
    environment |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": base_url, "LAB_DUCKDB": str(lab.database)}
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    where = ["--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder)]
    done = subprocess.run(
        [sys.executable, "-m", "connector", "--debug", *arguments, *where],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment, umask=0,
    )  # fmt: skip
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and "dbt_packages" not in path.parts:
                yield path


def _rows(database: Path) -> Iterator[tuple[str, str]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        listed = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables"
        ).fetchall()
        for (table,) in listed:
            for row in connection.execute(f"select * from {table}").fetchall():
                yield table, repr(row)


def test_neither_key_nor_text_is_anywhere_but_in_the_warehouse_s_own_tables_and_at_the_provider(
    lab: Lab, between: Between, witness: Witness, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    between.server.faults(row_break_schema={"share": 0.3, "times": 1}, row_refusal={"share": 0.2, "times": 1})
    said = [
        _call(lab, home, between.base_url, "build", *QUICKLY),
        _call(lab, home, between.base_url, "status", "--json"),
    ]
    assert [part[:6] for part in said] == ["exit 0"] * 2, said
    lab.add_comments([f"{MARK} five"])
    said.append(_call(lab, home, "http://127.0.0.1:9/v1", "run", *QUICKLY))
    assert said[-1].startswith("exit 1")
    assert "Traceback" in said[-1]

    left = list(_files(lab.folder, home))
    assert {"dbt.log", "manifest.json", "run_results.json"} <= {path.name for path in left}
    rows = list(_rows(lab.database))
    assert {"main_labels.comment_labels", "main_labels.label_events", "main.label_batches"} <= {
        table for table, _ in rows
    }
    assert any(MARK in row for table, row in rows if table in _OF_TEXTS)
    places = {
        **{str(path): path.read_bytes() for path in left},
        "what was said": "".join(said).encode(),
        "the process list": "\n".join(witness.processes).encode(),
        "the names of files": "\n".join(map(str, left)).encode(),
        "the ledger": "\n".join(row for table, row in rows if table not in _OF_TEXTS).encode(),
    }
    assert [place for place, content in places.items() if KEY.encode() in content] == []
    assert [place for place, content in places.items() if MARK.encode() in content] == []
    assert KEY.encode() not in lab.database.read_bytes()

    assert any("connector --debug build" in process for process in witness.processes)
    assert {".arrow", ".jsonl"} <= witness.files
    assert witness.open == set()
    assert [path.name for path in (lab.folder / STATE_FOLDER / "work").iterdir()] == []


def test_a_query_of_forget_may_have_a_text_in_it_that_no_log_gets(
    lab: Lab, between: Between, witness: Witness, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert _call(lab, home, between.base_url, "build", *QUICKLY).startswith("exit 0")
    query = f"select sha256('{TEXTS[0]}') as text_key"
    said = _call(lab, home, between.base_url, "forget", "--query", query, "--yes")
    assert "1 text forgotten" in said
    left = {str(path): path.read_bytes() for path in _files(lab.folder, home)}
    assert any(path.endswith("dbt.log") and b"dbt parse" in content for path, content in left.items())
    assert [path for path, content in left.items() if MARK.encode() in content] == []


def test_a_key_that_stands_in_the_task_is_refused_before_it_is_kept_or_sent(
    lab: Lab, between: Between, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.edit_task(params={"user": KEY})
    said = _call(lab, tmp_path / "home", between.base_url, "run", "--yes")
    assert said.startswith("exit 1")
    assert "the key in OPENAI_API_KEY stands in the YAML of `comments_to_label`" in said
    assert KEY not in said
    assert between.asked == []
