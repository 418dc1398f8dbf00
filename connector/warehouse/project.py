"""The user's dbt project: parsed, run and connected to by dbt itself. The only module that meets dbt's Python API."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from dbt.adapters.base import BaseAdapter
from dbt.adapters.factory import get_adapter_by_type
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import ModelNode

from connector import __version__
from connector.errors import ProjectError, TaskError, WarehouseError, WarehouseLocked
from connector.task import Task, parse_task

PACKAGE = "dbt_labels"
_HANDLES = {"duckdb": "connector.warehouse.duckdb"}
_LOCK_PATIENCE_SECONDS = 30.0
# macros that only write SQL: dbt takes milliseconds for each call, and a run makes hundreds
_CONSTANT = frozenset({"labels_relation", "utc_now", "batches", "text_history"})


@dataclass(frozen=True)
class Options:
    """Where the project is and what of it is meant, as dbt's own options say it."""

    project_dir: Path
    profiles_dir: Path | None = None
    target: str | None = None
    vars: str | None = None

    def arguments(self) -> list[str]:
        """Return dbt's arguments for these options."""
        arguments = ["--project-dir", str(self.project_dir)]
        for name, value in (("profiles-dir", self.profiles_dir), ("target", self.target), ("vars", self.vars)):
            if value is not None:
                arguments += [f"--{name}", str(value)]
        return arguments


@dataclass
class Project:
    """A parsed project. `parse` makes it; nothing is connected before `connect`."""

    options: Options
    manifest: Manifest
    tasks: list[Task]
    notes: list[str] = field(default_factory=list)
    lock_patience_seconds: float = _LOCK_PATIENCE_SECONDS
    _rendered: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the dbt project's name."""
        return str(self._adapter.config.project_name)  # type: ignore[attr-defined]

    @property
    def folder(self) -> Path:
        """Return the project's folder."""
        return Path(self._adapter.config.project_root)  # type: ignore[attr-defined]

    @property
    def target(self) -> str:
        """Return the profile's target with its adapter, for people."""
        config: Any = self._adapter.config
        return f"{config.profile_name}.{config.target_name} ({config.credentials.type})"

    def run_dbt(self, command: str, *arguments: str, quiet: bool = False) -> None:
        """Run a dbt command in this process, its output on stderr; raise `ProjectError` where it fails.

        The database is let go of afterwards.
        """
        try:
            result = _invoke([command, *arguments, *self.options.arguments()], self.manifest, quiet=quiet)
        finally:
            self._handles.release(self._adapter.connections)
        if not result.success:
            said = _dbt_message(result) if quiet else "see dbt's messages above"
            raise ProjectError(f"`dbt {command} {' '.join(arguments)}` failed: {said}")

    def model(self, task: Task) -> ModelNode:
        """Return the pending model of a task."""
        return next(node for node in _models(self.manifest) if node.name == task.name and _block(node) is not None)

    def parents(self, task: Task) -> list[ModelNode]:
        """Return the models that the pending model selects from."""
        names = self.model(task).depends_on.nodes
        return [node for node in _models(self.manifest) if node.unique_id in names]

    def choose(self, names: Sequence[str]) -> list[Task]:
        """Return the named tasks, or all; raises `TaskError` for a name without a task, or where there is none at all."""
        if not self.tasks:
            raise TaskError(
                "the project has no task", 'give a model `config.meta.dbt_labels`; see "The task" in README.md'
            )
        unknown = [name for name in names if name not in {task.name for task in self.tasks}]
        if unknown:
            known = ", ".join(f"`{task.name}`" for task in self.tasks)
            raise TaskError(f"no task is called {', '.join(f'`{name}`' for name in unknown)}; there are {known}")
        return [task for task in self.tasks if not names or task.name in names]

    def source_name(self, tasks: Sequence[Task]) -> str:
        """Return the name of the source that has the tasks' tables, or the usual one."""
        tables = {task.table for task in tasks}
        names = (source.source_name for source in self.manifest.sources.values() if source.identifier in tables)
        return next(names, "labels")

    def source_file(self, tasks: Sequence[Task]) -> Path:
        """Return the YAML file that declares the tasks' tables, or where it belongs: beside the first pending model."""
        tables = {task.table for task in tasks}
        for source in self.manifest.sources.values():
            if source.identifier in tables:
                return self.folder / source.original_file_path
        return self.folder / Path(self.model(tasks[0]).original_file_path).parent / "labels.yml"

    def source_of(self, task: Task) -> str | None:
        """Return the selector of the task's table as a source, or None where no YAML declares it."""
        for source in self.manifest.sources.values():
            if source.identifier == task.table:
                return f"source:{source.source_name}.{source.name}"
        return None

    @contextlib.contextmanager
    def connect(self) -> Iterator[Session]:
        """Open the warehouse, waiting a while for a lock to end, and let go of it at the end.

        Raises `WarehouseLocked` or `WarehouseError`. An error of the database inside is given as `WarehouseError`.
        """
        adapter = self._adapter
        self._handles.check_credentials(adapter.config.credentials)
        deadline = time.monotonic() + self.lock_patience_seconds
        with adapter.connection_named("dbt_labels"):
            try:
                wrapped = self._open(adapter, deadline)
                handle = self._handles.Handle(wrapped)
                try:
                    yield Session(adapter, handle, self._rendered)
                except handle.errors as error:
                    raise WarehouseError(f"the warehouse refused: {str(error).splitlines()[0]}") from error
            finally:
                adapter.cache.clear()
                adapter.connections.release()
                self._handles.release(adapter.connections)

    def _open(self, adapter: BaseAdapter, deadline: float) -> Any:
        while True:
            try:
                return adapter.connections.get_thread_connection().handle
            except Exception as error:  # noqa: BLE001 - whatever the driver raises on connecting; all become ours
                translated = self._handles.translate_open(error)
                if not isinstance(translated, WarehouseLocked) or time.monotonic() > deadline:
                    raise translated from error
                adapter.connections.release()
                adapter.connections.set_connection_name("dbt_labels")
                time.sleep(0.25)

    @property
    def _adapter(self) -> BaseAdapter:
        adapter = get_adapter_by_type(self.manifest.metadata.adapter_type or "")
        adapter.set_macro_resolver(self.manifest)
        return adapter

    @property
    def _handles(self) -> ModuleType:
        return import_module(_HANDLES[self.manifest.metadata.adapter_type or ""])


class Session:
    """An open warehouse: macros by dbt, rows and record batches by the raw handle."""

    def __init__(self, adapter: BaseAdapter, handle: Any, rendered: dict[str, Any]) -> None:
        self._adapter = adapter
        self._rendered = rendered
        self.handle = handle

    def macro(self, name: str, **arguments: Any) -> Any:
        """Return what a macro of the package returns, rendered once per project where it depends on its arguments alone."""
        call = f"{name} {sorted(arguments.items())}"
        if name in _CONSTANT and call in self._rendered:
            return self._rendered[call]
        result = self._adapter.execute_macro(name, project=PACKAGE, kwargs=arguments)
        result = result.strip() if isinstance(result, str) else result
        self._rendered[call] = result
        return result

    def relation(self, table: str) -> str:
        """Return a table of the labels schema, quoted for SQL."""
        return str(self.macro("labels_relation", identifier=table))

    def quote(self, column: str) -> str:
        """Return a column's name, quoted for SQL."""
        return self._adapter.quote(column)

    def columns(self, relation: str) -> dict[str, str]:
        """Return a relation's columns and types in lower case; empty where there is no such relation."""
        try:
            described = self.handle.rows(f"select * from {relation} limit 0")
        except self.handle.errors:
            return {}
        del described
        rows = self.handle.rows(f"describe select * from {relation}")
        return {str(row["column_name"]).lower(): str(row["column_type"]).lower() for row in rows}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing."""
        self.handle.execute("begin transaction")
        try:
            yield
        except BaseException:
            self.handle.execute("rollback")
            raise
        self.handle.execute("commit")


def parse_project(options: Options) -> Project:
    """Parse the project as dbt does and read every task.

    Raises `ProjectError` with dbt's own words, `TaskError` with every mistake of every task.
    """
    result = _invoke(["parse", *options.arguments()], None, quiet=True)
    manifest = result.result
    if not isinstance(manifest, Manifest):
        raise ProjectError(f"dbt could not parse the project: {_dbt_message(result)}")
    adapter_type = manifest.metadata.adapter_type or ""
    if adapter_type not in _HANDLES:
        raise ProjectError(f"dbt-labels does not work with `{adapter_type}` yet, only with {', '.join(_HANDLES)}")
    project = Project(options, manifest, [])
    project.tasks, project.notes = _read_tasks(manifest, project.folder)
    _check_package(project)
    return project


def _invoke(arguments: list[str], manifest: Manifest | None, quiet: bool) -> dbtRunnerResult:
    # dbt writes to stdout, which is for data here
    sink: Callable[[], Any] = io.StringIO if quiet else lambda: sys.stderr
    with contextlib.redirect_stdout(sink()):
        return dbtRunner(manifest=manifest).invoke(arguments + (["--quiet"] if quiet else []))


def _dbt_message(result: dbtRunnerResult) -> str:
    if result.exception:
        return str(result.exception).strip()
    failed = [node for node in getattr(result.result, "results", []) if node.status in ("error", "fail")]
    return "\n".join(f"{node.node.name}: {str(node.message).strip()}" for node in failed) or "see logs/dbt.log"


def _check_package(project: Project) -> None:
    if not any(macro.package_name == PACKAGE for macro in project.manifest.macros.values()):
        raise ProjectError(
            f"the project does not have the dbt package `{PACKAGE}`", "add it to packages.yml and run `dbt deps`"
        )
    adapter = project._adapter
    version = str(adapter.execute_macro("package_version", project=PACKAGE)).strip()
    if version != __version__:
        raise ProjectError(
            f"dbt-labels is {__version__}, but the project's dbt package `{PACKAGE}` is {version}",
            "bring both to the same version, then run `dbt deps`",
        )


def _models(manifest: Manifest) -> Iterator[ModelNode]:
    return (node for node in manifest.nodes.values() if isinstance(node, ModelNode))


def _block(node: ModelNode) -> Any:
    return node.config.meta.get(PACKAGE)


def _read_tasks(manifest: Manifest, folder: Path) -> tuple[list[Task], list[str]]:
    nodes = [node for node in _models(manifest) if _block(node) is not None]
    tasks: list[Task] = []
    mistakes: list[str] = []
    notes: list[str] = []
    inherited = [node for node in nodes if not _declared_at_model(node, folder)]
    if len(inherited) > 1:
        names = ", ".join(f"`{node.name}`" for node in inherited)
        mistakes.append(
            f"dbt_project.yml: one `{PACKAGE}` block under a folder's `+meta` landed on several models: {names};"
            " move it to the YAML of the one pending model"
        )
        nodes = [node for node in nodes if node not in inherited]
    for node in nodes:
        where = _yaml_path(node) or node.original_file_path
        block, wrong = _with_instructions(node, folder, notes)
        parsed = wrong or parse_task(node.name, block)
        if isinstance(parsed, Task):
            tasks.append(parsed)
        else:
            mistakes += [f"{where}: model `{node.name}`: {mistake}" for mistake in parsed]
    tables = [task.table for task in tasks]
    for table in sorted({table for table in tables if tables.count(table) > 1}):
        names = ", ".join(f"`{task.name}`" for task in tasks if task.table == table)
        mistakes.append(f"models {names}: two tasks with one table, `{table}`; give each its own")
    if mistakes:
        raise TaskError("\n".join(mistakes), 'keys are under `config.meta.dbt_labels`; see "The task" in README.md')
    return tasks, notes


def _with_instructions(node: ModelNode, folder: Path, notes: list[str]) -> tuple[dict[str, Any], list[str]]:
    block = _block(node)
    if not isinstance(block, dict):
        return {}, [f"`{PACKAGE}` must be a mapping of keys"]
    block = dict(block)
    named = block.pop("instructions_file", None)
    if named is None:
        raw = _raw_instructions(node, folder)
        if isinstance(raw, str) and isinstance(block.get("instructions"), str) and raw != block["instructions"]:
            notes.append(
                f"model `{node.name}`: dbt rendered the braces in `instructions`, so the model is asked something else"
                " than the YAML says; put the wording in a file and name it in `instructions_file`"
            )
        return block, []
    if "instructions" in block:
        return block, ["`instructions` and `instructions_file` exclude each other: keep one"]
    if not isinstance(named, str):
        return block, ["`instructions_file` must be a path"]
    path = folder / named
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return block, [f"`instructions_file`: {path} can not be read: {error}"]
    if not text.strip():
        return block, [f"`instructions_file`: {path} is empty"]
    return {**block, "instructions": text}, []


def _yaml_path(node: ModelNode) -> str | None:
    return node.patch_path.partition("://")[2] if node.patch_path else None


def _raw_block(node: ModelNode, folder: Path) -> Any:
    """Return the block as it stands in the model's YAML, before dbt renders it; None where it is not there."""
    where = _yaml_path(node)
    if where is None:
        return None
    try:
        document = yaml.safe_load((folder / where).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    for model in (document or {}).get("models") or []:
        if isinstance(model, dict) and model.get("name") == node.name:
            meta = (model.get("config") or {}).get("meta") or model.get("meta") or {}
            return meta.get(PACKAGE)
    return None


def _raw_instructions(node: ModelNode, folder: Path) -> Any:
    block = _raw_block(node, folder)
    return block.get("instructions") if isinstance(block, dict) else None


def _declared_at_model(node: ModelNode, folder: Path) -> bool:
    in_sql = PACKAGE in (node.config_call_dict.get("meta") or {})
    return in_sql or _raw_block(node, folder) is not None
