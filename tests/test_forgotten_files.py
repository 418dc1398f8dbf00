"""What a provider has of a text that is forgotten: deleted, or the rows that name it stay; and what is refused."""

from __future__ import annotations

import pytest
from starlette.responses import JSONResponse

from connector.errors import InDoubt, ProviderError
from connector.run import Settings
from tests.between import Between, edited, refusal
from tests.books import check_money
from tests.command import Command
from tests.dbt_package import key
from tests.forgotten import files, mentions
from tests.lab import Lab, Server

ONCE = Settings(poll_seconds=0.01, grace_seconds=0.0, once=True)


def test_files_that_this_key_can_not_see_keep_the_rows_that_name_them(
    lab: Lab, server: Server, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(server.provider())
    monkeypatch.setenv("OPENAI_API_KEY", "other-key")
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "its files are at local" in said.err, "run again with the key" in said.err) == (1, True, True)
    assert mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    said = command("forget", "--key", key("Loved it"), "--keep-files", "--yes", "--json")
    assert (said.json["files"], mentions(lab, "Loved it"), len(files(server))) == (0, [], 2)


def test_files_that_nobody_shows_are_not_taken_for_deleted_unless_they_are_too_old_to_be_kept(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(between.provider())
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    missing = JSONResponse({"error": {"message": "no such thing", "code": None}}, 404)
    between.drop("GET /v1/(files|batches)/[^/]+", missing)
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "can not be seen with this key, which proves nothing" in said.err) == (1, True)
    assert mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '32 day'")
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert mentions(lab, "Loved it") == []


def test_a_deletion_that_the_provider_refused_is_done_by_the_next_command(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(between.provider())
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    refused = JSONResponse({"error": {"message": "not now", "code": None}}, 400)
    output = lab.sql("select output_file_id from main_labels.label_events where event = 'ended'")[0][0]
    between.drop(f"DELETE /v1/files/{output}", refused)
    assert command("forget", "--key", key("Loved it"), "--yes").code == 1
    assert mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    between.heal()
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert (mentions(lab, "Loved it"), files(between.server)) == ([], [])
    # another text of that batch: its files are known to be gone, no provider is asked
    monkeypatch.delenv("OPENAI_API_KEY")
    assert command("forget", "--key", key("Hated it"), "--yes", "--json").json["files"] == 0
    assert mentions(lab, "Hated it") == []
    check_money(lab)


def test_a_file_whose_upload_nobody_heard_the_end_of_is_found_by_its_name(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    # as most services do, it does not say whose account it is
    between.change("GET /v1/batches", edited())
    between.change("POST /v1/files", refusal(503))
    with pytest.raises(InDoubt):
        lab.run(between.provider(), ONCE)
    assert (lab.states(), len(files(between.server))) == (["released"], 1)
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    between.drop("GET /v1/files", JSONResponse({"object": "list", "data": [], "has_more": False}))
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "can not be seen with this key, which proves nothing" in said.err) == (1, True)
    assert mentions(lab, "Loved it") == ["label_claims"]
    between.heal()
    between.change("GET /v1/batches", edited())
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 1
    assert (mentions(lab, "Loved it"), files(between.server)) == ([], [])


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
    assert mentions(lab, "Loved it") == ["label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    said = command("forget", "--key", key("Loved it"), "--yes", "--json")
    assert (said.json["claims"], said.json["files"], mentions(lab, "Loved it")) == (1, 0, [])


def test_a_list_of_files_that_proves_nothing_is_needed_only_where_a_file_may_be_found_in_it(
    lab: Lab, between: Between, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", between.base_url)
    lab.run(between.provider())
    same_page = {"object": "list", "data": files(between.server), "has_more": True}
    between.drop("GET /v1/files", JSONResponse(same_page))
    said = command("forget", "--key", key("Loved it"), "--yes")
    assert (said.code, "list of files repeats itself, so it proves nothing" in said.err) == (1, True)
    assert "leave their files with --keep-files" in said.err
    assert mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
    lab.sql("update main_labels.label_events set event_at = event_at - interval '32 day'")
    assert command("forget", "--key", key("Loved it"), "--yes").code == 0
    assert mentions(lab, "Loved it") == []


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
    assert len(files(server)) == 2
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 2
    assert (mentions(lab, "Loved it"), files(server)) == ([], [])


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
    assert (mentions(lab, "Loved it"), len(files(between.server))) == (["label_claims"], 1)
    lab.sql("update main_labels.label_events set event_at = event_at - interval '1 hour'")
    assert command("forget", "--key", key("Loved it"), "--yes", "--json").json["files"] == 1
    assert (mentions(lab, "Loved it"), files(between.server)) == ([], [])


def test_what_is_no_key_and_what_nobody_agreed_to_is_refused(lab: Lab, server: Server, command: Command) -> None:
    lab.run(server.provider())
    assert command("forget").code == 2
    said = command("forget", "--key", "Loved it", "--yes")
    assert (said.code, "1 of 1 are no keys of texts: `Loved it`" in said.err) == (2, True)
    said = command("forget", "--key", key("Loved it"))
    assert (said.code, "so nothing was forgotten" in said.err) == (2, True)
    said = command("forget", "--query", "select 1 as one", "--yes")
    assert (said.code, "the warehouse refused" in said.err) == (1, True)
    assert mentions(lab, "Loved it") == ["comment_labels", "label_claims"]
