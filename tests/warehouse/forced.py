"""Run a module of ours with PostgreSQL used as any adapter is, through its driver alone.

`python -m tests.warehouse.forced MODULE [ARGUMENT...]`.
"""

from __future__ import annotations

import runpy
import sys

from connector.warehouse import project

if __name__ == "__main__":
    del project._HANDLES["postgres"]
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
