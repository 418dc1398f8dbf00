"""Ctrl-C and SIGTERM: what is ended, what is said, and that nothing is lost."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from connector.errors import LabelsError
from connector.ledger import Batch
from connector.log import Log
from connector.plain import counted
from connector.report.standing import batch_lines

INTERRUPTED = 130  # the exit code
_ENDING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.2
_SAY_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_LAST_WORD_SECONDS = 1.0


class Interrupted(Exception):
    """A command was ended by a signal: `KeyboardInterrupt` past the point where dbt and drivers listen for it."""


@dataclass
class Interruption:
    """Whether Ctrl-C or SIGTERM came, and what there is to do and to say then.

    `end_query` stops what the database is doing, because Python hears of a signal only when that is done; it is called
    again and again until there is something to say, for a query that has just begun. `in_flight` looks into the ledger.
    A second signal ends the process at once, whatever it waits for, and so do `patience_seconds` after the first: dbt
    and drivers may wait for a query that nothing ends. That is as safe as SIGKILL. `log` is where the whole command
    speaks.
    """

    log: Log = field(default_factory=Log)
    patience_seconds: float = _PATIENCE_SECONDS
    happened: bool = False
    end_query: Callable[[], None] | None = None
    in_flight: Callable[[], list[Batch]] | None = None

    @classmethod
    @contextmanager
    def caught(cls, patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[Interruption]:
        """Give one that SIGINT and SIGTERM make happen, as `KeyboardInterrupt`, while the block lasts."""
        interruption = cls(patience_seconds=patience_seconds)
        before = {number: signal.signal(number, interruption._happen) for number in _ENDING}
        heard, told = socket.socketpair()
        told.setblocking(False)
        descriptor_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        listener = threading.Thread(target=interruption._listen, args=(heard,), daemon=True)
        listener.start()
        try:
            yield interruption
        finally:
            signal.set_wakeup_fd(descriptor_before)
            told.close()
            listener.join()
            heard.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def say(self) -> None:
        """Say on stderr what is in flight and how to go on."""
        self.end_query = None
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        batches: list[Batch] = []
        try:
            batches = self.in_flight() if self.in_flight else []
        except LabelsError as error:
            found = f"What is in flight can not be looked up now: {error.message}"
        else:
            left = f"{counted(len(batches), 'batch', 'batches')} in flight, at the provider:"
            found = left if batches else "Nothing is in flight."
        self._tell(found, batches)

    def _tell(self, found: str, batches: Sequence[Batch] | None = None) -> None:
        hint = "`dbt-labels run` goes on, `dbt-labels status` shows where it stands, `dbt-labels cancel` ends it"
        if self.log.as_json:
            keys = None if batches is None else [batch.batch_key for batch in batches]
            self.log.tell("interrupted", "warning", message=found, hint=hint, in_flight=keys, exit_code=INTERRUPTED)
            return
        for line in (f"\nInterrupted; nothing is lost. {found}", *batch_lines(batches or []), f"\nhint: {hint}"):
            self.log.say(line)

    def _happen(self, _: int, __: FrameType | None) -> None:
        self.happened = True
        raise KeyboardInterrupt

    def _listen(self, heard: socket.socket) -> None:
        count, first_at, is_said = 0, 0.0, False
        while True:
            if select.select([heard], [], [], _AGAIN_SECONDS if count else None)[0]:
                numbers = heard.recv(16)
                if not numbers:
                    return
                first_at = first_at if count else time.monotonic()
                count += sum(number in _ENDING for number in numbers)
            if not count:
                continue
            waited_seconds = time.monotonic() - first_at
            if count > 1 or waited_seconds > self.patience_seconds:
                self._leave()
            if waited_seconds > _SAY_SECONDS and not is_said:
                is_said = True
                # in a thread of its own: a screen that nobody reads must not keep this one from its work
                threading.Thread(target=self._say_patience, daemon=True).start()
            if self.end_query is not None:
                self.end_query()

    def _leave(self) -> None:
        """End the process, with a word where somebody reads it."""
        word = threading.Thread(target=self._tell, args=("What was under way did not end, and is left.",), daemon=True)
        word.start()
        word.join(_LAST_WORD_SECONDS)
        os._exit(INTERRUPTED)

    def _say_patience(self) -> None:
        left = (
            f"Ctrl-C once more ends the process at once, and {self.patience_seconds:.0f} s after the first it is ended"
        )
        self.log.say(f"still ending what was under way; {left}; that is as safe")
