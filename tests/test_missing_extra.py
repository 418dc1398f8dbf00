"""A target whose extra is not installed: what is missing is told with the command that installs it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.lab import ROOT, Lab

# the interpreter finds these modules no more than where they are not installed
_WITHOUT = """
import sys

_, missing, *arguments = sys.argv

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in missing.split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from connector.cli import main
main(arguments)
"""
OUTPUTS = {
    "postgres": {"type": "postgres", "host": "h", "user": "u", "password": "p", "port": 5432, "dbname": "d"},
    "spark": {"type": "spark", "method": "session", "host": "h"},
    "snowflake": {"type": "snowflake", "account": "a", "user": "u"},
}


@pytest.mark.parametrize(
    ("target", "missing", "command"),
    [
        ("postgres", "dbt.adapters.postgres", "pip install 'dbt-labels[postgres]'"),
        ("postgres", "psycopg2", "pip install 'dbt-labels[postgres]'"),
        ("spark", "dbt.adapters.spark", "pip install 'dbt-labels[spark]'"),
        ("spark", "pyspark", "pip install 'dbt-labels[spark]'"),
        ("spark", "py4j", "pip install 'dbt-labels[spark]'"),
        ("snowflake", "dbt.adapters.snowflake", "pip install dbt-snowflake"),
    ],
)
def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    tmp_path: Path, target: str, missing: str, command: str
) -> None:
    if not missing.startswith("dbt.") and importlib.util.find_spec(f"dbt.adapters.{target}") is None:
        pytest.skip(f"dbt-{target} is not installed, so nothing of it can be missing")
    lab = Lab(tmp_path)
    outputs = {target: {**OUTPUTS[target], "schema": "main"}}
    (lab.folder / "profiles.yml").write_text(yaml.safe_dump({"small": {"target": target, "outputs": outputs}}))
    where = ["--project-dir", str(lab.folder), "--profiles-dir", str(lab.folder)]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, missing, "plan", *where], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done
    assert command in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
