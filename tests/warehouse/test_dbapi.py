"""An adapter of which only the driver is known: what is refused, and what must hold of every statement."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

import pyarrow as pa
import pytest

from connector.errors import WarehouseError
from connector.warehouse import dbapi
from connector.warehouse.tables import Ledger
from tests.lab import Server
from tests.warehouse.labs import PostgresLab


def _clock(lab: PostgresLab, sql: str) -> None:
    """Give the project a clock of its own, as one for another adapter would be."""
    (lab.folder / "macros").mkdir()
    (lab.folder / "macros" / "clock.sql").write_text(f"{{% macro postgres__utc_now() %}}{sql}{{% endmacro %}}")
    lab.reparse()


def test_an_adapter_without_sql_is_refused() -> None:
    with pytest.raises(WarehouseError, match="`bigquery`: its adapter gives no connection that takes SQL") as told:
        dbapi.Handle(SimpleNamespace(TYPE="bigquery"))
    assert "DB-API" in str(told.value.hint)


def test_a_database_that_makes_names_upper_case_is_refused(dbapi_lab: PostgresLab) -> None:
    _clock(dbapi_lab, 'clock_timestamp() as "NOW" --')
    with pytest.raises(WarehouseError, match="it makes names without quotes upper case"), dbapi_lab.project.connect():
        pass


@pytest.mark.parametrize("clock", ["(clock_timestamp() at time zone 'Asia/Kolkata')", "'noon'"])
def test_a_clock_that_is_not_utc_is_refused_with_the_macro_that_mends_it(dbapi_lab: PostgresLab, clock: str) -> None:
    _clock(dbapi_lab, clock)
    with pytest.raises(WarehouseError, match="the warehouse says that it is") as told, dbapi_lab.project.connect():
        pass
    assert "write a macro postgres__utc_now()" in str(told.value.hint)


def test_a_clock_with_a_zone_is_read_as_utc(dbapi_lab: PostgresLab, server: Server) -> None:
    _clock(dbapi_lab, "clock_timestamp()")
    dbapi_lab.sql(f"alter database {dbapi_lab.name} set timezone = 'Asia/Kolkata'")
    with dbapi_lab.project.connect() as session:
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        assert abs(session.clock() - now).total_seconds() < 60
    with Ledger(dbapi_lab.project, "mine").leased(["comment_labels"]):
        pass
    assert dbapi_lab.run(server.provider()).labelled == 3
    [(loaded,)] = dbapi_lab.sql("select max(labelled_at) from main_labels.comment_labels")
    assert abs(loaded - now).total_seconds() < 600


def test_a_column_that_can_not_be_looked_at_is_not_taken_for_a_missing_one(dbapi_lab: PostgresLab) -> None:
    others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
    with dbapi_lab.project.connect() as session:
        assert session.columns("main.no_such_table") == {}
        dbapi_lab.sql(f"{others} and pid <> pg_backend_pid()")
        with pytest.raises(session.handle.errors):
            session.columns("main.no_such_table")


def test_no_text_and_no_answer_is_in_dbts_log(dbapi_lab: PostgresLab, server: Server) -> None:
    server.faults(row_not_json={"share": 1.0, "times": 1})
    dbapi_lab.run(server.provider())
    [(raw,)] = dbapi_lab.sql("select max(raw) from main_labels.comment_labels where raw is not null")
    files = [path for path in dbapi_lab.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    written = b"".join(path.read_bytes() for path in files)
    assert b"insert into" in written, "dbt wrote no log: the test shows nothing"
    assert not any(text.encode() in written for text in ("Loved it", "Hated it", "The music was fine", raw))


@pytest.mark.parametrize(
    ("rows", "columns", "text", "statements"),
    [
        (0, 1, "", []),
        (2_500, 1, "", [1_000, 1_000, 500]),
        (250, 20, "", [100, 100, 50]),
        (5, 2, "x" * 200_000, [1] * 5),
    ],
)
def test_a_statement_has_no_more_rows_parameters_or_characters_than_any_database_takes(
    rows: int, columns: int, text: str, statements: list[int]
) -> None:
    table = pa.table({f"c{number}": pa.array([text] * rows, pa.string()) for number in range(columns)})
    found = list(dbapi._statements(table))
    assert [len(some) for some in found] == statements
    assert {len(line) for some in found for line in some} <= {columns}
