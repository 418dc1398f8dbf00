"""The user's dbt project: parsed, run and connected to by dbt itself."""

from __future__ import annotations

import contextlib
import io
import re
import threading
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
from dbt.contracts.graph.nodes import GenericTestNode, ModelNode, SeedNode, SnapshotNode, SourceDefinition
from dbt.exceptions import DbtProfileError

from connector.errors import ProfileError, ProjectError, TaskError, WarehouseError, WarehouseLocked
from connector.task import Task
from connector.warehouse.declaration import PACKAGE, check_quotable, declared, read_tasks
from connector.warehouse.invocation import UntilInterrupted, dbt_message, hint_for, invoke, queries_ended
from connector.warehouse.package import check_package
from connector.warehouse.session import Session

# the raw handles by adapter; any other adapter is used through its driver
_HANDLES = {"duckdb": "connector.warehouse.duckdb", "postgres": "connector.warehouse.postgres"}
_HANDLES["spark"] = "connector.warehouse.spark"
_ANY_HANDLE = "connector.warehouse.dbapi"
# what databases say of two that make the same thing at the same time, and dbt's cache of a view renamed meanwhile
_MEETING = re.compile(
    "already exists|violates unique constraint|concurrent|deadlock|could not serialize|no attribute '_serialize'"
)
_MET = "if another dbt was at work on the same schema just then: run again, nothing of this is lost or paid for twice"
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
    """A model, seed, snapshot or source that is named. `relation` is dbt's own, for macros; None where ephemeral."""

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

    `say` hears of waiting; `is_interrupted` tells whether somebody wants the command to end; `dbt_arguments` go with
    dbt's own commands.
    """

    options: Options
    manifest: Manifest
    tasks: list[Task]
    notes: list[str] = field(default_factory=list)
    say: Callable[[str], None] = _silent
    is_interrupted: Callable[[], bool] = _never
    dbt_arguments: tuple[str, ...] = ()
    lock_patience_seconds: float = _LOCK_PATIENCE_SECONDS
    undisturbed: threading.Lock = field(default_factory=threading.Lock)
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
    def profile(self) -> str:
        """Return the profile's name."""
        return str(self._config.profile_name)

    @property
    def target(self) -> str:
        """Return the profile's target with its adapter, for people."""
        config = self._config
        return f"{config.profile_name}.{config.target_name} ({config.credentials.type})"

    @property
    def has_database(self) -> bool:
        """Tell whether there is a database to connect to; connecting to DuckDB makes a file where there is none."""
        return bool(self._handles.is_there(self._config.credentials))

    def run_dbt(self, command: str, *arguments: str, quiet: bool = False) -> None:
        """Run a dbt command in this process, its output on stderr; raise `ProjectError` where it fails.

        dbt gives up at once on a locked database, so it begins when that can be had. It is let go of afterwards.
        """
        with self.connect():
            pass
        try:
            sink: TextIO = io.StringIO() if quiet else UntilInterrupted(self.is_interrupted)
            with queries_ended(self._adapter_type, self.is_interrupted):
                given = [command, *arguments, *self.options.arguments(), *self.dbt_arguments]
                result = invoke(given, self.manifest, sink)
        finally:
            self._handles.release(self._adapter.connections)
        if not result.success:
            said = dbt_message(result)
            told = said if quiet else "see dbt's messages above"
            hint = _MET if _MEETING.search(said) else None
            raise ProjectError(f"`dbt {command} {' '.join(arguments)}` failed: {told}", hint)

    def model(self, task: Task) -> ModelNode:
        """Return the pending model of a task."""
        return next(node for node in _models(self.manifest) if node.name == task.name and _block(node) is not None)

    def parents(self, task: Task) -> list[ModelNode]:
        """Return the models that the pending model selects from."""
        names = self.model(task).depends_on.nodes
        return [node for node in _models(self.manifest) if node.unique_id in names]

    def named(self, name: str) -> Named | None:
        """Return what has this name, the project's own before a package's, or None; `source.table` is a source's.

        Raises `TaskError` where it can not be quoted.
        """
        sources = self.manifest.sources.values()
        named = (source for source in sources if f"{source.source_name}.{source.name}" == name)
        node = self._node(name) or next(named, None)
        if node is None:
            return None
        check_quotable([node])
        ephemeral = getattr(node.config, "materialized", None) == "ephemeral"
        relation = None if ephemeral else self._adapter.Relation.create_from(self._config, node)
        return Named(node.name, node.description, relation)

    def _node(self, name: str) -> ModelNode | SeedNode | SnapshotNode | None:
        found = [
            node
            for node in self.manifest.nodes.values()
            if isinstance(node, (ModelNode, SeedNode, SnapshotNode)) and node.name == name
            if not isinstance(node, ModelNode) or node.version == node.latest_version
        ]
        return min(found, key=lambda node: node.package_name != self.name, default=None)

    def check_package(self) -> None:
        """Raise `ProjectError` where the dbt package is not there, is switched off or of another version."""
        check_package(self.manifest, self._adapter)

    def check_names(self) -> None:
        """Raise `TaskError` where a relation that a task reads has a name that can not stand in quotes."""
        read = [
            node
            for task in self.tasks
            for node in (
                self.model(task),
                *self.parents(task),
                *map(self._node, filter(None, (task.gold, task.overrides))),
            )
            if node is not None
        ]
        check_quotable(read)

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
            raise TaskError("the project has no task", "give a model `config.meta.dbt_labels`; see docs/task.md")
        unknown = [name for name in names if name not in {task.name for task in self.tasks}]
        if unknown:
            known = ", ".join(f"`{task.name}`" for task in self.tasks)
            raise TaskError(f"no task is called {', '.join(f'`{name}`' for name in unknown)}; there are {known}")
        return [task for task in self.tasks if not names or task.name in names]

    def source_name(self, tasks: Sequence[Task]) -> str:
        """Return the name of the source that has the tasks' tables, or the usual one."""
        return next((source.source_name for source in map(self._source, tasks) if source is not None), "labels")

    def source_file(self, tasks: Sequence[Task]) -> Path:
        """Return the YAML file that declares the tasks' tables, or where it belongs: beside the first pending model."""
        for source in map(self._source, tasks):
            if source is not None:
                return self.folder / str(source.original_file_path)
        return self.folder / Path(self.model(tasks[0]).original_file_path).parent / "labels.yml"

    def source_of(self, task: Task) -> str | None:
        """Return the selector of the task's table as a source, or None where no YAML declares it."""
        source = self._source(task)
        return None if source is None else f"source:{source.source_name}.{source.name}"

    def _source(self, task: Task) -> SourceDefinition | None:
        """Return the task's table as a source: where several declare it, the one that the pending model reads."""
        found = [source for source in self.manifest.sources.values() if source.identifier == task.table]
        read = self.model(task).depends_on.nodes
        return min(found, key=lambda source: source.unique_id not in read, default=None)

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
        """Have what the database is doing for an open `connect` fail at once; to be called by another thread.

        Whoever holds `undisturbed` is let be: what ends a command in good order must not be ended itself.
        """
        if self.undisturbed.acquire(blocking=False):
            try:
                session = self._session
                if session is not None:
                    session.handle.interrupt()
            finally:
                self.undisturbed.release()

    def _open_session(self) -> Session:
        adapter = self._adapter
        self._handles.check_credentials(self._config.credentials)
        # what dbt remembers of the database is of before its hook made tables, and of before others changed it
        adapter.cache.clear()
        with contextlib.ExitStack() as opened:
            opened.callback(self._handles.release, adapter.connections)
            opened.enter_context(adapter.connection_named(_CONNECTION))
            handle = self._open(adapter)
            opened.callback(handle.close)
            session = Session(adapter, handle, self._rendered)
            self._opened = opened.pop_all()
        return session

    def _open(self, adapter: BaseAdapter) -> Any:
        deadline = time.monotonic() + self.lock_patience_seconds
        said = False
        while True:
            try:
                _ = adapter.connections.get_thread_connection().handle  # opens it
                return self._handles.Handle(adapter.connections)
            except WarehouseError:
                raise
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
        try:
            return import_module(_HANDLES.get(self._adapter_type, _ANY_HANDLE))
        except ModuleNotFoundError as error:
            raise ProjectError(f"`{self._adapter_type}` can not be used: {error}", hint_for(str(error))) from error


def parse_project(options: Options) -> Project:
    """Parse the project as dbt does and read every task.

    Raises `ProjectError` with dbt's own words, `TaskError` with every mistake of every task.
    """
    project = read_project(options)
    project.check_package()
    declare_tasks(project)
    return project


def declare_tasks(project: Project) -> None:
    """Read every task of a parsed project into it; raises `TaskError` with every mistake of every task."""
    project.tasks, project.notes = read_tasks(declared(_models(project.manifest)), project.folder)
    project.check_names()


def read_project(options: Options) -> Project:
    """Parse the project as dbt does, whatever it has of ours.

    Raises `ProfileError` for the profile and its target, `ProjectError` for the rest, both with dbt's own words.
    """
    if not (options.project_dir / "dbt_project.yml").exists():
        raise ProjectError(f"there is no dbt_project.yml in {options.project_dir}", "--project-dir names the project")
    # what dbt writes of a manifest takes as long as reading one, and somebody may compare with the one that is there
    result = invoke(["parse", "--no-write-json", *options.arguments()], None, io.StringIO())
    manifest = result.result
    if not isinstance(manifest, Manifest):
        said = dbt_message(result).rstrip(".")
        # a folder for profiles that is not there is none of dbt's own errors
        if isinstance(result.exception, DbtProfileError) or said.startswith("Path '"):
            raise ProfileError(f"dbt can not use the profile: {said}", hint_for(said))
        raise ProjectError(f"dbt could not parse the project: {said}", hint_for(said))
    return Project(options, manifest, [])


def _models(manifest: Manifest) -> Iterator[ModelNode]:
    return (node for node in manifest.nodes.values() if isinstance(node, ModelNode))


def _block(node: ModelNode) -> Any:
    return node.config.meta.get(PACKAGE)
