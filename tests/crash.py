"""Run the pipeline in processes that are killed at a chosen boundary: before or after a provider call or a commit.

Started as a script with a project's folder; it parses once and does the first line of JSON on stdin itself, so that
all that is loaded and rendered once is there, then forks a child for each further line: `key`, `base_url`, `kill_at` (a
boundary's number or name, or null), `grace_seconds`, `max_requests`, `poll_seconds`, `transactions` (false: DuckDB is
used as an engine that has none, and every single write is a boundary), `build` (true: with dbt before and after the
run), `task_run` (keys of the task's `run`). It answers with `code`, `boundaries` and `error`; for a child that was
killed its parent tells the signal. With `alone` after the folder there is one line and no child: it is the process
itself that is killed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from connector import backoff
from connector import provider as provider_module
from connector.errors import LabelsError
from connector.pipeline import Voice, build, run
from connector.provider import Provider
from connector.run import Settings
from connector.task import Task
from connector.warehouse.project import Options, Project, parse_project


class Boundaries:
    """Counts the boundaries that a process crosses, and kills it at one of them."""

    def __init__(self, kill_at: int | str | None) -> None:
        self.kill_at = kill_at
        self.names: list[str] = []
        self._slices = itertools.count(1)

    def cross(self, name: str) -> None:
        if self.kill_at in (len(self.names), name):
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def around(self, call: Callable[..., Any], name: Callable[..., str | None]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            crossed = name(*arguments)
            if crossed is None:
                return call(*arguments, **options)
            self.cross(f"before {crossed}")
            result = call(*arguments, **options)
            self.cross(f"after {crossed}")
            return result

        return wrapped

    def install(self, handle: Any, transactions: bool) -> None:
        """Put a boundary around every HTTP call and every commit of this process, or every write where none is one."""
        client = provider_module._transport.Client
        client.send = self.around(client.send, lambda _, request, *rest: f"{request.method} {request.url.path}")
        if not transactions:
            handle.has_transactions = False
            handle.append = self.around(handle.append, lambda _, relation, *rest: f"append to {_name(relation)}")
            handle.insert = self.around(
                handle.insert, lambda _, relation, row: f"insert {row.get('event', '')} into {_name(relation)}"
            )
            handle.lent = self.around(handle.lent, lambda *_: f"slice {next(self._slices)}")
        handle.execute = self.around(handle.execute, lambda _, sql, *rest: "commit" if sql == "commit" else None)


def _name(relation: str) -> str:
    return relation.rpartition(".")[2].strip('`"')


def main() -> None:
    project = parse_project(Options(Path(sys.argv[1]), Path(sys.argv[1])))
    if sys.argv[2:] == ["alone"]:
        print(json.dumps(_run_in_child(project, json.loads(sys.stdin.readline()))), flush=True)
        return
    print("ready", flush=True)
    print(json.dumps(_run(project, json.loads(sys.stdin.readline()))), flush=True)
    for line in sys.stdin:
        print(json.dumps(_fork(project, json.loads(line))), flush=True)


def _fork(project: Project, command: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as answer:
            json.dump(_run_in_child(project, command), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    return {"code": -os.WTERMSIG(status)} if killed else json.loads(said)


def _run_in_child(project: Project, command: dict[str, Any]) -> dict[str, Any]:
    boundaries = Boundaries(command.get("kill_at"))
    if rows := command.get("write_rows"):
        project._handles._WRITE_ROWS = rows
    boundaries.install(project._handles.Handle, command.get("transactions", True))
    return {**_run(project, command), "boundaries": boundaries.names}


def _run(project: Project, command: dict[str, Any]) -> dict[str, Any]:
    backoff.MAX_REQUESTS = command.get("max_requests", backoff.MAX_REQUESTS)
    project.tasks = [_changed(task, command.get("task_run", {})) for task in project.tasks]
    budget = command.get("budget_usd")
    settings = Settings(
        poll_seconds=command.get("poll_seconds", 0.02),
        grace_seconds=command.get("grace_seconds", 0.0),
        budget_usd=None if budget is None else Decimal(budget),
    )
    lines: list[str] = []
    voice = Voice(lines.append, lambda batches: None, lambda plans: None)
    provider = Provider(command["key"], command["base_url"])
    try:
        if command.get("build"):
            summary = build(project, project.tasks, lambda: provider, settings, voice)
        else:
            summary = run(project, project.tasks, provider, settings, voice)
    except LabelsError as error:
        return {"code": error.exit_code, "error": error.message, "hint": error.hint, "said": lines}
    except Exception:  # noqa: BLE001 - the parent shows it
        return {"code": 70, "error": traceback.format_exc(), "said": lines}
    problems = "\n".join(summary.problems)
    code = 1 if problems else 4 if summary.over_budget else 0
    return {"code": code, "error": problems, "said": lines}


def _changed(task: Task, run: dict[str, Any]) -> Task:
    block = task.model_dump(mode="json")
    return Task.model_validate({**block, "run": {**block["run"], **run}}, strict=False) if run else task


if __name__ == "__main__":
    main()
