"""A command on a terminal: stdin and stderr are one, as when a person sits there; stdout goes to a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.lab import ROOT
from tests.limit import limited


@dataclass(frozen=True)
class Seen:
    """What a command ended with, and what the terminal showed."""

    code: int
    out: str
    screen: str


def run_on_terminal(*arguments: str, typed: str = "", folder: Path = ROOT, shown: bytearray | None = None) -> Seen:
    """Run a command with `typed` waiting on the terminal; no lines are wrapped.

    Where `shown` is given, it grows while the terminal shows something.
    """
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "160", "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        cwd=folder,
        text=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = bytearray() if shown is None else shown

    def read() -> None:
        try:
            while chunk := os.read(ours, 65_536):
                shown.extend(chunk)
        except OSError:  # the terminal ends with the process
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with limited(process):
        out, _ = process.communicate()
        reader.join()
    os.close(ours)
    return Seen(process.returncode, out, shown.decode("utf-8", "replace"))
