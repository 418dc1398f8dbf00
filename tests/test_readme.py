"""The README's commands, run as they stand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from connector.cli import cli
from tests.lab import ROOT
from tests.page import BIN, blocks, shell

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_demo_labels_the_comments_and_a_second_one_sends_nothing_but_new_rows(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert blocks(README, "bash")[0] == "make demo\n"
    for name in ("dbt_project", "profiles.yml", "Makefile", "pyproject.toml", "constraints.txt"):
        source = ROOT / name
        ignored = shutil.ignore_patterns("target", "logs", "dbt_packages", ".dbt_labels", "package-lock.yml")
        copy = (
            shutil.copytree(source, tmp_path / name, ignore=ignored)
            if source.is_dir()
            else shutil.copy(source, tmp_path)
        )
        assert Path(copy).exists()
    (tmp_path / "connector").symlink_to(ROOT / "connector")
    # the environment that runs this test stands in for .venv: what make installs is there
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    (tmp_path / ".venv" / ".demo").touch()

    said = shell(tmp_path, blocks(README, "bash")[0])
    assert "684 comments, 636 distinct texts" in said
    assert "627 labelled, 0 rejected, 0 in flight" in said
    assert "1 batch sent" in said
    for line in README.split("ends with\n\n```\n")[1].split("\n```")[0].splitlines()[:4]:
        assert line in said

    seed = tmp_path / "dbt_project" / "seeds" / "raw_comments.csv"
    with seed.open("a", encoding="utf-8") as rows:
        rows.write("new-1,reddit,Lantern Six,me,2026-11-01 10:00:00,A comment nobody wrote before\n")
        rows.write("new-2,reddit,Lantern Six,me,2026-11-01 10:01:00,first\n")
    said = shell(tmp_path, "make demo")
    assert "1 batch sent, 1 labelled" in said
    said = shell(tmp_path, "make demo")
    assert "0 batches sent, 0 labelled" in said
    assert "nothing is pending" in said
    for line in said.split("Look further:")[1].strip().splitlines():
        shell(tmp_path, line)


def test_ci_runs_the_readmes_test_command() -> None:
    assert blocks(README, "bash")[1] == "make test\n"
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "exec make test"


def test_the_three_steps_label_a_project_that_is_not_ours(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "dbt_project.yml").write_text(
        "{name: shop, version: '1.0', profile: shop, model-paths: [models], seed-paths: [seeds]}"
    )
    (tmp_path / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, schema: analytics}}}"
    )
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "reviews.csv").write_text(
        "id,comment_text\n1,Great quality\n2,Never arrived\n3,Never arrived\n"
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "stg_comments.sql").write_text("select * from {{ ref('reviews') }}")
    start, sync, label = blocks(README, "bash")[2:5]
    said = shell(tmp_path, start.replace("pip install dbt-labels\n", ""))
    assert "packages.yml: 2 lines more, `packages:` `- local: packages/dbt_labels`" in said
    written = (tmp_path / "models" / "labeling" / "comments_to_label.yml").read_text()
    assert blocks(README, "yaml")[0] in written
    script = f"{sync}{label.replace('build', 'build --local')}"
    said = shell(tmp_path, script.replace("dbt-labels debug", "dbt-labels debug || true  # there is no key"))
    assert "2 labelled, 0 rejected" in said


def test_every_command_is_in_the_readme() -> None:
    for name in cli.commands:
        assert f"| `dbt-labels {name}` |" in README
