"""How many of the cases drawn at random are run: a few each time, all of them with DBT_LABELS_TEST_SEEDS=all."""

from __future__ import annotations

import os

ALL = os.environ.get("DBT_LABELS_TEST_SEEDS") == "all"


def seeds(few: int, of: int, after: int = 0) -> range:
    """Return the seeds from `after` on: a few of so many, or all."""
    return range(after, after + (of if ALL else few))
