"""The lease on engines without transactions: append, read again, and only who stands alone has it.

A taking is a run's row in the table of leases; it is renewed by further rows, and ended by one without `until_at`.
Whoever wants the lease looks, appends a taking, looks again, and has it only if no other taking is alive then: one that
is not ended, not over by the clock, and whose process can not be seen to be gone (`holder`). Of two that append at the
same time the later one sees the other when it looks again: so never both get it while they agree on which takings are
alive. The lower taking (by time, then owner) waits for the others, which withdraw: so one of them gets it, or none
where that takes five seconds, or ten times what its own append and look did (45 at most).

This needs two things of the warehouse: an append is seen as a whole or not at all, and it is seen by all who look after
it was written. Who does not find its own row does not have the lease.

Two have it at once where the second took the first's taking for dead and was wrong: the first was stopped for longer
than five minutes less the difference between their clocks (on one Connect server there is one clock), or they are on
two machines that `holder` can not tell apart, made of one running machine's memory. The first of these ends with the
next look of either: a holder that sees another taking alive, or one that began after its own was over, has lost the
lease. (Those that found it free before it was taken withdraw; it gives them a minute, and they wait for less.) The
second does not end: each takes the other for dead. There is a look before every write, and before a batch is created.

A look and the write after it are two steps. So a holder that is stopped between the two can write one thing, or create
one batch, while another has the lease. Nothing is paid for twice by that. That a batch is about to be created is
written before the last look: so either this look shows the other's taking, or the other sees what is about to be
created, finds it, or deletes its file before it frees its texts. Rows that are loaded twice count once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connector.errors import LabelsError, WarehouseError
from connector.warehouse.holder import DURATION_SECONDS, Holder, held_by, is_gone, lost
from connector.warehouse.session import Session

# renewed when less is left: to write a row for every look would be most of what is written
_RENEWED_BELOW = timedelta(seconds=DURATION_SECONDS / 2)
_LASTS = timedelta(seconds=DURATION_SECONDS)
_PATIENCE_SECONDS = 5.0
_PATIENCE_TIMES = 10
_LONGEST_PATIENCE_SECONDS = 45.0
# longer than anybody waits before it withdraws
_WITHDRAWN_SECONDS = 60.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Look:
    """What a holder sees of a table's lease at a moment: every taking, until when and whether it was ended."""

    holder: Holder
    takings: list[dict[str, Any]]
    now: datetime

    @property
    def mine(self) -> dict[str, Any] | None:
        """Return the holder's own taking that it did not end."""
        return next((row for row in self.takings if self._is_mine(row) and not row["is_ended"]), None)

    @property
    def others(self) -> list[dict[str, Any]]:
        """Return the takings of others that are alive, the lowest first."""
        alive = [row for row in self.takings if not row["is_ended"] and row["until_at"] > self.now]
        return sorted((row for row in alive if not self._is_mine(row) and not is_gone(row)), key=_place)

    def is_taken_since(self, until_at: datetime) -> bool:
        """Tell whether another has taken what it saw ended: by whatever clock, that taking began then or later."""
        return any(not self._is_mine(row) and row["taken_at"] >= until_at for row in self.takings)

    def _is_mine(self, row: dict[str, Any]) -> bool:
        return bool(row["owner"] == self.holder.owner)


def take(session: Session, holder: Holder, tables: Iterable[str]) -> None:
    """Take the leases of all tables or none; raise `LeaseHeld` naming who has one."""
    try:
        for table in sorted(tables):
            _enter(session, holder, table)
    except LabelsError:
        release(session, holder)
        raise


def renew(session: Session, holder: Holder, table: str) -> None:
    """See to it that at least five minutes of the lease are left and nobody else has it; raise `LeaseLost`."""
    look = _look_alone(session, holder, table)
    assert look.mine is not None
    mine = look.mine
    if mine["until_at"] - look.now >= _RENEWED_BELOW:
        return
    until_at = look.now + _LASTS
    _append(session, holder, table, mine["taken_at"], until_at)
    look = _look_alone(session, holder, table, mine["until_at"])
    if until_at - look.now < _RENEWED_BELOW:
        _leave(session, holder, table, mine["taken_at"])
        raise lost(table)


def release(session: Session, holder: Holder) -> None:
    """Give up every lease of the holder."""
    rows = session.handle.rows(
        f"select label_table, taken_at from {session.relation('label_leases')} where owner = ?"
        " group by label_table, taken_at having count(*) = count(until_at)",
        [holder.owner],
    )
    for row in rows:
        _leave(session, holder, row["label_table"], row["taken_at"])


def _enter(session: Session, holder: Holder, table: str) -> None:
    look = _look(session, holder, table)
    if look.others:
        raise held_by(table, look.others[0])
    taken_at, began = look.now, time.monotonic()
    _append(session, holder, table, taken_at, taken_at + _LASTS)
    until: float | None = None
    while True:
        look = _look(session, holder, table)
        if look.mine is None:
            raise WarehouseError(
                f"{session.relation('label_leases')} does not show what was just written to it",
                "two runs at once would not see each other: their storage must show a file as soon as it is there",
            )
        if look.mine["until_at"] <= look.now:
            raise lost(table)  # it ended before anybody could see it
        if not look.others:
            return
        until = until or time.monotonic() + _patience(time.monotonic() - began)
        if _place(look.others[0]) < (taken_at, holder.owner) or time.monotonic() > until:
            _leave(session, holder, table, taken_at)
            raise held_by(table, look.others[0])
        time.sleep(_LOOK_SECONDS)


def _patience(seconds: float) -> float:
    """Return how long to wait for others where an append and a look took so many seconds."""
    return min(max(_PATIENCE_SECONDS, _PATIENCE_TIMES * seconds), _LONGEST_PATIENCE_SECONDS)


def _look_alone(session: Session, holder: Holder, table: str, until_at: datetime | None = None) -> Look:
    """Return a look that shows nobody but the holder, whose lease was until then; raise `LeaseLost` where none does."""
    until = time.monotonic() + _WITHDRAWN_SECONDS
    while True:
        look = _look(session, holder, table)
        mine = look.mine
        if mine is None:
            raise lost(table)
        is_taken = look.is_taken_since(until_at or mine["until_at"])
        if not (look.others or is_taken):
            return look
        if is_taken or time.monotonic() > until:
            _leave(session, holder, table, mine["taken_at"])
            raise lost(table)
        time.sleep(_LOOK_SECONDS)


def _look(session: Session, holder: Holder, table: str) -> Look:
    rows = session.handle.rows(
        f"select takings.*, {session.macro('utc_now')} as now from (select owner, host, process, taken_at,"
        " max(until_at) as until_at, count(*) > count(until_at) as is_ended"
        f" from {session.relation('label_leases')} where label_table = ? group by owner, host, process, taken_at"
        ") as takings",
        [table],
    )
    return Look(holder, rows, rows[0]["now"] if rows else session.clock())


def _place(row: dict[str, Any]) -> tuple[datetime, str]:
    return row["taken_at"], row["owner"]


def _append(session: Session, holder: Holder, table: str, taken_at: datetime, until_at: datetime | None) -> None:
    row = {"label_table": table, "owner": holder.owner, "host": holder.host, "process": holder.process}
    session.handle.insert(session.relation("label_leases"), {**row, "taken_at": taken_at, "until_at": until_at})


def _leave(session: Session, holder: Holder, table: str, taken_at: datetime) -> None:
    _append(session, holder, table, taken_at, None)
