"""Processes that try for one lease at the same moment, round after round, and say what came of it.

`python -m tests.warehouse.takers FOLDER TAKERS ROUNDS [take|append]` prints JSON: what each heard, round by round,
"taken" for the lease. With the fourth argument each is a process of its own from the start, because some engines can
not be forked, and `append` has them write an event instead.
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
from tests.limit import LONGEST_SECONDS


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


def _append(project: Project, name: str, rounds: int, barrier: Barrier, heard: Any) -> None:
    with project.kept_open():
        for number in range(rounds):
            with project.connect() as session:
                relation = session.relation("label_events")
                barrier.wait()
                session.handle.insert(relation, {"batch_key": f"batch {number}", "event": name})
            heard.put((number, "appended"))


def _begin(what: str, folder: Path, *rest: Any) -> None:
    {"take": _try, "append": _append}[what](parse_project(Options(folder, folder)), *rest)


def main() -> None:
    folder, takers, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = multiprocessing.get_context("spawn" if sys.argv[4:] else "fork")
    barrier, heard = context.Barrier(takers, timeout=LONGEST_SECONDS), context.Queue()
    names = [f"taker {number}" for number in range(takers)]
    if sys.argv[4:]:
        what = sys.argv[4]
        processes = [
            context.Process(target=_begin, args=(what, folder, name, rounds, barrier, heard)) for name in names
        ]
    else:
        project = parse_project(Options(folder, folder))
        processes = [context.Process(target=_try, args=(project, name, rounds, barrier, heard)) for name in names]
    for process in processes:
        process.start()
    answers: list[list[str]] = [[] for _ in range(rounds)]
    for _ in range(takers * rounds):
        number, said = heard.get(timeout=LONGEST_SECONDS)
        answers[number].append(said)
    for process in processes:
        process.join()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
