"""A text that is forgotten is nowhere any more, and what it cost still adds up; on every engine."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest
from starlette.responses import JSONResponse

from connector.errors import InDoubt, ProviderError
from connector.run import Settings
from tests.between import Between, edited, refusal
from tests.books import check_money
from tests.command import Command
from tests.dbt_package import key
from tests.lab import ROOT, Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def _mentions(lab: Lab, text: str) -> list[str]:
    """Return the tables of the labels schema that have the key of a text anywhere."""
    tables = lab.sql("select table_name from information_schema.tables where table_schema = 'main_labels'")
    rows = {name: lab.sql(f"select * from main_labels.{name}") for (name,) in tables}
    return sorted(name for name, found in rows.items() if any(key(text) in map(str, row) for row in found))


def _files(server: Server) -> list[Any]:
    found: list[Any] = server.control("GET", "/v1/files")["data"]
    return found


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
    said = command("forget", "--key", key("Loved it"), "--yes", "--json")
    assert said.json == {"texts": 1, "rows": 1, "claims": 1, "files": 2}
    assert "warning: stg_comments still has 1 of these texts" in said.err
    assert (_mentions(lab, "Loved it"), _files(server)) == ([], [])
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
    assert _mentions(lab, "Loved it") == []
    assert len(_mentions(lab, "Hated it")) == 3
    assert (said.json["rows"], said.json["claims"], _files(server)) == (3, 3, [])


def test_a_text_in_flight_is_not_forgotten_for_its_batch_has_others(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    files = _files(server)
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, f"in flight, so nothing was forgotten: batch {batch_key}" in said.err) == (1, True)
    assert "`dbt-labels cancel` stops it" in said.err
    assert [file["id"] for file in _files(server)][-1:] == [file["id"] for file in files][-1:]
    assert lab.run(server.provider()).labelled == 3
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["texts"] == 1


def test_files_that_this_key_can_not_see_keep_the_rows_that_name_them(
    lab: Lab, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(server.provider())
    monkeypatch.setenv("OPENAI_API_KEY", "other-key")
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "its files are at local" in said.err, "run again with the key" in said.err) == (1, True, True)
    assert _mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    said = command("forget", "--key", key("Loved it"), "--keep-files", "--yes", "--json")
    assert (said.json["files"], _mentions(lab, "Loved it"), len(_files(server))) == (0, [], 2)


def test_files_that_nobody_shows_are_not_taken_for_deleted_unless_they_are_too_old_to_be_kept(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(between.provider())
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    missing = JSONResponse({"error": {"message": "no such thing", "code": None}}, 404)
    between.drop("GET /v1/(files|batches)/[^/]+", missing)
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "can not be seen with this key, which proves nothing" in said.err) == (1, True)
    assert _mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '32 day'")
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert _mentions(lab, "Loved it") == []


def test_a_deletion_that_the_provider_refused_is_done_by_the_next_command(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(between.provider())
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    refused = JSONResponse({"error": {"message": "not now", "code": None}}, 400)
    output = lab.sql("select output_file_id from main_labels.label_events where event = 'ended'")[0][0]
    between.drop(f"DELETE /v1/files/{output}", refused)
    assert command("forget", "--key", key("Loved it"), "--yes").code == 1
    assert _mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    between.heal()
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert (_mentions(lab, "Loved it"), _files(between.server)) == ([], [])
    # another text of that batch: its files are known to be gone, no provider is asked
    monkeypatch.delenv("OPENAI_API_KEY")
    assert command("forget", "--key", key("Hated it"), "--yes", "--json").json["files"] == 0
    assert _mentions(lab, "Hated it") == []
    check_money(lab)


def test_a_table_that_is_dropped_or_no_name_at_all_keeps_neither_keys_nor_files(
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
    assert (_mentions(lab, "Loved it"), _files(server)) == ([], [])
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


def test_a_file_whose_upload_nobody_heard_the_end_of_is_found_by_its_name(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    # as most services do, it does not say whose account it is
    between.change("GET /v1/batches", edited())
    between.change("POST /v1/files", refusal(503))
    with pytest.raises(InDoubt):
        lab.run(between.provider(), ONCE)
    assert (lab.states(), len(_files(between.server))) == (["released"], 1)
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    between.drop("GET /v1/files", JSONResponse({"object": "list", "data": [], "has_more": False}))
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "can not be seen with this key, which proves nothing" in said.err) == (1, True)
    assert _mentions(lab, "Loved it") == ["label_claims"]
    between.heal()
    between.change("GET /v1/batches", edited())
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 1
    assert (_mentions(lab, "Loved it"), _files(between.server)) == ([], [])


def test_an_upload_that_left_no_file_keeps_no_rows_where_the_provider_names_the_account(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    between.drop("POST /v1/files", JSONResponse({"error": {"message": "not now", "code": None}}, 400))
    with pytest.raises(ProviderError):
        lab.run(between.provider(), ONCE)
    assert lab.states() == ["released"]
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "and what 1 upload that failed may have left there" in said.err) == (1, True)
    assert "its upload was cut off; the provider does not show it, and may yet" in said.err
    assert _mentions(lab, "Loved it") == ["label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    said = command("forget", "--key", key("Loved it"), "--yes", "--json")
    assert (said.json["claims"], said.json["files"], _mentions(lab, "Loved it")) == (1, 0, [])


def test_a_list_of_files_that_proves_nothing_is_needed_only_where_a_file_may_be_found_in_it(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    lab.run(between.provider())
    same_page = {"object": "list", "data": _files(between.server), "has_more": True}
    between.drop("GET /v1/files", JSONResponse(same_page))
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "list of files repeats itself, so it proves nothing" in said.err) == (1, True)
    assert "leave their files with --keep-files" in said.err
    assert _mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '32 day'")
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert _mentions(lab, "Loved it") == []


def test_of_a_refusal_a_word_is_kept_and_no_sentence(lab: Lab, server: Server) -> None:
    server.faults(fail_validation={"code": "bad text: Loved it", "message": "no", "times": 1})
    lab.run(server.provider(), ONCE)
    server.ended("failed")
    lab.run(server.provider(), ONCE)
    assert lab.sql("select distinct reason from main_labels.label_events where event = 'refused'") == [("unknown",)]


def test_what_came_of_a_batch_that_was_given_up_in_doubt_is_deleted_with_it(
    lab: Lab, server: Server, command: Command
) -> None:
    server.faults(lost_reply={"route": "create_batch", "times": 1})
    lab.run(server.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    assert command("release", "--batch", batch_key, "--yes").code == 0
    server.ended("completed")
    assert len(_files(server)) == 2
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 2
    assert (_mentions(lab, "Loved it"), _files(server)) == ([], [])


def test_a_batch_that_was_given_up_and_may_yet_show_keeps_its_rows_until_it_can_not(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    between.drop("POST /v1/batches", JSONResponse({"error": {"message": "not now", "code": None}}, 503))
    lab.run(between.provider(), ONCE)
    [(batch_key,)] = lab.sql("select distinct batch_key from main_labels.label_claims")
    assert command("release", "--batch", batch_key, "--yes").code == 0
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "does not show it, and may yet" in said.err) == (1, True)
    assert (_mentions(lab, "Loved it"), len(_files(between.server))) == (["label_claims"], 1)
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 1
    assert (_mentions(lab, "Loved it"), _files(between.server)) == ([], [])


def test_what_is_no_key_and_what_nobody_agreed_to_is_refused(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    assert command("forget").code == 2
    said = command("forget", "--key", "Loved it", "--yes")
    assert (said.code, "1 of 1 are no keys of texts: `Loved it`" in said.err) == (2, True)
    said = command("forget", "--key", key("Loved it"))
    assert (said.code, "so nothing was forgotten" in said.err) == (2, True)
    said = command("forget", "--query", "select 1 as one", "--yes")
    assert (said.code, "the warehouse refused" in said.err) == (1, True)
    assert _mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
