"""What a project has, whether the dbt package is in it or not: names that are taken, relations and their columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.errors import LabelsError
from connector.warehouse.declaration import PACKAGE
from connector.warehouse.project import Project

_KINDS = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class Relation:
    """A model, seed, snapshot or source table. `call` is what refers to it: `("ref", name)`.

    `file` is relative to the project's folder, `described` are the columns that its YAML names.
    """

    name: str
    kind: str
    call: tuple[str, ...]
    is_own: bool
    file: str
    code: str
    described: tuple[str, ...]
    relation_name: str | None
    is_task: bool


@dataclass(frozen=True)
class Source:
    """A source: the file that declares it, its tables, and whether it has the labels of a task."""

    file: str
    tables: tuple[str, ...]
    is_own: bool
    has_labels: bool


@dataclass(frozen=True)
class Inventory:
    """What a project has. `paths` are the folders that dbt reads, installs into or cleans, as dbt_project.yml says."""

    project_name: str
    folder: Path
    model_paths: tuple[str, ...]
    paths: tuple[str, ...]
    relations: dict[str, Relation]
    sources: dict[str, Source]
    has_package: bool

    def source_of_labels(self) -> str | None:
        """Return the project's source that has the tables of the tasks there are, None without any."""
        return next((name for name, source in self.sources.items() if source.has_labels and source.is_own), None)


def read_inventory(project: Project) -> Inventory:
    """Return what a parsed project has."""
    manifest, config = project.manifest, project._config
    nodes = [node for node in manifest.nodes.values() if node.resource_type in _KINDS and _is_latest(node)]
    relations = {}
    # the project's own wins over a package's
    for node in sorted(nodes, key=lambda node: node.package_name == project.name):
        relations[node.name] = _relation(project, node, node.name, ("ref", node.name))
    for node in manifest.sources.values():
        name = f"{node.source_name}.{node.name}"
        relations[name] = _relation(project, node, name, ("source", node.source_name, node.name))
    return Inventory(
        project_name=project.name,
        folder=project.folder,
        model_paths=tuple(config.model_paths),
        paths=(*config.all_source_paths, config.packages_install_path, *config.clean_targets),
        relations=relations,
        sources=_sources(project),
        has_package=any(macro.package_name == PACKAGE for macro in manifest.macros.values()),
    )


@dataclass(frozen=True)
class Columns:
    """A relation's columns with their types: all of them as the warehouse has them, or those that its YAML names."""

    types: dict[str, str]
    are_all: bool


def columns_of(project: Project, relation: Relation) -> Columns:
    """Return what is known of a relation's columns; no database is made by looking."""
    described = Columns(dict.fromkeys(relation.described, ""), False)
    if relation.relation_name is None or not project.has_database:
        return described
    try:
        with project.connect() as session:
            found = session.columns(relation.relation_name)
    except LabelsError:
        return described
    return Columns(found, True) if found else described


def _relation(project: Project, node: Any, name: str, call: tuple[str, ...]) -> Relation:
    meta = node.config.meta if node.resource_type == "model" else {}
    return Relation(
        name=name,
        kind=str(node.resource_type.value),
        call=call,
        is_own=node.package_name == project.name,
        file=str(node.original_file_path),
        code=getattr(node, "raw_code", "") or "",
        described=tuple(node.columns),
        relation_name=node.relation_name,
        is_task=PACKAGE in meta,
    )


def _sources(project: Project) -> dict[str, Source]:
    blocks = [
        node.config.meta.get(PACKAGE) for node in project.manifest.nodes.values() if node.resource_type == "model"
    ]
    labels = {block.get("table") for block in blocks if isinstance(block, dict)}
    found: dict[str, Source] = {}
    for node in project.manifest.sources.values():
        had = found.get(node.source_name)
        tables = (*(had.tables if had else ()), node.identifier)
        found[node.source_name] = Source(
            file=str(node.original_file_path),
            tables=tables,
            is_own=node.package_name == project.name,
            has_labels=bool(labels & set(tables)),
        )
    return found


def _is_latest(node: Any) -> bool:
    return bool(node.resource_type != "model" or node.version == node.latest_version)
