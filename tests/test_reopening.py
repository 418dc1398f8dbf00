"""Reopening: a person puts back what was rejected or lost, and sees the price first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connector.run import Settings
from tests.command import QUICKLY, Said, run_command
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)
Command = Callable[..., Said]


@pytest.fixture
def command(lab: Lab, server: Server, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Give what runs a command on the lab with the server as provider."""
    monkeypatch.setenv("LAB_DUCKDB", str(lab.database))
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    return lambda *arguments: run_command(lab, capfd, *arguments)


def _reject_all(lab: Lab, server: Server) -> None:
    server.faults(row_refusal={"share": 1.0})
    assert lab.run(server.provider()).rejected == 3
    server.faults()


def test_rejections_for_a_reason_are_put_back_and_labelled_by_the_next_run(
    lab: Lab, server: Server, command: Command
) -> None:
    _reject_all(lab, server)
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 0

    said = command("retry", "--reason", "refused", "--yes", "--json")
    assert said.json == {"texts": 3, "batches": []}
    assert "task comments_to_label: 3 refused" in said.err
    assert "sending them again costs about $0.0" in said.err
    assert "at most $0.0" in said.err
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 3
    attempts = lab.sql("select outcome, attempt, count(*) from main_labels.comment_labels group by all order by 2, 1")
    assert attempts == [("rejected", 1, 3), ("reopened", 1, 3), ("labelled", 2, 3)]


def test_without_a_terminal_and_without_yes_nothing_is_put_back(lab: Lab, server: Server, command: Command) -> None:
    _reject_all(lab, server)
    said = command("retry", "--reason", "refused")
    assert (said.code, "3 refused" in said.err) == (2, True)
    assert lab.outcomes() == {"rejected:refused": 3}


def test_a_reason_that_nothing_has_is_an_error_that_names_those_there_are(
    lab: Lab, server: Server, command: Command
) -> None:
    _reject_all(lab, server)
    said = command("retry", "--reason", "invalid", "--yes")
    assert said.code == 2
    assert "nothing is rejected for `invalid`" in said.err
    assert "rejections there are: refused (3)" in said.err
    said = command("retry", "--yes")
    assert (said.code, "say what to try again: `--reason` or `--lost`" in said.err) == (2, True)
    assert lab.outcomes() == {"rejected:refused": 3}


def test_a_text_that_is_rejected_again_can_be_put_back_again(lab: Lab, server: Server, command: Command) -> None:
    for times in (1, 2):
        _reject_all(lab, server)
        assert command("retry", "--reason", "refused", "--yes", "--json").json["texts"] == 3
        assert lab.outcomes() == {"rejected:refused": 3 * times, "reopened:refused": 3 * times}
    assert command("retry", "--lost", "--yes", "--json").json == {"texts": 0, "batches": []}


def test_rejections_of_another_version_stay(lab: Lab, server: Server, command: Command) -> None:
    _reject_all(lab, server)
    lab.edit_task(version=2)
    assert "rejections there are: none" in command("retry", "--reason", "refused", "--yes").err
    assert lab.outcomes() == {"rejected:refused": 3}


def test_the_texts_of_a_lost_batch_are_held_until_they_are_put_back(lab: Lab, server: Server, command: Command) -> None:
    server.faults(content_404_first={"times": 1000})
    while lab.states() != ["ended"]:
        lab.run(server.provider(), ONCE)
    lab.sql("update main_labels.label_events set event_at = event_at - interval 31 day")
    lab.run(server.provider())
    assert lab.states() == ["lost"]
    server.faults()
    assert command("run", "--json", *QUICKLY).json["run"]["submitted"] == []

    said = command("retry", "--lost", "--yes", "--json")
    assert len(said.json["batches"]) == 1
    assert "3 of 1 lost batch, which may have been paid for" in said.err
    assert lab.states() == ["reopened"]
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 3
    assert sorted(lab.states()) == ["loaded", "reopened"]
