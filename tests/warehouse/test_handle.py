"""The raw handle of every engine: rows and record batches in and out, transactions, types, interruption."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from connector.errors import WarehouseError
from connector.warehouse.session import Session
from tests.lab import Lab
from tests.limit import LONGEST_SECONDS
from tests.warehouse.labs import PostgresLab

TEXTS = [
    None,
    "",
    " ",
    "\\N",
    "NULL",
    "null",
    '"',
    '""',
    '"quoted"',
    "a,b",
    ",",
    "\\.",
    "one\n\\.\ntwo",
    "\n",
    "\r\n",
    "one\rtwo\nthree\r\n",
    "\ufeffbom",
    "\ufeff",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "\u202eright to left\u202c שלום مرحبا",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0010ffff\ufffe\uffff",
    '{"a": ["b", "\\u0000", null]}',
    "\\",
    "\\x00",
    "it's %s %d ? $1 :name {{ jinja }}",
    "t",
    "x" * 1_000_000,
    '"\n' * 400_000,
]
VALUES: dict[str, list[Any]] = {
    "number": [None, 0, -1, 2**63 - 1],
    "flag": [None, True, False, True],
    "share": [None, 0.1, -1e300, 1e-300],
    "usd": [None, Decimal("0.000000000001"), Decimal("-123456789.123456789012"), Decimal(0)],
    "made_at": [None, datetime(2026, 1, 2, 3, 4, 5, 678901), datetime(1999, 12, 31), datetime(2026, 3, 8, 2, 30)],
}
KINDS = {"number": pa.int64(), "flag": pa.bool_(), "share": pa.float64(), "usd": pa.decimal128(38, 12)}
KINDS["made_at"] = pa.timestamp("us")
TYPES = {"number": "bigint", "flag": "boolean", "share": "double precision", "usd": "decimal(38, 12)"}
TYPES["made_at"] = "timestamp"
KEPT = "create table main.kept (place bigint, body varchar)"


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    """Give each engine's open warehouse, with an empty table of texts."""
    with lab.project.connect() as session:
        session.handle.execute(lab.ddl(KEPT))
        yield session


def _texts(texts: list[str | None]) -> pa.Table:
    return pa.table({"place": pa.array(range(len(texts)), pa.int64()), "body": pa.array(texts, pa.string())})


def _kept(session: Session) -> list[Any]:
    return [row["body"] for row in session.handle.rows("select body from main.kept order by place")]


def test_any_text_comes_back_as_it_went_and_no_text_is_not_an_empty_one(session: Session) -> None:
    session.handle.append("main.kept", _texts(TEXTS))
    assert _kept(session) == TEXTS
    streamed = session.handle.stream("select place, body from main.kept order by place").read_all()
    assert streamed.column("body").to_pylist() == TEXTS
    assert streamed.schema.types == [pa.int64(), pa.string()]
    alone = session.handle.stream("select body from main.kept order by place").read_all()
    assert alone.column("body").to_pylist() == TEXTS
    for place, text in enumerate(TEXTS):
        session.handle.insert("main.kept", {"place": 100 + place, "body": text})
    assert _kept(session) == TEXTS + TEXTS


def test_a_character_that_can_not_be_stored_is_replaced_and_keeps_no_row_out(session: Session) -> None:
    session.handle.append("main.kept", _texts(["a\0b", "\0", None]))
    session.handle.insert("main.kept", {"place": 3, "body": "c\0d"})
    kept = [text and text.replace("\0", "\ufffd") for text in _kept(session)]
    assert kept == ["a\ufffdb", "\ufffd", None, "c\ufffdd"]
    assert session.handle.rows("select count(*) as n from main.kept where body = ?", ["c\0d"]) == [{"n": 1}]


def test_every_type_of_the_ledger_comes_back_exact(session: Session, lab: Lab) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    session.handle.execute(lab.ddl(f"create table main.typed ({columns})"))
    rows = pa.table({name: pa.array(values, KINDS[name]) for name, values in VALUES.items()})
    session.handle.append("main.typed", rows)
    query = "select * from main.typed order by number is not null, number"
    wanted = sorted(rows.to_pylist(), key=lambda row: (row["number"] is not None, row["number"] or 0))
    assert session.handle.rows(query) == wanted
    assert session.handle.stream(query).read_all().to_pylist() == wanted


def test_a_large_result_is_streamed_in_parts_whose_rows_are_whole(session: Session) -> None:
    large = "x" * 1_500_000
    session.handle.append("main.kept", _texts([f"{number}\n{large}" for number in range(12)]))
    query = "select place, body from main.kept union all select r.n, '' from (select 1 as n) as r order by 2, 1"
    batches = list(session.handle.stream(query))
    bodies = [body for batch in batches for body in batch.column("body").to_pylist()]
    assert sorted(bodies) == sorted(["", *_kept(session)])


def test_a_stream_that_is_left_in_the_middle_leaves_the_warehouse_usable(session: Session) -> None:
    session.handle.append("main.kept", _texts([f"text {number}" for number in range(200_000)]))
    stream = session.handle.stream("select place, body from main.kept")
    assert next(stream).num_rows > 0
    del stream
    began = time.monotonic()
    assert session.handle.rows("select count(*) as n from main.kept") == [{"n": 200_000}]
    assert time.monotonic() - began < 10


def test_an_error_in_the_middle_of_a_stream_is_told_in_our_words(lab: Lab) -> None:
    with lab.project.connect() as session:
        session.handle.execute(lab.ddl(KEPT))
        session.handle.append("main.kept", _texts([str(number) for number in range(100_000)] + ["no number"]))
    with pytest.raises(WarehouseError, match="the warehouse refused"), lab.project.connect() as session:
        list(session.handle.stream(f"select place, {lab.failing} as n from main.kept"))
    with lab.project.connect() as session:
        assert session.handle.rows("select count(*) as n from main.kept") == [{"n": 100_001}]


def test_only_a_question_mark_outside_of_quotes_is_a_parameter(session: Session) -> None:
    found = session.handle.rows(
        f"select '?' as {session.quote('a?')}, '100%' as b, ? as c, 'it''s ?' as d -- what is ?", ["it's 100% ?"]
    )
    assert found == [{"a?": "?", "b": "100%", "c": "it's 100% ?", "d": "it's ?"}]
    assert session.handle.rows("select '100%' as b, 7 % 4 as c") == [{"b": "100%", "c": 3}]


def test_a_transaction_is_written_as_a_whole_or_not_at_all(lab: Lab) -> None:
    if not lab.has_transactions:
        pytest.skip("this engine has no transactions: see test_doorway.py and test_crash.py for what holds instead")
    project = lab.project
    with project.connect() as session:
        session.handle.execute(lab.ddl(KEPT))
        with session.transaction():
            session.handle.append("main.kept", _texts(["first"]))
            session.handle.insert("main.kept", {"place": 1, "body": "second"})
            assert _kept(session) == ["first", "second"]

    def write_and(fail: Callable[[Session], None]) -> None:
        with project.connect() as session, session.transaction():
            session.handle.append("main.kept", _texts(["third"]))
            fail(session)

    for wrong in ("select * from no_such_table", "insert into main.kept values (3, 'x', 'one too many')"):
        with pytest.raises(WarehouseError):
            write_and(lambda session, wrong=wrong: session.handle.execute(wrong))  # type: ignore[misc]
    with pytest.raises(ZeroDivisionError):
        write_and(lambda session: [][1 // 0])
    assert lab.sql("select body from main.kept order by place") == [("first",), ("second",)]


def test_a_transaction_that_failed_inside_can_not_pass_for_written(postgres_lab: PostgresLab) -> None:
    with postgres_lab.project.connect() as session:
        session.handle.execute("begin transaction")
        session.handle.execute(KEPT)
        with pytest.raises(session.handle.errors):
            session.handle.execute("select * from no_such_table")
        with pytest.raises(session.handle.errors, match="nothing of it was written"):
            session.handle.execute("commit")


def test_a_statement_outside_of_a_transaction_is_there_for_others_at_once(session: Session, lab: Lab) -> None:
    session.macro("ddl", tasks=[task.model_dump(mode="json") for task in lab.project.tasks])  # asks the database
    session.handle.insert("main.kept", {"place": 1, "body": "there"})
    if type(lab) is Lab:  # DuckDB: nobody else has the file
        return
    assert lab.sql("select body from main.kept") == [("there",)]
    if isinstance(lab, PostgresLab):
        assert lab.sql("select count(*) from pg_stat_activity where state like 'idle in transaction%'") == [(0,)]


def test_columns_have_the_same_types_everywhere_and_what_is_missing_has_none(session: Session, lab: Lab) -> None:
    columns = "a varchar, b text, c bigint, d boolean, e decimal(38, 12), f timestamp, g date"
    session.handle.execute(lab.ddl(f"create table main.typed ({columns})"))
    found = session.columns("main.typed")
    kinds = {name: kind.partition("(")[0] for name, kind in found.items()}
    wanted = {"a": "varchar", "b": "varchar", "c": "bigint", "d": "boolean", "e": "decimal", "f": "timestamp"}
    assert kinds == {**wanted, "g": "date"}
    assert session.columns("main.no_such_table") == {}
    assert session.columns("no_such_schema.kept") == {}
    assert session.columns("main.kept") == {"place": "bigint", "body": "varchar"}


def test_rows_are_lent_under_a_name_for_as_long_as_they_are_needed(session: Session) -> None:
    session.handle.append("main.kept", _texts(["a", "b", "c"]))
    for wanted in (["a", "c"], ["b"]):
        with session.handle.lent("lent_keys", pa.table({"wanted_key": pa.array(wanted, pa.string())})):
            query = "select body from main.kept where body in (select wanted_key from lent_keys) order by 1"
            assert session.handle.stream(query).read_all().column("body").to_pylist() == wanted
    assert session.columns("lent_keys") == {}


@pytest.mark.parametrize("way", ["rows", "stream"])
def test_a_long_query_fails_at_once_when_it_is_interrupted(lab: Lab, way: str) -> None:
    project = lab.project
    numbers = (
        "select row_number() over (order by 1) as n from raw.comments, raw.comments b, raw.comments c, raw.comments d"
    )
    long = "select count(*) as n from main.numbers a, main.numbers b, main.numbers c where a.n * b.n + c.n = 7"
    with project.connect() as session:
        session.handle.execute(f"create table main.numbers as {numbers}")
    over = threading.Event()

    def end_queries() -> None:
        while not over.wait(0.2):  # again and again, as a signal does: the query may not have begun
            project.end_query()

    ending = threading.Thread(target=end_queries, daemon=True)
    ending.start()
    began = time.monotonic()
    try:
        with pytest.raises(WarehouseError), project.connect() as session:
            session.handle.rows(long) if way == "rows" else session.handle.stream(long).read_all()
    finally:
        over.set()
    assert time.monotonic() - began < 30
    ending.join(LONGEST_SECONDS)
