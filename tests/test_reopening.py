"""Reopening: a person puts back what was rejected or lost, and sees the price first."""

from __future__ import annotations

import re

from connector import planning, reopening
from connector.ledger import State
from connector.run import Settings
from connector.warehouse.tables import Ledger
from tests.command import QUICKLY, Command
from tests.lab import Lab, Server
from tests.limit import rounds

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


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
    assert "there is no terminal to ask on, so nothing was put back" in said.err
    assert "budget" not in said.err
    assert lab.outcomes() == {"rejected:refused": 3}


def test_before_the_first_build_it_is_said_what_is_missing(lab: Lab, command: Command) -> None:
    lab.sql("drop schema main_labels cascade")
    for arguments in (["--reason", "refused"], ["--lost"]):
        said = command("retry", *arguments, "--yes")
        assert (said.code, "dbt build" in said.err, "Catalog Error" in said.err) == (1, True, False), said


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
    for _ in rounds():
        if lab.states() == ["ended"]:
            break
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


def test_why_a_batch_is_in_its_state_is_told_by_the_event_that_put_it_there(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider(), ONCE)
    lab.sql(
        "insert into main_labels.label_events by name select * replace ('lost' as event, 'output_gone' as reason,"
        " 'zzz' as message) from main_labels.label_events where event = 'submitted'"
    )
    [lost] = Ledger(lab.project, "").batches(["comment_labels"], [State.LOST])
    assert (lost.reason, lost.message) == ("output_gone", "zzz")
    assert command("release", "--batch", lost.batch_key, "--yes").code == 0
    [again] = Ledger(lab.project, "").batches(["comment_labels"], [State.REOPENED])
    assert (again.reason, again.message) == ("by_hand", "was lost")


def test_a_batch_that_a_person_knows_to_be_dead_is_given_up_with_its_price_first(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    bound = lab.sql("select bound_usd from main_labels.label_events where event = 'planned'")
    asked = command("release", "--batch", batch_key)
    assert (asked.code, "so nothing was released" in asked.err, lab.states()) == (2, True, ["submitted"])

    said = command("release", "--batch", batch_key, "--yes", "--json")
    assert said.json == {"batches": [batch_key]}
    assert "if the provider has it, it is paid for, up to $0.0" in said.err
    assert "sending its texts again costs about $0.0" in said.err
    assert lab.states() == ["reopened"]
    charged = f"select charged_usd from main.label_batches where batch_key = '{batch_key}'"
    lab.dbt("run", "--select", "label_batches")
    assert lab.sql(charged) == bound, "what may have been paid for stays in the budget at its bound"

    [(most,)] = bound
    walled = command("run", "--budget-usd", f"{most + most / 10:.6f}", *QUICKLY)
    assert (walled.code, lab.outcomes()) == (4, {}), "it may be at work, so its bound is not free"

    # what the provider has of it is not loaded any more: each text has one label
    assert command("run", "--json", *QUICKLY).json["run"]["labelled"] == 3
    assert sorted(lab.states()) == ["loaded", "reopened"]
    assert len(lab.labels()) == 3


def test_a_batch_that_was_never_created_is_released_and_costs_nothing(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider(), ONCE)
    lab.sql("delete from main_labels.label_events where event not in ('planned', 'uploading')")
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    said = command("release", "--batch", batch_key, "--yes")
    assert (said.code, "it was never created, so nothing was paid for it" in said.err) == (0, True)
    assert lab.states() == ["released"]
    [row] = [line for line in command("status").out.splitlines() if batch_key in line]
    assert re.search(r" released +3 ", row), row
    assert not re.search(r"\d (s|min)\b", row), "it has no age"


def test_a_batch_that_holds_no_texts_is_not_given_up(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    said = command("release", "--batch", batch_key, "--batch", "0123", "--yes")
    assert said.code == 2
    assert "there is no batch `0123`" in said.err
    assert f"batch {batch_key} is loaded, so it holds no texts" in said.err
    assert "batches that hold texts: none" in said.err
    assert (command("release", "--yes").code, lab.states()) == (2, ["loaded"])


def test_what_a_released_batch_would_cost_again_is_what_the_plan_says_once_it_is_released(
    lab: Lab, server: Server
) -> None:
    server.faults(row_truncate={"share": 1.0, "times": 2})
    while not lab.sql("select count(*) from main_labels.label_claims where attempt = 3")[0][0]:
        lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims where attempt = 3")
    [task] = lab.project.tasks
    told: list[reopening.Release] = []
    reopening.release(lab.project, [task], [batch_key], told.extend)
    [plan] = planning.make_plans(lab.project, [task], ONCE)
    assert told[0].cost.bound_usd == plan.cost.bound_usd is not None


def test_a_batch_of_a_table_that_no_task_names_is_given_up_and_one_that_can_not_be_read_is_named(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    events = "update main_labels.label_events set"
    lab.sql(f"{events} label_table = 'gone_labels', task_snapshot = replace(task_snapshot, 'comment_la', 'gone_la')")
    lab.sql(f"{events} event = 'lost' where event = 'submitted'")
    lab.sql(f"{events} task_snapshot = '?' || task_snapshot")
    said = command("release", "--batch", batch_key, "--yes")
    assert (said.code, f"batch {batch_key}: this release can not read what it was sent with" in said.err) == (2, True)
    assert f"batches that hold texts: {batch_key} (not readable)" in said.err
    lab.sql(f"{events} task_snapshot = substr(task_snapshot, 2)")
    assert command("release", "--batch", batch_key, "--yes", "--json").json == {"batches": [batch_key]}
    assert lab.states() == ["reopened"]
    assert f"batch {batch_key} is reopened, so it holds no texts" in command("release", "--batch", batch_key).err


def test_a_batch_that_can_not_be_read_is_something_in_flight(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    lab.sql("update main_labels.label_events set task_snapshot = '?' || task_snapshot")
    for name in ("run", "cancel"):
        said = command(name, *QUICKLY)
        unread = f"batch {batch_key} is left as it is: this release can not read what it was sent with"
        assert (said.code, unread in said.err) == (1, True), said


def test_what_is_rejected_while_the_price_is_confirmed_is_not_put_back(lab: Lab, server: Server) -> None:
    server.faults(row_refusal={"share": 1.0})
    assert lab.run(server.provider(), Settings(poll_seconds=0.01, grace_seconds=0.0, limit=2)).rejected == 2

    def confirm(found: list[reopening.Reopening]) -> None:
        assert [reopened.rejected for reopened in found] == [{"refused": 2}]
        assert lab.run(server.provider()).rejected == 1

    put_back = reopening.reopen(lab.project, lab.project.tasks, ["refused"], lost=True, confirm=confirm)
    assert put_back == reopening.Reopened(2, [])
    assert lab.sql("select count(*) from main_labels.comment_labels where outcome = 'reopened'") == [(2,)]
