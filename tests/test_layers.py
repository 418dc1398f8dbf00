"""The architecture is a test: layers, and where dbt and openai may be met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import ROOT


def test_the_layers_hold_and_every_module_is_placed() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
