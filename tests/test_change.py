"""Things change while batches are live: old answers are loaded as what they were asked as."""

from __future__ import annotations

import pytest

from connector.errors import UsageError
from connector.run import Settings
from tests.command import Command
from tests.lab import QUICK, Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=60.0, once=True)


def _in_flight(lab: Lab, server: Server) -> None:
    server.faults(slow=3600)
    lab.run(server.provider(), ONCE)
    assert lab.states() == ["submitted"]
    server.faults(slow=0)


def test_fields_edited_while_a_batch_is_live_do_not_touch_its_answers(lab: Lab, server: Server) -> None:
    _in_flight(lab, server)
    fields = [
        {"name": "mood", "type": "one_of", "values": ["happy", "sad"]},
        {"name": "sentiment", "type": "one_of", "values": ["good", "bad"]},
    ]
    lab.edit_task(fields=fields)
    lab.build()
    summary = lab.run(server.provider())
    assert (summary.labelled, summary.submitted) == (3, [])
    rows = lab.sql("select distinct sentiment, mood from main_labels.comment_labels")
    assert {row[0] for row in rows} <= {"positive", "negative", "neutral"}
    assert {row[1] for row in rows} == {None}


def test_a_version_raised_while_a_batch_is_live_gets_both_versions(lab: Lab, server: Server) -> None:
    _in_flight(lab, server)
    lab.edit_task(version=2, instructions="Label it anew.")
    lab.build()
    lab.run(server.provider())
    assert lab.labels(1).keys() == lab.labels(2).keys() == {"Loved it", "Hated it", "The music was fine"}
    hashes = dict(lab.sql("select distinct version, prompt_hash from main_labels.comment_labels"))
    assert hashes[1] != hashes[2]
    assert len(server.executions()) == 6


def test_an_edited_text_is_a_new_one_and_the_old_answer_stays_with_the_old(lab: Lab, server: Server) -> None:
    _in_flight(lab, server)
    lab.sql("update raw.comments set comment_text = 'Hated it. Edit: no.' where comment_text = 'Hated it'")
    lab.run(server.provider())
    assert "Hated it. Edit: no." in lab.labels()
    keys = {row[0] for row in lab.sql("select text_key from main_labels.comment_labels where outcome = 'labelled'")}
    assert len(keys) == 4


def test_a_task_taken_away_while_a_batch_is_live_still_gets_its_answers(lab: Lab, server: Server) -> None:
    _in_flight(lab, server)
    lab.move_table("moved_labels")
    with pytest.raises(UsageError, match="had texts in another table"):
        lab.run(server.provider())
    assert lab.sql("select count(*) from main_labels.comment_labels where outcome = 'labelled'") == [(3,)]
    assert len(server.executions()) == 3

    settings = Settings(poll_seconds=0.01, grace_seconds=0.0, confirmed=frozenset({"moved-table"}))
    assert lab.run(server.provider(), settings).labelled == 3


def test_labels_of_another_provider_stop_the_run_until_confirmed(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.sql("update main_labels.label_events set provider = 'https://elsewhere.example/v1'")
    lab.add_comments(["A new one"])
    with pytest.raises(UsageError, match=r"3 by https://elsewhere\.example/v1"):
        lab.run(server.provider())
    assert len(server.executions()) == 3
    confirmed = Settings(poll_seconds=0.01, grace_seconds=0.0, confirmed=frozenset({"other-provider"}))
    assert lab.run(server.provider(), confirmed).labelled == 1


def test_texts_that_arrive_during_a_run_wait_for_the_next(lab: Lab, server: Server) -> None:
    arrived = False

    def say(line: str) -> None:
        nonlocal arrived
        if "submitted" in line and not arrived:
            arrived = True
            lab.add_comments(["Came in between"])

    assert lab.run(server.provider(), QUICK, say).labelled == 3
    assert lab.run(server.provider()).labelled == 1


def test_a_lowered_version_pays_again_only_for_who_says_so(lab: Lab, server: Server, command: Command) -> None:
    lab.edit_task(version=3)
    lab.build()
    assert lab.run(server.provider()).labelled == 3
    lab.edit_task(version=2)
    lab.build()
    assert (
        "note: 3 texts of those have labels of version 3: `version: 3` would send none of them" in command("plan").out
    )
    with pytest.raises(UsageError, match="3 texts that would be sent as version 2 have labels of version 3"):
        lab.run(server.provider())
    assert len(server.executions()) == 3
    lab.add_comments(["Something new"])
    settings = Settings(poll_seconds=0.01, grace_seconds=0.0, confirmed=frozenset({"lower-version"}))
    assert lab.run(server.provider(), settings).labelled == 4
    lab.add_comments(["Newer still"])
    assert lab.run(server.provider()).labelled == 1, "nothing is asked twice any more"


def test_a_plan_says_how_many_labels_the_local_server_gave(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    note = "note: 3 labels of version 1 came from the local server, not from gpt-6-luna; `version: 2` asks it"
    assert note in command("plan").out


def test_what_a_raised_version_would_send_is_what_is_still_there_and_not_labelled_in_it(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    lab.sql("delete from raw.comments where comment_text = 'Hated it'")
    lab.edit_task(instructions="Label it anew.")
    assert "`version: 2` would label 2 texts again" in command("plan").out
    lab.edit_task(version=2)
    lab.build()
    assert lab.run(server.provider()).labelled == 2
    lab.edit_task(version=1, instructions="Label it otherwise.")
    lab.build()
    assert "would label" not in command("plan").out
