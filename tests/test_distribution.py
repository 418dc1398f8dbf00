"""What is published: the sdist is the repository, the wheel is all that somebody needs who has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import matrix
from tests.distribution import build
from tests.lab import ROOT
from tests.limit import LONGEST_SECONDS

# what working in a clone leaves behind; none of it may be published
RUBBISH = (
    "connector/__pycache__/task.cpython-311.pyc",
    "connector/local/state.duckdb",
    "dbt_project/.dbt_labels/work/texts.jsonl",
    "dbt_project/.user.yml",
    "dbt_project/dbt_packages/dbt_labels/dbt_project.yml",
    "dbt_project/logs/dbt.log",
    "dbt_project/package-lock.yml",
    "dbt_project/target/manifest.json",
    ".matrix/row/log",
    "demo.duckdb",
)


class Published(NamedTuple):
    """A copy of the repository, the names of its files, and what was built from it."""

    source: Path
    files: set[str]
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    if not (ROOT / ".git").exists():
        pytest.skip("only a clone knows which files are the repository's")
    source = tmp_path_factory.mktemp("source")
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {name for name in found if name and (ROOT / name).exists()}
    for name in files | set(RUBBISH):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name in files:
            shutil.copy(ROOT / name, source / name)
        else:
            (source / name).write_text("rubbish")
    return Published(source, files, *build(source, tmp_path_factory.mktemp("dist")))


def test_the_core_of_the_tests_that_the_matrix_runs_is_there_and_its_table_is_the_readmes() -> None:
    collect = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *matrix.CORE]
    # what somebody adds to the outer run, as `-v`, would change what the inner one says
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_SECONDS, env=plain)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for selected in matrix.CORE:
        assert f"\n{selected}" in f"\n{done.stdout}", selected
    assert matrix.HEADER in (ROOT / "README.md").read_text(encoding="utf-8")


def _wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_sdist_is_the_repository_and_nothing_that_working_in_it_leaves(published: Published) -> None:
    with tarfile.open(published.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held == published.files | {"PKG-INFO"}


def test_the_wheel_holds_the_program_the_dbt_package_the_demo_and_the_licence_alone(published: Published) -> None:
    wanted = {name for name in published.files if name.startswith("connector/")}
    demo = {name for name in published.files if name.startswith("dbt_project/")} | {"profiles.yml"}
    wanted |= {f"connector/demo/{name}" for name in demo}
    assert "connector/dbt_package/macros/settled.sql" in wanted
    assert "connector/demo/dbt_project/prompts/comments.md" in wanted
    names = _wheel_names(published.wheel)
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == wanted
    assert {name.partition("/")[2] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_wheel_that_is_built_from_the_sdist_is_the_same_to_the_byte(published: Published, tmp_path: Path) -> None:
    with tarfile.open(published.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()
    _, wheel = build(unpacked, tmp_path / "again")
    assert wheel.read_bytes() == published.wheel.read_bytes()


def test_the_demo_of_the_wheel_finds_the_wheels_dbt_package_and_no_clone(published: Published, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(published.wheel) as archive:
        archive.extractall(site)
    shutil.copytree(site / "connector" / "demo", folder)
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(("DBT_", "LAB_", "OPENAI"))}
    package = {"DBT_LABELS_PACKAGE": str(site / "connector" / "dbt_package"), "PYTHONPATH": str(site)}

    def run(module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments, "--project-dir", "dbt_project"]
        done = subprocess.run(command, cwd=folder, env=surroundings | package, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert str(site) in run("dbt.cli.main", "deps")
    assert "labels.yml fits the tasks" in run("connector", "sync", "--check")
