"""Bad input: each kind says what is wrong and what to do, nothing is sent and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from tests.command import Said
from tests.lab import Lab

MODEL = "models/comments_to_label.sql"
YAML = "models/comments_to_label.yml"
Command = Callable[..., Said]


def edit(lab: Lab, change: Callable[[dict[str, Any]], Any]) -> None:
    path = lab.folder / YAML
    document = yaml.safe_load(path.read_text())
    change(document["models"][0]["config"]["meta"]["dbt_labels"])
    path.write_text(yaml.safe_dump(document))


def set_pending(lab: Lab, sql: str) -> None:
    (lab.folder / MODEL).write_text(sql)


def refused(said: Said, *words: str, code: int = 1) -> None:
    assert said.code == code, said
    assert said.out == ""
    assert [line[:7] for line in said.err.splitlines()].count("Error: ") == 1
    assert "Traceback" not in said.err
    missing = [word for word in words if word not in said.err]
    assert not missing, f"{missing} not in:\n{said.err}"
