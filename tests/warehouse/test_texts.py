"""Texts on every engine: the same key and the same blanks everywhere, and each text its own label."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from connector.warehouse.texts import read_spool, spool_texts
from tests.lab import Lab, Server
from tests.test_text_round_trip import BLANK, CLOSE, NASTY


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _some_texts() -> list[str]:
    """Return texts of all kinds that every engine can store."""
    draw = random.Random(20261123)
    points = [*range(1, 0x3000, 5), *range(0xE000, 0x10000, 11), *range(0x1F300, 0x1F600, 3), 0x10FFFF]
    drawn = ["".join(map(chr, draw.choices(points, k=draw.randrange(40)))) for _ in range(500)]
    return [text.replace("\0", "") for text in (*NASTY, *CLOSE, *BLANK, *drawn)]


def test_the_key_of_a_text_is_the_same_on_every_engine(lab: Lab) -> None:
    texts = _some_texts()
    with lab.project.connect() as session:
        session.handle.execute(lab.ddl("create table main.texts (body varchar)"))
        session.handle.append("main.texts", pa.table({"body": pa.array([*texts, None], pa.string())}))
        rows = session.handle.rows(f"select body, {session.macro('text_key', column='body')} as k from main.texts")
    assert {row["body"]: row["k"] for row in rows} == {None: None} | {text: _key(text) for text in texts}


def test_every_character_is_blank_where_it_is_on_duckdb(lab: Lab) -> None:
    points = [point for point in range(1, 0x110000) if not 0xD800 <= point < 0xE000]
    characters = pa.table({"point": pa.array(points, pa.int64()), "body": [chr(point) for point in points]})
    query = "select point from {} where {} order by point"
    with lab.project.connect() as session:
        duckdb_s = str(session.macro("duckdb__is_blank", column="body")).strip()
        with session.handle.lent("characters", characters):
            rows = session.handle.rows(query.format("characters", session.macro("is_blank", column="body")))
    with duckdb.connect() as connection:
        connection.register("characters", characters)
        wanted = [point for (point,) in connection.execute(query.format("characters", duckdb_s)).fetchall()]
    assert len(wanted) > 250
    assert [row["point"] for row in rows] == wanted


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u3164 \ufe0f", "  x", "x\n", "\n.\n", "\n\n", "a\u200b"])
def test_a_text_is_blank_as_a_whole(lab: Lab, text: str) -> None:
    with lab.project.connect() as session:
        blank = session.macro("is_blank", column="body")
        nothing = lab.ddl("cast(null as varchar)")
        [found] = session.handle.rows(f"select {blank} as is_blank from (select ? as body) as given", [text])
        [none] = session.handle.rows(f"select {blank} as is_blank from (select {nothing} as body) as given")
    assert (found["is_blank"], none["is_blank"]) == (not any(character in text for character in "xa."), True)


def test_any_text_is_spooled_as_it_is_and_gets_its_own_label(lab: Lab, server: Server, tmp_path: Path) -> None:
    blank = {text.replace("\0", "") for text in BLANK}
    texts = {text for text in _some_texts() if any(c.isprintable() and c != " " for c in text)} - blank
    lab.add_comments([*texts, *sorted(texts)[:50], *blank])
    project = lab.project
    spool_texts(project, project.tasks[0], tmp_path / "spool")
    spooled = {text.text_key: text.text for text in read_spool(tmp_path / "spool")}
    assert {_key(text): text for text in texts}.items() <= spooled.items()
    assert not spooled.keys() & {_key(text) for text in blank}

    summary = lab.run(server.provider())
    assert (summary.problems, summary.rejected) == ([], 0)
    assert set(lab.labels()) == set(spooled.values())
    sent = [execution["content_sha256"] for execution in server.executions()]
    assert sorted(sent) == sorted(spooled)
