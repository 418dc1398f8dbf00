"""Promise 4: only the text and an opaque id leave the warehouse; no text in what is said, no key anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from connector.files import work_folder
from tests.lab import KEY, Lab, Server

SECRET_TEXT = "a comment that nobody but the model may read 7f3a"
AUTHOR = "the_author_of_it"


def test_a_full_run_leaves_neither_key_nor_text_outside_the_warehouse_and_the_provider(
    lab: Lab, server: Server
) -> None:
    lab.sql("alter table raw.comments add column author varchar")
    lab.sql("insert into raw.comments values ('secret', ?, ?)", [SECRET_TEXT, AUTHOR])
    server.faults(row_break_schema={"share": 0.5, "times": 1})
    said: list[str] = []
    assert lab.run(server.provider(), say=said.append).labelled == 4
    lab.dbt("build")

    files = [path for path in lab.folder.rglob("*") if path.is_file() and "dbt_packages" not in path.parts]
    assert any(path.name == "dbt.log" for path in files)
    for path in files:
        content = path.read_bytes()
        assert KEY.encode() not in content, path
        assert SECRET_TEXT.encode() not in content, path
    assert SECRET_TEXT not in "\n".join(said)
    assert KEY not in "\n".join(said)
    assert KEY.encode() not in lab.database.read_bytes()


def test_a_request_carries_the_text_and_an_opaque_id_and_no_other_column(lab: Lab, server: Server) -> None:
    lab.sql("alter table raw.comments add column author varchar")
    lab.sql("insert into raw.comments values ('secret-id', ?, ?)", [SECRET_TEXT, AUTHOR])
    lab.run(server.provider())
    provider = server.provider()
    file_id = lab.sql("select input_file_id from main_labels.label_events where event = 'uploaded'")[0][0]
    path = lab.folder / "sent.jsonl"
    provider.download(file_id, path)
    provider.close()
    sent = path.read_text(encoding="utf-8")
    assert SECRET_TEXT in sent
    key = lab.sql("select sha256(?)", [SECRET_TEXT])[0][0]
    assert not [word for word in (AUTHOR, "secret-id", key, "occurrences") if word in sent]
    assert {tuple(json.loads(line)) for line in sent.splitlines()} == {("custom_id", "method", "url", "body")}


def test_what_a_killed_run_left_on_disk_goes_with_the_next_run(tmp_path: Path) -> None:
    with work_folder(tmp_path, "first") as first:
        (first / "texts.jsonl").write_text(SECRET_TEXT)
        left = first.with_name(f"999999999-1-{first.name.split('-', 2)[2]}")
        left.mkdir()
        (left / "texts.jsonl").write_text(SECRET_TEXT)
        with work_folder(tmp_path, "second"):
            assert not left.exists()
            assert first.exists()
            assert first.stat().st_mode & 0o077 == 0
    assert not first.exists()
