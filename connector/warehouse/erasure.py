"""Erasure: what the ledger has of texts, and taking it out. What was paid for them stays, and tells of no text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from connector.errors import WarehouseError
from connector.ledger import FILES_DELETED
from connector.task import NAME, Task
from connector.warehouse.project import Project
from connector.warehouse.session import Session

# what stays of a forgotten row: the ledger's money and tokens add up as before
_KEPT = """
    version model prompt_hash input_tokens cached_tokens output_tokens reasoning_tokens cost_usd attempt batch_key
    labelled_at
"""
_KEYS = "dbt_labels_keys"
_TABLES = "dbt_labels_tables"
_WANTED = f"text_key in (select wanted_key from {_KEYS})"
_CLAIMED = f"{_WANTED} and label_table in (select wanted_table from {_TABLES})"


@dataclass(frozen=True)
class Traces:
    """What the ledger has of texts: how many of them it knows, their rows by table of labels there is, claims, batches.

    `cleaned` are those of the batches whose files at the provider were deleted before. `still_in` counts the texts
    that relations of the tasks have: a run would send them again.
    """

    texts: int
    rows: dict[str, int]
    claims: int
    batches: list[str]
    cleaned: list[str]
    still_in: dict[str, int]


def check_erasable(project: Project) -> None:
    """Raise `WarehouseError` where texts can not be deleted as a whole or not at all, or not be deleted at all."""
    with project.connect() as session:
        if not session.handle.has_transactions:
            raise WarehouseError(
                f"forgetting needs transactions, and none are known of {project.target}: nothing was forgotten",
                'see "Forgetting a text" in docs/day-two.md',
            )


def read_keys(project: Project, query: str) -> list[str]:
    """Return the keys that a query gives in its column `text_key`."""
    with project.connect() as session:
        # on a line of its own: the query may end in a comment
        found = session.handle.stream(
            f"select distinct cast(text_key as varchar) as text_key from (\n{query.strip().rstrip(';')}\n) as wanted"
            " where text_key is not null"
        ).read_all()
    keys: list[str] = found.column("text_key").to_pylist()
    return sorted(keys)


def named_tables(project: Project, tasks: Sequence[Task]) -> list[str]:
    """Return the tables of labels of these tasks, and all that claims name: some may be dropped, some be no names."""
    with project.connect() as session:
        claims = session.relation("label_claims")
        claimed = session.handle.rows(f"select distinct label_table from {claims} where label_table is not null")
    return sorted({task.table for task in tasks} | {row["label_table"] for row in claimed})


def find_traces(project: Project, tasks: Sequence[Task], tables: Sequence[str], keys: Sequence[str]) -> Traces:
    """Return what the ledger has of these texts in these tables."""
    with project.connect() as session, _lent(session, tables, keys):
        labels = _labels(session, tables)
        rows = {table: _count(session, relation) for table, relation in labels.items()}
        claims = f"(select batch_key, text_key from {session.relation('label_claims')} where {_CLAIMED}) as claimed"
        events = session.relation("label_events")
        batches = session.handle.rows(f"select distinct batch_key from {claims} order by batch_key")
        cleaned = session.handle.rows(
            f"select distinct batch_key from {events} where event = ?"
            f" and batch_key in (select batch_key from {claims}) order by batch_key",
            [FILES_DELETED],
        )
        of_labels = [f"select text_key from {relation} where {_WANTED}" for relation in labels.values()]
        known = " union ".join([f"select text_key from {claims}", *of_labels])
        [found] = session.handle.rows(
            f"select count(*) as texts, (select count(*) from {claims}) as claims from ({known}) as known"
        )
        still = {name: _count(session, relation, "distinct text_key") for name, relation in _read_by(project, tasks)}
    return Traces(
        texts=int(found["texts"]),
        rows=rows,
        claims=int(found["claims"]),
        batches=[row["batch_key"] for row in batches],
        cleaned=[row["batch_key"] for row in cleaned],
        still_in={name: number for name, number in still.items() if number},
    )


def erase(session: Session, tables: Sequence[str], labels: Iterable[str], keys: Sequence[str]) -> None:
    """Take texts out of tables of labels, claims and events. Call it in a transaction, with the tables' leases held.

    `labels` are those of the tables that are there. Of a row in them remains what it cost and when, under a key that is
    drawn at random for it alone. What was said of a request with such a text goes from its other texts' rows, what was
    said of a batch from its events.
    """
    claims = session.relation("label_claims")
    with _lent(session, tables, keys):
        for relation in map(session.relation, labels):
            session.handle.execute(
                f"update {relation} set raw = null where raw is not null and (batch_key, text_key) in"
                f" (select beside.batch_key, beside.text_key from {claims} as beside inner join"
                f" (select batch_key, custom_id from {claims} where {_CLAIMED}) as held"
                " on held.batch_key = beside.batch_key and held.custom_id = beside.custom_id)"
            )
            session.handle.execute(
                f"update {relation} set text_key = 'forgotten-' || cast(gen_random_uuid() as varchar),"
                f" outcome = 'forgotten'{_emptied(session, relation)} where {_WANTED}"
            )
        session.handle.execute(
            f"update {session.relation('label_events')} set message = null where message is not null"
            f" and batch_key in (select batch_key from {claims} where {_CLAIMED})"
        )
        session.handle.execute(f"delete from {claims} where {_CLAIMED}")


def _emptied(session: Session, relation: str) -> str:
    kept = (*_KEPT.split(), "text_key", "outcome")
    gone = [name.replace('"', '""') for name in session.columns(relation) if name not in kept]
    return "".join(f", {session.quote(name)} = null" for name in gone)


def _labels(session: Session, tables: Sequence[str]) -> dict[str, str]:
    """Return the relations of those that are there. What can not be a task's table never gets into SQL."""
    named = {table: session.relation(table) for table in tables if NAME.fullmatch(table)}
    return {table: relation for table, relation in named.items() if "outcome" in session.columns(relation)}


@contextmanager
def _lent(session: Session, tables: Sequence[str], keys: Sequence[str]) -> Iterator[None]:
    wanted_tables = pa.table({"wanted_table": pa.array(tables, pa.string())})
    wanted_keys = pa.table({"wanted_key": pa.array(keys, pa.string())})
    with session.handle.lent(_TABLES, wanted_tables), session.handle.lent(_KEYS, wanted_keys):
        yield


def _count(session: Session, relation: str, what: str = "*") -> int:
    if "text_key" not in session.columns(relation):
        return 0
    return int(session.handle.rows(f"select count({what}) as found from {relation} where {_WANTED}")[0]["found"])


def _read_by(project: Project, tasks: Sequence[Task]) -> Iterator[tuple[str, str]]:
    """Give what runs of these tasks take texts from: what the pending models select from, these models, gold."""
    for task in tasks:
        for node in (*project.parents(task), project.model(task)):
            if node.relation_name:
                yield node.name, node.relation_name
        gold = None if task.gold is None else project.named(task.gold)
        if gold is not None and gold.relation is not None:
            yield gold.name, str(gold.relation)
