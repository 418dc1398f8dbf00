"""The user's dbt project: parsed, run and connected to by dbt itself. The only module that meets dbt's Python API."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from dbt.adapters.base import BaseAdapter
from dbt.adapters.factory import get_adapter_by_type
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import GenericTestNode, ModelNode, SeedNode, SnapshotNode

from connector import __version__
from connector.errors import ProjectError, TaskError, WarehouseLocked
from connector.task import Task
from connector.warehouse.declaration import PACKAGE, Declaration, read_tasks
from connector.warehouse.invocation import UntilInterrupted, dbt_message, invoke, queries_ended
from connector.warehouse.session import Session

_HANDLES = {"duckdb": "connector.warehouse.duckdb", "postgres": "connector.warehouse.postgres"}
_LOCK_PATIENCE_SECONDS = 30.0
_CONNECTION = "dbt_labels"


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


@dataclass(frozen=True)
class Named:
    """A model, seed or snapshot that a task names. `relation` is dbt's own, for macros; None where it is ephemeral."""

    name: str
    description: str
    relation: Any


def _silent(_: str) -> None:
    return None


def _never() -> bool:
    return False


@dataclass
class Project:
    """A parsed project. `parse_project` makes it; nothing is connected before `connect`.

    `say` hears of waiting; `is_interrupted` tells whether somebody wants the command to end.
    """

    options: Options
    manifest: Manifest
    tasks: list[Task]
    notes: list[str] = field(default_factory=list)
    say: Callable[[str], None] = _silent
    is_interrupted: Callable[[], bool] = _never
    lock_patience_seconds: float = _LOCK_PATIENCE_SECONDS
    _rendered: dict[str, Any] = field(default_factory=dict)
    _session: Session | None = None
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _users: int = 0
    _keeps_open: bool = False
    _is_broken: bool = False

    @property
    def name(self) -> str:
        """Return the dbt project's name."""
        return str(self._config.project_name)

    @property
    def folder(self) -> Path:
        """Return the project's folder."""
        return Path(self._config.project_root)

    @property
    def target(self) -> str:
        """Return the profile's target with its adapter, for people."""
        config = self._config
        return f"{config.profile_name}.{config.target_name} ({config.credentials.type})"

    def run_dbt(self, command: str, *arguments: str, quiet: bool = False) -> None:
        """Run a dbt command in this process, its output on stderr; raise `ProjectError` where it fails.

        dbt gives up at once on a locked database, so it begins when that can be had. It is let go of afterwards.
        """
        with self.connect():
            pass
        try:
            sink: TextIO = io.StringIO() if quiet else UntilInterrupted(self.is_interrupted)
            with queries_ended(self._adapter_type, self.is_interrupted):
                result = invoke([command, *arguments, *self.options.arguments()], self.manifest, sink)
        finally:
            self._handles.release(self._adapter.connections)
        if not result.success:
            said = dbt_message(result) if quiet else "see dbt's messages above"
            raise ProjectError(f"`dbt {command} {' '.join(arguments)}` failed: {said}")

    def model(self, task: Task) -> ModelNode:
        """Return the pending model of a task."""
        return next(node for node in _models(self.manifest) if node.name == task.name and _block(node) is not None)

    def parents(self, task: Task) -> list[ModelNode]:
        """Return the models that the pending model selects from."""
        names = self.model(task).depends_on.nodes
        return [node for node in _models(self.manifest) if node.unique_id in names]

    def named(self, name: str) -> Named | None:
        """Return what has this name, the project's own before a package's, or None."""
        found = [
            node
            for node in self.manifest.nodes.values()
            if isinstance(node, (ModelNode, SeedNode, SnapshotNode)) and node.name == name
            if not isinstance(node, ModelNode) or node.version == node.latest_version
        ]
        if not found:
            return None
        node = min(found, key=lambda node: node.package_name != self.name)
        ephemeral = node.config.materialized == "ephemeral"
        relation = None if ephemeral else self._adapter.Relation.create_from(self._config, node)
        return Named(node.name, node.description, relation)

    def test_arguments(self, test: str, task: Task) -> list[dict[str, Any]]:
        """Return the arguments of a test of the package wherever it holds a task, but not where it only warns.

        It holds the task of its argument `task`, or else that of the source table or the pending model it is put on.
        """
        sources = [source for source in self.manifest.sources.values() if source.identifier == task.table]
        targets = {self.model(task).unique_id, *(source.unique_id for source in sources)}
        found = []
        for node in self.manifest.nodes.values():
            if not isinstance(node, GenericTestNode) or node.test_metadata.namespace != PACKAGE:
                continue
            if node.test_metadata.name != test or str(node.config.severity).lower() == "warn":
                continue
            arguments = dict(node.test_metadata.kwargs)
            on = targets.intersection(node.depends_on.nodes)
            if arguments.get("task") == task.name or ("task" not in arguments and on):
                found.append(arguments)
        return found

    def choose(self, names: Sequence[str]) -> list[Task]:
        """Return the named tasks, or all; raises `TaskError` for a name without a task, or where there is none."""
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
                return self.folder / str(source.original_file_path)
        return self.folder / Path(self.model(tasks[0]).original_file_path).parent / "labels.yml"

    def source_of(self, task: Task) -> str | None:
        """Return the selector of the task's table as a source, or None where no YAML declares it."""
        for source in self.manifest.sources.values():
            if source.identifier == task.table:
                return f"source:{source.source_name}.{source.name}"
        return None

    @contextlib.contextmanager
    def connect(self) -> Iterator[Session]:
        """Open the warehouse, waiting a while for a lock to end, and let go of it at the end, or see `kept_open`.

        Raises `WarehouseLocked` or `WarehouseError`. An error of the database inside is given as `WarehouseError`.
        """
        session = self._session = self._session or self._open_session()
        self._users += 1
        try:
            with session.translated():
                yield session
        except BaseException:
            self._is_broken = True
            raise
        finally:
            self._users -= 1
            if self._is_broken or not self._keeps_open:
                self.let_go()

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Leave the warehouse open between the `connect`s inside; `let_go` gives others a turn in between."""
        assert not self._keeps_open, "one at a time: the inner one would end the outer one"
        self._keeps_open = True
        try:
            yield
        finally:
            self._keeps_open = False
            self.let_go()

    def let_go(self) -> None:
        """Close the warehouse unless it is in use just now: others get their turn until the next `connect`."""
        if self._session is None or self._users:
            return
        self._session, self._is_broken = None, False
        self._opened.close()

    def end_query(self) -> None:
        """Have what the database is doing for an open `connect` fail at once; to be called by another thread."""
        session = self._session
        if session is not None:
            session.handle.interrupt()

    def _open_session(self) -> Session:
        adapter = self._adapter
        self._handles.check_credentials(self._config.credentials)
        # what dbt remembers of the database is of before its hook made tables, and of before others changed it
        adapter.cache.clear()
        with contextlib.ExitStack() as opened:
            opened.callback(self._handles.release, adapter.connections)
            opened.enter_context(adapter.connection_named(_CONNECTION))
            self._open(adapter)
            handle = self._handles.Handle(adapter.connections)
            opened.callback(handle.close)
            session = Session(adapter, handle, self._rendered)
            self._opened = opened.pop_all()
        return session

    def _open(self, adapter: BaseAdapter) -> None:
        deadline = time.monotonic() + self.lock_patience_seconds
        said = False
        while True:
            try:
                _ = adapter.connections.get_thread_connection().handle  # opens it
                return
            except Exception as error:  # whatever the driver raises on connecting
                translated = self._handles.translate_open(error)
                if not isinstance(translated, WarehouseLocked) or time.monotonic() > deadline:
                    raise translated from error
                if not said:
                    self.say(f"{translated.message}; waiting up to {self.lock_patience_seconds:.0f} s for it")
                    said = True
                adapter.connections.release()
                adapter.connections.set_connection_name(_CONNECTION)
                time.sleep(0.25)

    @property
    def _adapter_type(self) -> str:
        return self.manifest.metadata.adapter_type or ""

    @property
    def _adapter(self) -> BaseAdapter:
        adapter = get_adapter_by_type(self._adapter_type)
        adapter.set_macro_resolver(self.manifest)
        return adapter

    @property
    def _config(self) -> Any:
        return self._adapter.config

    @property
    def _handles(self) -> ModuleType:
        return import_module(_HANDLES[self._adapter_type])


def parse_project(options: Options) -> Project:
    """Parse the project as dbt does and read every task.

    Raises `ProjectError` with dbt's own words, `TaskError` with every mistake of every task.
    """
    result = invoke(["parse", *options.arguments()], None, io.StringIO())
    manifest = result.result
    if not isinstance(manifest, Manifest):
        said = dbt_message(result)
        raise ProjectError(f"dbt could not parse the project: {said}", _hint(said))
    adapter_type = manifest.metadata.adapter_type or ""
    if adapter_type not in _HANDLES:
        raise ProjectError(f"dbt-labels does not work with `{adapter_type}` yet, only with {', '.join(_HANDLES)}")
    project = Project(options, manifest, [])
    _check_package(project)
    project.tasks, project.notes = read_tasks(_declarations(manifest), project.folder)
    return project


def _hint(said: str) -> str | None:
    if "adapter type postgres" in said:
        return "PostgreSQL needs an extra: pip install 'dbt-labels[postgres]'"
    if "profile" in said:
        return "profiles.yml is looked for in --profiles-dir, DBT_PROFILES_DIR, the current folder and ~/.dbt"
    if "label_ledger" in said:
        return f"is the dbt package `{PACKAGE}` there? add it to packages.yml and run `dbt deps`"
    return None


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


def _declarations(manifest: Manifest) -> list[Declaration]:
    return [
        Declaration(
            model=node.name,
            block=_block(node),
            sql_file=node.original_file_path,
            yaml_file=node.patch_path.partition("://")[2] if node.patch_path else None,
            in_sql=PACKAGE in (node.config_call_dict.get("meta") or {}),
        )
        for node in _models(manifest)
        if _block(node) is not None
    ]
