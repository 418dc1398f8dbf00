"""Things change while batches are live: old answers are loaded as what they were asked as."""

from __future__ import annotations

import pytest

from connector import pipeline
from connector.errors import UsageError
from connector.pipeline import Voice
from connector.plan import Plan
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
        "note: 3 texts of those are labelled or in flight in version 3: `version: 3` would send none of them"
        in command("plan").out
    )
    with pytest.raises(
        UsageError, match="3 texts that would be sent as version 2 are labelled or in flight in version 3"
    ):
        lab.run(server.provider())
    assert len(server.executions()) == 3
    lab.add_comments(["Something new"])
    settings = Settings(poll_seconds=0.01, grace_seconds=0.0, confirmed=frozenset({"lower-version"}))
    assert lab.run(server.provider(), settings).labelled == 4
    lab.add_comments(["Newer still"])
    assert lab.run(server.provider()).labelled == 1, "nothing is asked twice any more"


def test_a_version_lowered_while_the_higher_one_is_in_flight_is_asked_about_too(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.edit_task(version=2)
    lab.build()
    _in_flight(lab, server)
    lab.edit_task(version=1)
    lab.build()
    assert "note: 3 texts of those are labelled or in flight in version 2" in command("plan").out
    server.faults(slow=3600)
    with pytest.raises(UsageError, match="3 texts that would be sent as version 1 are labelled or in flight"):
        lab.run(server.provider(), ONCE)
    assert lab.sql("select count(*) from main_labels.label_claims") == [(3,)]


_IMPORTED = """
insert into main_labels.comment_labels (text_key, version, sentiment, themes, outcome, model, attempt, cost_usd)
select text_key, 1, 'positive', '[]', 'labelled', 'elsewhere', 1, 0 from main.comments_to_label limit 2
"""


def test_labels_that_were_brought_in_are_missed_when_their_table_is_moved(lab: Lab, server: Server) -> None:
    lab.sql(_IMPORTED)
    lab.move_table("moved_labels")
    with pytest.raises(UsageError, match=r"had texts in another table \(2 in `comment_labels`\)"):
        lab.run(server.provider(), ONCE)
    assert server.executions() == []


def test_a_task_renamed_together_with_its_table_is_asked_about(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.sql(
        "update main_labels.label_events set task_snapshot ="
        ' replace(task_snapshot, \'"name":"comments_to_label"\', \'"name":"before"\')'
    )
    assert '"name":"before"' in lab.sql("select max(task_snapshot) from main_labels.label_events")[0][0]
    lab.move_table("moved_labels")
    with pytest.raises(UsageError, match="3 in `comment_labels`"):
        lab.run(server.provider(), ONCE)
    assert len(server.executions()) == 3


def test_a_table_whose_rows_were_moved_with_it_is_not_asked_about(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.move_table("moved_labels")
    lab.sql("insert into main_labels.moved_labels by name select * from main_labels.comment_labels")
    lab.add_comments(["A new one"])
    assert lab.run(server.provider()).labelled == 1
    assert len(server.executions()) == 4


def test_tables_of_other_projects_and_other_questions_are_not_the_tasks_own(lab: Lab, server: Server) -> None:
    lab.run(server.provider())
    lab.sql("update main_labels.label_events set project = 'another'")
    lab.sql("create table main_labels.others as select * exclude (sentiment) from main_labels.comment_labels")
    lab.move_table("moved_labels")
    assert lab.run(server.provider()).labelled == 3


def test_texts_that_arrive_while_the_plan_is_read_are_not_sent_in_place_of_those_in_flight(
    lab: Lab, server: Server
) -> None:
    _in_flight(lab, server)
    server.faults(slow=3600)
    lab.add_comments(["One more"])

    def confirm(plans: list[Plan]) -> None:
        assert [plan.cost.texts for plan in plans] == [1]
        lab.add_comments([f"Arrived while it was read {number}" for number in range(5)])

    voice = Voice(lambda line: None, lambda batches: None, confirm)
    pipeline.label(lab.project, lab.project.tasks, server.provider, ONCE, voice)
    assert lab.sql("select count(*) from main_labels.label_claims") == [(3 + 1,)]


def test_texts_that_came_back_unanswered_are_sent_with_those_that_the_plan_showed(lab: Lab, server: Server) -> None:
    server.faults(expire_after={"share": 0.0, "times": 1}, slow=3600)
    lab.run(server.provider(), ONCE)
    lab.add_comments(["One more"])

    def confirm(plans: list[Plan]) -> None:
        assert [(plan.cost.texts, plan.standing.in_flight) for plan in plans] == [(1, 3)]
        lab.add_comments([f"Arrived while it was read {number}" for number in range(5)])
        server.faults(slow=0)
        server.ended("expired")

    voice = Voice(lambda line: None, lambda batches: None, confirm)
    summary = pipeline.label(lab.project, lab.project.tasks, server.provider, QUICK, voice)
    assert (summary.labelled, len(summary.submitted)) == (3 + 1, 1)
    assert lab.sql("select count(*) from main_labels.label_claims") == [(3 + 3 + 1,)]


def test_a_plan_says_how_many_labels_the_local_server_gave(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    note = "note: 3 labels of version 1 came from the local server, not from gpt-6-luna; `version: 2` asks it"
    assert note in command("plan").out
    lab.sql(
        "delete from main_labels.comment_labels where text_key = (select min(text_key) from main_labels.comment_labels)"
    )
    assert note.replace("3 labels", "2 labels") in command("plan").out


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
