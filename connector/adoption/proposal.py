"""A proposal: everything that `dbt-labels init` would do to a project, or every reason why it can not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from connector import __version__
from connector.adoption import package
from connector.adoption.change import Change
from connector.adoption.draft import Names, Wish, draft_files, draft_source, has_key, task_block
from connector.adoption.entry import Place, Unfit, add_entry, read_list
from connector.adoption.layout import Noted
from connector.adoption.package import Present
from connector.adoption.style import Style
from connector.errors import LabelsError
from connector.task import Task
from connector.warehouse.declaration import parse_task
from connector.warehouse.inventory import Columns, Inventory

_LEDGER = "label_ledger"
_FOLDER = "labeling"


@dataclass
class Proposal:
    """What is to be done. `package` says what becomes of the package: new, replaced, current, or elsewhere.

    `added` has the line that each of the project's own files gets, `written` the new files, `to_edit` those of them
    that say what is asked, `task` the pending model that is new or was there already.
    """

    project: Path
    package: str
    package_folder: str | None = None
    package_before: str | None = None
    change: Change = field(default_factory=Change)
    added: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    to_edit: list[str] = field(default_factory=list)
    task: str | None = None
    has_new_task: bool = False


def propose_package(project: Path, present: Present | None, inventory: Inventory | None) -> Proposal:
    """Return what becomes of the package: put in, replaced by this command's, or left.

    `inventory` is only needed where the package is not `present`.
    """
    if present is None:
        assert inventory is not None, "it is read where the package is not there"
        if inventory.has_package:
            return Proposal(project, "elsewhere")
        folder = package.choose_folder(project, inventory.paths)
        proposal = Proposal(project, "new", folder)
        proposal.change.folders[project / folder] = dict(package.package_files())
        path, text, put = package.list_package(project, folder)
        proposal.change.files[path] = text
        proposal.added[path.name] = put
        return proposal
    if present.folder is None:
        return Proposal(project, "elsewhere", None, present.version)
    package.check_direction(present)
    folder = present.folder.relative_to(project).as_posix()
    if present.is_current:
        return Proposal(project, "current", folder, present.version)
    proposal = Proposal(project, "replaced", folder, present.version)
    proposal.change.folders[present.folder] = dict(package.package_files())
    return proposal


def propose_task(
    proposal: Proposal, inventory: Inventory, names: Names, wish: Wish, style: Style, where: str | None
) -> None:
    """Add a first task, or one more, to the proposal; one that is there already is left as it is.

    `where` is the folder for its files, from the project's folder. Raises `LabelsError` with every reason against it.
    """
    proposal.task = names.task
    there = inventory.relations.get(names.task)
    if there is not None and there.is_task:
        return
    folder = PurePosixPath(where or _folder_of_tasks(inventory))
    files = draft_files(names, wish, folder, style)
    if style.models_file is not None and any(_is_taken(proposal.project, path, text) for path, text in files.items()):
        # the folder's one file is the user's by now: these models have files of their own
        files = draft_files(names, wish, folder, replace(style, models_file=None))
    mistakes = [*_collisions(inventory, names, files), *_mistakes_of_task(names, wish)]
    if not any(PurePosixPath(path) in (folder, *folder.parents) for path in inventory.model_paths):
        mistakes.append(f"`{folder}` is not in the project's model paths: {', '.join(inventory.model_paths)}")
    source = inventory.sources.get(names.source)
    if source is None:
        path, text = draft_source(names, folder, style)
        files[path] = text
    elif source.has_labels and not mistakes:
        _add_table(proposal, names, source.file)
    mistakes += [f"{path} is there already" for path, text in files.items() if _differs(proposal.project / path, text)]
    if mistakes:
        raise LabelsError(
            "nothing was written:\n" + "\n".join(mistakes),
            "`--task` names the pending model and with it the rest, `--source` the source, `--folder` the folder",
        )
    for path, text in files.items():
        if not (proposal.project / path).exists():
            proposal.change.files[proposal.project / path] = text
            proposal.written.append(str(path))
    proposal.to_edit = [
        str(path) for path, text in files.items() if path.suffix == ".md" or "instructions_file" in text
    ]
    proposal.has_new_task = True


def _folder_of_tasks(inventory: Inventory) -> PurePosixPath:
    """Return the folder of the tasks that there are, or a new one."""
    for relation in inventory.relations.values():
        if relation.is_task and relation.is_own:
            return PurePosixPath(Path(relation.file).as_posix()).parent
    return PurePosixPath(Path(inventory.model_paths[0]).as_posix()) / _FOLDER


def _collisions(inventory: Inventory, names: Names, files: Mapping[PurePosixPath, str]) -> Iterator[str]:
    for name in names.models:
        there = inventory.relations.get(name)
        # a file of an earlier attempt is no other model
        if there is not None and PurePosixPath(Path(there.file).as_posix()) not in files:
            yield f"a {there.kind} is called `{name}` already: {there.file}"
    source = inventory.sources.get(names.source)
    if source is not None and not source.has_labels:
        yield f"a source is called `{names.source}` already: {source.file}"
    elif source is not None and names.table in source.tables:
        yield f"the source `{names.source}` has a table `{names.table}` already: {source.file}"
    if inventory.has_package:
        return
    ours = {path.stem for path in (package.SOURCE / "models").rglob("*.sql")}
    for relation in inventory.relations.values():
        if relation.name in ours:
            yield f"the package has a model `{relation.name}` as well: rename {relation.file}"
    if _LEDGER in inventory.sources:
        yield f"the package has a source `{_LEDGER}` as well: rename that of {inventory.sources[_LEDGER].file}"


def _mistakes_of_task(names: Names, wish: Wish) -> list[str]:
    """Return what the task itself would be refused for."""
    block = {**_plain(task_block(names, wish)), "instructions": "-"}
    block.pop("instructions_file")
    found = parse_task(names.task, block)
    return [] if isinstance(found, Task) else found


def mistakes_of_columns(wish: Wish, columns: Columns) -> list[str]:
    """Return what is wrong with the columns, as far as they are known."""
    kinds = {name.lower(): kind for name, kind in columns.types.items()}
    mistakes = []
    if columns.are_all:
        have = ", ".join(f"`{name}`" for name in columns.types)
        mistakes = [
            f"`{wish.relation.name}` has no column `{name}`; it has {have}"
            for name in (wish.text, wish.age)
            if name is not None and name.lower() not in kinds
        ]
    kind = kinds.get(wish.text.lower(), "")
    if kind not in ("", "varchar"):
        mistakes.append(f"`{wish.text}` is {kind}, not text: cast it to varchar in `{wish.relation.name}`")
    if "text_key" in kinds and not has_key(wish.relation):
        mistakes.append(
            f"`{wish.relation.name}` has a column `text_key` that `dbt_labels.text_key` did not make: rename it"
        )
    return mistakes


def _add_table(proposal: Proposal, names: Names, file: str) -> None:
    """Add the task's table to the source that has the other tasks' labels."""
    path = proposal.project / file
    text = path.read_bytes().decode("utf-8")
    try:
        place: Place = ["sources", _place_of(text, names.source), "tables"]
        after, put = add_entry(text, place, "name", names.table)
    except (Unfit, LookupError) as error:
        raise LabelsError(
            f"{file} can not be added to: {error}",
            f"add the table `{names.table}` to its source by hand, and run again",
        ) from error
    proposal.change.files[path] = after
    proposal.added[file] = put


def _place_of(text: str, source: str) -> int:
    return next(place for place, found in enumerate(read_list(text, ["sources"])) if found["name"] == source)


def _is_taken(project: Path, path: PurePosixPath, text: str) -> bool:
    return path.suffix in (".yml", ".yaml") and _differs(project / path, text)


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode("utf-8")


def _plain(value: Any) -> Any:
    """Return a value without its comments."""
    if isinstance(value, Noted):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(member) for member in value] if isinstance(value, list) else value


def package_line(proposal: Proposal) -> str:
    """Return what becomes of the package, for people."""
    where = f"{proposal.package_folder}: the dbt package"
    if proposal.package == "new":
        return f"{where}, {__version__}"
    if proposal.package == "replaced":
        return f"{where}, {proposal.package_before or 'nothing'} -> {__version__}"
    if proposal.package == "current":
        return f"{where} is {__version__} already"
    return "the dbt package comes from elsewhere and is left as it is"
