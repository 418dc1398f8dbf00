"""A text that is forgotten is nowhere any more, and what it cost still adds up; on every engine."""

from __future__ import annotations

import re

import duckdb

from connector.run import Settings
from tests.books import check_money
from tests.command import Command
from tests.dbt_package import key
from tests.forgotten import files, mentions
from tests.lab import ROOT, Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def _check_copy(lab: Lab) -> None:
    """DuckDB leaves what was deleted in its file; a copy of the database has it no more, and all the rest."""
    [copying] = re.findall(r"`(attach 'new.duckdb'[^`]*)`", (ROOT / "docs" / "day-two.md").read_text(encoding="utf-8"))
    new = lab.database.with_name("new.duckdb")
    with duckdb.connect(str(lab.database)) as connection:
        for statement in copying.replace("new.duckdb", str(new)).split(";"):
            connection.execute(statement)
    assert key("Loved it").encode() not in new.read_bytes()
    with duckdb.connect(str(new)) as connection:
        counted = connection.execute("select count(*) from main_labels.comment_labels").fetchall()
    assert counted == lab.sql("select count(*) from main_labels.comment_labels")


def test_a_forgotten_text_is_nowhere_any_more_and_what_it_cost_still_adds_up(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    lab.dbt("build")
    spent = lab.sql("select cost_usd, labelled from main.label_spend")
    kept = lab.folder / ".dbt_labels" / "kept" / "a-run"
    kept.mkdir(parents=True)
    said = command("forget", "--key", key("Loved it"), "--yes", "--json")
    assert said.json == {"texts": 1, "rows": 1, "claims": 1, "files": 2}
    assert "warning: stg_comments still has 1 of these texts" in said.err
    assert f"warning: 1 folder of `run --keep` may have them, remove what has: {kept.parent}" in said.err
    assert (mentions(lab, "Loved it"), files(server)) == ([], [])
    assert lab.sql(
        "select sentiment, themes, raw, reason from main_labels.comment_labels where outcome='forgotten'"
    ) == [(None, None, None, None)]
    assert set(lab.labels()) == {"Hated it", "The music was fine"}
    check_money(lab)
    lab.dbt("build")
    assert lab.sql("select cost_usd, labelled from main.label_spend") == spent

    if type(lab) is Lab:
        _check_copy(lab)
    else:
        lab.sql("vacuum full main_labels.comment_labels")
    lab.sql("delete from raw.comments where comment_text = 'Loved it'")
    assert command("plan", "--json").json[0]["pending"] == {}
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["texts"] == 0


def test_a_forgotten_text_that_staging_still_has_is_new_to_the_next_run(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    assert command("forget", "--key", key("Hated it"), "--yes").code == 0
    assert command("plan", "--json").json[0]["pending"] == {"new": 1}
    assert lab.run(server.provider()).labelled == 1
    assert len(lab.labels()) == 3
    check_money(lab)


def test_every_table_and_every_row_forgets_named_by_a_task_or_not(lab: Lab, server: Server, command: Command) -> None:
    server.faults(row_not_json={"share": 1.0, "times": 1})
    lab.run(server.provider())
    assert lab.sql("select count(*) from main_labels.comment_labels where raw is not null") == [(3,)]
    lab.add_task()
    lab.dbt("build", "--select", "+comments_to_label", "+moods_to_label")
    lab.run(server.provider())
    lab.move_table("later_labels")
    query = "select text_key from main.stg_comments where comment_text = 'Loved it'; -- his"
    said = command("forget", "--query", query.replace("; --", " --"), "--yes", "--json")
    assert "comment_labels: 2 rows" in said.err
    assert "comment_moods: 1 row" in said.err
    assert mentions(lab, "Loved it") == []
    assert len(mentions(lab, "Hated it")) == 3
    assert (said.json["rows"], said.json["claims"], files(server)) == (3, 3, [])


def test_a_text_in_flight_is_not_forgotten_for_its_batch_has_others(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    there = files(server)
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, f"in flight, so nothing was forgotten: batch {batch_key}" in said.err) == (1, True)
    assert "`dbt-labels cancel` stops it" in said.err
    assert [file["id"] for file in files(server)][-1:] == [file["id"] for file in there][-1:]
    assert lab.run(server.provider()).labelled == 3
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["texts"] == 1


def test_a_table_that_is_dropped_or_no_name_at_all_keeps_neither_keys_norfiles(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.run(server.provider())
    lab.move_table("later_labels")
    lab.sql("drop table main_labels.comment_labels")
    lab.sql("create table main_labels.canary as select 1 as alive")
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    for table in (
        'later_labels"; drop table "main_labels"."canary"; select * from "main_labels"."later_labels',
        "x'); drop table main_labels.canary; --",
    ):
        row = (batch_key, table, key("Loved it"))
        lab.sql("insert into main_labels.label_claims (batch_key, label_table, text_key) values (?, ?, ?)", row)
    said = command("forget", "--key", key("Loved it"), "--yes", "--json")
    assert said.json == {"texts": 1, "rows": 0, "claims": 3, "files": 2}
    assert (mentions(lab, "Loved it"), files(server)) == ([], [])
    assert lab.sql("select alive from main_labels.canary") == [(1,)]


def test_what_was_said_of_a_request_or_a_batch_with_a_forgotten_text_goes_from_the_others_too(
    lab: Lab, server: Server, command: Command
) -> None:
    lab.edit_task(run={"rows_per_request": 3, "max_output_tokens": 50})
    server.faults(fail_validation={"code": "odd", "message": "it says: Loved it", "times": 1})
    lab.run(server.provider())
    server.faults(row_not_json={"share": 1.0, "times": 1})
    assert lab.run(server.provider()).labelled == 3
    found = "from main_labels.comment_labels where reason = 'unpacked' and raw is"
    [(_, of_another)] = lab.sql(f"select raw, text_key {found} not null")
    forgotten = next(key for (key,) in lab.sql(f"select text_key {found} null"))
    assert command("forget", "--key", forgotten, "--yes", "--json").code == 0
    assert lab.sql(f"select text_key {found} null and text_key = '{of_another}'") == [(of_another,)]
    assert lab.sql(f"select 1 {found} not null") == []
    assert lab.sql("select 1 from main_labels.label_events where message is not null") == []
