"""The lease: who may send and load for a table of labels now, by the warehouse's clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from connector.warehouse import doorway
from connector.warehouse.holder import DURATION_SECONDS, Holder, held_by, is_gone, lost
from connector.warehouse.session import Session


def take(session: Session, holder: Holder, tables: Iterable[str]) -> None:
    """Take the leases of all tables or none; raise `LeaseHeld` naming who has one. Call it in a transaction."""
    if not session.handle.has_transactions:
        return doorway.take(session, holder, tables)
    leases = session.relation("label_leases")
    session.handle.lock(leases)  # of two that look at the same time, both would find it free
    now = session.clock()
    for table in sorted(tables):
        for row in session.handle.rows(f"select * from {leases} where label_table = ?", [table]):
            if row["owner"] != holder.owner and row["until_at"] > now and not is_gone(row):
                raise held_by(table, row)
        session.handle.execute(f"delete from {leases} where label_table = ?", [table])
        session.handle.insert(
            leases,
            {
                "label_table": table,
                "owner": holder.owner,
                "host": holder.host,
                "process": holder.process,
                "taken_at": now,
                "until_at": _end(now),
            },
        )


def renew(session: Session, holder: Holder, table: str) -> None:
    """Renew the lease to its full length; raise `LeaseLost` where another run has it. Call it in a transaction."""
    if not session.handle.has_transactions:
        return doorway.renew(session, holder, table)
    leases = session.relation("label_leases")
    # written before it is read: from here to the end of the transaction nobody else can take the lease
    session.handle.execute(
        f"update {leases} set until_at = ? where label_table = ? and owner = ?",
        [_end(session.clock()), table, holder.owner],
    )
    mine = session.handle.rows(f"select 1 from {leases} where label_table = ? and owner = ?", [table, holder.owner])
    if not mine:
        raise lost(table)


def release(session: Session, holder: Holder) -> None:
    """Give up every lease of the holder."""
    if not session.handle.has_transactions:
        return doorway.release(session, holder)
    session.handle.execute(f"delete from {session.relation('label_leases')} where owner = ?", [holder.owner])


def _end(now: datetime) -> datetime:
    return now + timedelta(seconds=DURATION_SECONDS)
