"""The benchmarks run, at a small size; what they measure is for `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab import ROOT


def test_make_bench_measures_everything_and_prints_one_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3_000:]
    head, rule, *lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert head == "| | 1,000 | to reach |"
    assert rule == "|---|---|---|"
    assert len(lines) > 15
    for line in lines:
        name, figure, _ = (cell.strip() for cell in line.strip("|").split("|"))
        assert figure or "ten times the rows" in name, f"not measured: {line}"
    assert not list(tmp_path.iterdir()), "nothing is left"
