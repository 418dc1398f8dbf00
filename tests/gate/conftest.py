"""Fixtures: a lab whose task has gold and a gate, built once and put back for each test."""

from __future__ import annotations

import pytest
import yaml

from tests.command import Command, run_command
from tests.environment import kept_environment  # noqa: F401
from tests.gate import ASKED, OUTSIDE, TEXTS, Gated
from tests.lab import Bench, Lab, Server


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, dict[str, str]]:
    """Give a bench with eight texts, gold that is empty and a gate, and what the instant engine says of each text."""
    folder = tmp_path_factory.mktemp("gate")
    lab = Lab(folder)
    lab.add_comments([*TEXTS, OUTSIDE])
    lab.sql("create table raw.gold (text_key varchar, comment_text varchar, sentiment varchar)")
    models = lab.folder / "models"
    raw = yaml.safe_load((models / "raw.yml").read_text())
    raw["sources"][0]["tables"].append({"name": "gold"})
    (models / "raw.yml").write_text(yaml.safe_dump(raw))
    (models / "gold_labels.sql").write_text('select * from {{ source("raw", "gold") }}')
    (models / "moods.sql").write_text("select sentiment from {{ source('labels', 'comment_labels') }}")
    lab.build()
    (folder / "server").mkdir()
    server = Server(folder / "server").start()
    try:
        lab.run(server.provider())
    finally:
        server.kill()
    answers = {text: values[0] for text, values in lab.labels().items()}
    for table in ("comment_labels", "label_claims", "label_events"):
        lab.sql(f"delete from main_labels.{table}")
    lab.sql("delete from raw.comments where comment_text = ?", [OUTSIDE])
    lab.edit_task(gold="gold_labels", price={"input_usd_per_mtok": "0.1", "output_usd_per_mtok": "0.4"})
    Gated(lab, answers).gate(**ASKED)
    lab.dbt("build", "--select", "+comments_to_label", "gold_labels", "--exclude", "test_name:label_quality")
    return Bench(folder, lab), answers


@pytest.fixture
def gated(made: tuple[Bench, dict[str, str]]) -> Gated:
    """Give the bench's lab as it was at first, with what the model will answer."""
    bench, answers = made
    lab = bench.restored()
    return Gated(lab, answers)


@pytest.fixture
def command(
    gated: Gated, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Give what runs a command on the lab with the server as provider, in this process."""
    monkeypatch.setenv("LAB_DUCKDB", str(gated.lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return lambda *arguments: run_command(gated.lab, capfd, *arguments)
