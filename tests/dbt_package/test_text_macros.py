"""The macros over texts and answers: the key of a text, whether it is blank, and the values of a label as rows."""

from __future__ import annotations

import json
import random

import pytest

from tests.dbt_package import ODD, key
from tests.demo import insert
from tests.lab import Lab

NASTY = [
    "NUL \0 inside",
    "line\u2028separator",
    "\u202eright to left\u202c",
    "مرحبا",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "é",
    "\r\n",
    "",
]
NASTY += [
    '{"a": "b"}',
    "it's",
    '"',
    "\\",
    "$$",
    "{{ this }}",
    "x" * 1_000_000,
    "\U0010ffff",
    "\ufeffbom",
    "a\0",
    "a",
    " a\n",
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(2)
    points = [*range(0, 0x3000, 7), *range(0xE000, 0x10000, 11), *range(0x1F300, 0x1F600, 3)]
    return ["".join(chr(point) for point in rng.choices(points, k=rng.randrange(40))) for _ in range(count)]


def test_the_key_of_a_text_is_the_sha256_of_its_utf8(lab: Lab) -> None:
    texts = NASTY + random_texts(300)
    lab.sql("create or replace table main.nasty (number integer, body varchar)")
    insert(lab, "main.nasty", [{"number": number, "body": text} for number, text in enumerate(texts)])
    with lab.project.connect() as session:
        rows = session.handle.rows(
            f"select number, {session.macro('text_key', column='body')} as text_key from main.nasty order by number"
        )
    assert [row["text_key"] for row in rows] == [key(text) for text in texts]


BLANK = ["", " ", "\t\r\n\v\f", "\u00a0", "\u200b", "\u3000", "\ufeff", "\u2060", "\u200d", "\u2028\u2029", "\u00ad"]
BLANK += [
    "\0",
    "\x1b",
    "\u202e",
    "\u180e",
    "\u2800",
    "\u3164",
    "\u115f",
    "\uffa0",
    "\ufe0f",
    "\u034f",
    " \u200b\u00a0\n ",
]
NOT_BLANK = [
    "👍",
    "👍\ufe0f",
    "❤\ufe0f",
    "👩‍👧",
    ".",
    "!?",
    "…",
    "-",
    "e\u0301",
    "ا",
    "\u200b.\u200b",
    "0",
    "_",
    "한",
    "♥",
]


@pytest.mark.parametrize(("texts", "wanted"), [(BLANK, True), (NOT_BLANK, False)])
def test_only_texts_without_anything_to_see_are_blank(lab: Lab, texts: list[str], wanted: bool) -> None:
    with lab.project.connect() as session:
        is_blank = session.macro("is_blank", column="cast(? as varchar)").replace("?", "body")
        rows = [session.handle.rows(f"select {is_blank} as blank from (select ? as body)", [text]) for text in texts]
    assert [row[0]["blank"] for row in rows] == [wanted] * len(texts)


def test_null_is_blank(lab: Lab) -> None:
    with lab.project.connect() as session:
        rows = session.handle.rows(f"select {session.macro('is_blank', column='cast(null as varchar)')} as blank")
    assert rows == [{"blank": True}]


def test_every_value_of_an_any_of_field_is_a_row(lab: Lab) -> None:
    values = {"none": [], "one": ["acting"], "odd": ODD, "unicode": ["ünï", "👍", "\u2028"], "unknown": None}
    lab.sql("create or replace table main.answers (text_key varchar, version integer, themes varchar)")
    for version, ascii_only in enumerate((True, False)):
        written = {n: None if v is None else json.dumps(v, ensure_ascii=ascii_only) for n, v in values.items()}
        insert(lab, "main.answers", [{"text_key": n, "version": version, "themes": v} for n, v in written.items()])
    with lab.project.connect() as session:
        sql = session.macro("unnest_labels", labels="main.answers", field="themes", keys=["text_key", "version"])
        rows = session.handle.rows(sql)
    found = sorted((row["text_key"], row["version"], row["value"]) for row in rows)
    assert found == sorted((name, v, value) for name in values for v in (0, 1) for value in values[name] or [])
