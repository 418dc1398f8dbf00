"""Processes that try for one lease at the same moment, round after round, and say what came of it.

`python -m tests.warehouse.takers FOLDER TAKERS ROUNDS` prints JSON: what each heard, round by round, "taken" for the
lease.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from connector.errors import LabelsError
from connector.warehouse.project import Options, Project, parse_project
from connector.warehouse.tables import Ledger


def _try(project: Project, name: str, rounds: int, barrier: Barrier, heard: Any) -> None:
    for number in range(rounds):
        with project.kept_open():
            with project.connect():
                pass  # so that all are connected when they begin
            barrier.wait()
            try:
                with Ledger(project, name).leased(["comment_labels"]):
                    heard.put((number, "taken"))
                    barrier.wait()
            except LabelsError as error:
                heard.put((number, error.message))
                barrier.wait()
            barrier.wait()


def main() -> None:
    folder, takers, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    project = parse_project(Options(folder, folder))
    forking = multiprocessing.get_context("fork")
    barrier, heard = forking.Barrier(takers, timeout=60), forking.Queue()
    processes = [
        forking.Process(target=_try, args=(project, f"taker {number}", rounds, barrier, heard))
        for number in range(takers)
    ]
    for process in processes:
        process.start()
    answers: list[list[str]] = [[] for _ in range(rounds)]
    for _ in range(takers * rounds):
        number, said = heard.get(timeout=60)
        answers[number].append(said)
    for process in processes:
        process.join()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
