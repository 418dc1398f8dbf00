"""A paused task sends nothing; what was sent is still collected."""

from __future__ import annotations

import pytest

from connector.run import Settings
from tests.command import run_command
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def test_a_paused_task_collects_and_sends_nothing_and_says_so(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.faults(row_not_json={"share": 1.0, "times": 1})
    lab.run(server.provider(), ONCE)
    lab.edit_task(run={"max_output_tokens": 50, "max_attempts": 3, "paused": True})
    lab.add_comments(["one that came later"])

    # nobody agreed to anything, and nobody has to: nothing can be spent
    said = run_command(lab, capfd, "run", "--poll-seconds", "0.01", "--grace-seconds", "0", "--json")
    assert "paused: nothing is sent" in said.err
    assert (said.json["run"]["submitted"], lab.states()) == ([], ["loaded"])
    assert lab.outcomes() == {"failed:invalid": 3}
    [planned] = run_command(lab, capfd, "plan", "--json").json
    assert (planned["paused"], planned["pending"], planned["texts"]) == (True, {"new": 1, "retry": 3}, 0)
    assert (planned["requests"], planned["expected_usd"]) == (0, "0")
    assert run_command(lab, capfd, "build", "--json").json["run"]["submitted"] == []

    lab.edit_task(run={"max_output_tokens": 50, "max_attempts": 3})
    assert lab.run(server.provider()).labelled == 4


def test_a_budget_without_a_price_keeps_no_paused_task_from_collecting(
    lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    lab.run(server.provider(), ONCE)
    lab.edit_task(model="nobody-knows-its-price", run={"max_output_tokens": 50, "paused": True, "budget_usd": 1})
    assert run_command(lab, capfd, "run", "--poll-seconds", "0.01", "--json").json["run"]["labelled"] == 3
