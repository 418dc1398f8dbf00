"""The command line, run in this process as the console script does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from connector.cli import main
from tests.lab import Lab

QUICKLY = ("--yes", "--poll-seconds", "0.01", "--grace-seconds", "0")


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return stdout, which must be one JSON document and nothing else."""
        assert self.code == 0, self
        return json.loads(self.out)


def run_command(lab: Lab, capfd: pytest.CaptureFixture[str], *arguments: str) -> Said:
    """Run a command on the lab in this process, as the console script does."""
    where = ["--project-dir", str(lab.folder)] if "--project-dir" not in arguments else []
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *where, "--profiles-dir", str(lab.folder)])
    out, err = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return Said(ended.value.code, out, err)


Command = Callable[..., Said]
