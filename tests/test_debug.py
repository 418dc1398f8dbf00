"""`dbt-labels debug`: what a run needs, one by one, and for each what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from connector import __version__
from tests.command import Command
from tests.lab import Lab, Server


def _bad(command: Command, *arguments: str) -> dict[str, Any]:
    """Return what is wrong by name; each says what to do."""
    said = command("debug", "--json", *arguments)
    checks = json.loads(said.out)
    bad = {check["name"]: check for check in checks if not check["ok"]}
    assert said.code == (1 if bad else 0)
    assert all(check["hint"] for check in bad.values()), bad
    return bad


def test_all_that_is_fine_is_said_one_by_one(lab: Lab, server: Server, command: Command) -> None:
    fine = command("debug")
    assert fine.code == 0, fine
    *said, key, model, price = fine.out.splitlines()
    assert said == [
        f"ok  project: small in {lab.folder}",
        "ok  profile: small",
        "ok  target: small.dev (duckdb)",
        f"ok  package: dbt_labels {__version__}, as this command",
        "ok  tasks: comments_to_label -> comment_labels",
        "ok  warehouse: it answers",
        "ok  tables: the ledger and every task's table are there",
        f"ok  base URL: {server.base_url}, by OPENAI_BASE_URL",
    ]
    assert re.fullmatch(r"ok  key: accepted by local \(dbt-labels-serve, proj_[0-9a-f]+\)", key), key
    assert model == "ok  model: gpt-6-luna"
    costs = r"ok  price: gpt-6-luna: \$[\d.]+ in, \$[\d.]+ out a million tokens in batches"
    assert re.fullmatch(rf"{costs} \(genai-prices gpt-6-luna\)", price), price


def test_profile_and_target_are_told_from_the_rest_and_the_provider_is_asked_all_the_same(
    lab: Lab, command: Command
) -> None:
    bad = _bad(command, "--target", "nope")
    assert set(bad) == {"profile"}
    assert "does not have a target named 'nope'" in bad["profile"]["found"]
    assert "`--target` or `target` in the profile names one" in bad["profile"]["hint"]
    (lab.folder / "models" / "broken.yml").write_text("models: [")
    names = [check["name"] for check in json.loads(command("debug", "--json").out)]
    assert names == ["project", "base URL", "key"]


def test_tables_key_and_package_are_each_named(lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    lab.sql("drop table main_labels.label_leases")
    assert set(_bad(command)) == {"tables", "key"}
    (lab.folder / "macros").mkdir()
    (lab.folder / "dbt_packages" / "dbt_labels").unlink()
    bad = _bad(command)
    assert "project" in bad


def test_a_retirement_that_was_announced_is_told_where_nobody_can_be_asked(
    lab: Lab, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    lab.edit_task(model="gpt-4o-mini")
    said = command("debug")
    assert said.code == 1
    assert "model: gpt-4o-mini: it is shut down on 2027-01-14; gpt-6-luna is named to follow it" in said.out
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.example:1/v1")
    assert "shut down" not in command("debug").out, "others keep a model for as long as they like"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("no url", "OPENAI_BASE_URL is not a URL"),
        ("http://127.0.0.1:9/v1", "no answer from http://127.0.0.1:9/v1"),
        ("{server}/nothing/here", " answered 404"),
    ],
)
def test_a_base_url_that_does_not_answer_is_not_called_a_wrong_key(
    server: Server, command: Command, monkeypatch: pytest.MonkeyPatch, url: str, found: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url.format(server=server.base_url))
    bad = _bad(command)
    assert set(bad) == {"base URL"}
    assert found in bad["base URL"]["found"]


def test_a_model_that_nobody_knows_has_no_price_which_is_wrong_where_there_is_a_budget(
    lab: Lab, command: Command
) -> None:
    lab.edit_task(model="gpt-nope")
    assert set(_bad(command)) == {"model"}
    said = command("debug")
    assert (
        "ok  price: the price of gpt-nope is not known\n    hint: say it in `price` of `comments_to_label`" in said.out
    )
    lab.edit_task(run={"budget_usd": 5})
    assert set(_bad(command)) == {"model", "price"}
    lab.edit_task(price={"input_usd_per_mtok": 0.5, "output_usd_per_mtok": 2})
    assert set(_bad(command)) == {"model"}
    assert "gpt-nope: $0.5 in, $2 out a million tokens in batches (the task's `price`)" in command("debug").out
