"""The sdist and the wheel, built without any network, and the demo as somebody runs it who has only the wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import ROOT
from tests.page import blocks

# in an empty folder, after `pip install 'dbt-labels[local]'`
[DEMO] = blocks((ROOT / "docs" / "local-server.md").read_text(encoding="utf-8"), "bash")
DEMO_ENDS_WITH = "627 labelled, 0 rejected, 0 in flight"


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """Build the sdist of a source tree, and the wheel; return their paths."""
    for kind in ("sdist", "wheel"):
        command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    [sdist], [wheel] = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel
