"""The tutorial, from its first line to its board, as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab import ROOT
from tests.page import shell, write_file

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_the_tutorial_leads_from_a_raw_table_to_a_board(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("dbt_charts")
    said = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL):
        if language == "bash":
            said.append(shell(tmp_path, block))
        elif language and not write_file(tmp_path, block):
            _put_beside_table(tmp_path / "models" / "labeling" / "reviews_to_label.yml", block)
        elif not language and "export OPENAI_API_KEY" not in block:
            for line in block.splitlines():
                assert line in said[-1]
    assert "accuracy" in said[-2]
    assert "Reviews by product and sentiment" in (tmp_path / "target" / "boards" / "reviews.html").read_text()


def _put_beside_table(task: Path, line: str) -> None:
    written = task.read_text()
    assert written.count("\n          table: ") == 1
    task.write_text(written.replace("\n          table: ", f"\n{line.rstrip()}\n          table: "))
