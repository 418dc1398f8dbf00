"""A page of documentation as something that can be run: its files, its shell blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.lab import ROOT
from tests.limit import LONGEST_SECONDS

BIN = Path(sys.executable).parent
_NOT_RUN = ("pip install", "python -m venv")


def blocks(page: str, *languages: str) -> list[str]:
    """Return the page's blocks of these languages, in order."""
    named = "|".join(map(re.escape, languages))
    return re.findall(rf"^```(?:{named})\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def write_file(folder: Path, block: str) -> bool:
    """Write a block whose first line is a comment with a path to that file; tell whether it has one."""
    place, _, content = block.partition("\n")
    if not re.fullmatch(r"(--|#) [\w./]+\.\w+", place):
        return False
    path = folder / place.split(" ", 1)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return True


def shell_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a person's own shell in which this environment is installed."""
    # nothing of the surrounding shell, and nothing of the make that may run these tests
    not_theirs = ("OPENAI", "LAB_", "DBT_", "MAKE", "MFLAGS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(not_theirs)}
    ours = {"PATH": f"{BIN}:{environment['PATH']}", "PYTHONPATH": str(ROOT)}
    # dbt would tell its makers of each command
    return {**environment, **ours, "DO_NOT_TRACK": "1", **variables}


def shell(folder: Path, script: str, **variables: str) -> str:
    """Run a block as a person does, less what installs; return what it said on stdout."""
    lines = [line for line in script.splitlines() if not line.startswith(_NOT_RUN)]
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    environment = shell_environment(**variables)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
