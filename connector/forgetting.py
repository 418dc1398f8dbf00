"""Forgetting: texts are taken out of the ledger and of the provider, for a person who may ask for that.

Files first, rows after: the claims say which files held a text, so a command that ends halfway can be done again. Files
of a batch that may still run are never deleted: its other texts are paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import InDoubt, LabelsError, NotThere, UsageError, WarehouseError
from connector.files import kept_folders, work_folder
from connector.ledger import FILES_DELETED, TEXT_KEY, UNRESOLVED, Batch, Identity, State, new_key
from connector.recovery import FILE_KEPT, find_batch
from connector.run import DEFAULT_GRACE_SECONDS
from connector.task import Task
from connector.warehouse.erasure import Traces, check_erasable, erase, find_traces, named_tables, read_keys
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger

if TYPE_CHECKING:
    from connector.provider import Provider, RemoteBatch

# of such a batch nothing can come, and an input that is known was to be deleted as soon as that was clear
_NOTHING_CAME = (State.RELEASED, State.REFUSED)
_SHOWN_WITHIN = timedelta(seconds=DEFAULT_GRACE_SECONDS)
_MAY_YET = "the provider does not show it, and may yet: forget again in a quarter of an hour"
_LEAVE_FILES = "leave their files with --keep-files: OpenAI deletes them after 30 days"


@dataclass(frozen=True)
class Forgetting:
    """What would be forgotten of so many texts asked for.

    `batches` are those that may have files at the provider, `kept` the folders that `run --keep` left on this machine.
    """

    asked: int
    tables: list[str]
    traces: Traces
    batches: list[Batch]
    kept: list[Path]
    keeps_files: bool


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten: texts, rows of labels, claims, files at the provider."""

    texts: int = 0
    rows: int = 0
    claims: int = 0
    files: int = 0


def chosen_keys(project: Project, keys: Sequence[str], query: str | None) -> list[str]:
    """Return the keys given and those of the query; raises `UsageError` for what is no key."""
    if not keys and query is None:
        raise UsageError("say what to forget: `--key` or `--query`")
    found = sorted({*keys, *([] if query is None else read_keys(project, query))})
    wrong = [key for key in found if not TEXT_KEY.fullmatch(key)]
    if wrong:
        raise UsageError(
            f"{len(wrong)} of {len(found)} are no keys of texts: {', '.join(f'`{key[:20]}`' for key in wrong[:5])}",
            "a key is SHA-256 in lower-case hex, as `dbt_labels.text_key` makes it",
        )
    return found


def forget(
    project: Project,
    tasks: Sequence[Task],
    keys: Sequence[str],
    connect: Callable[[], Provider] | None,
    confirm: Callable[[Forgetting], None],
) -> Forgotten:
    """Show what would be forgotten, have it confirmed, delete the files and then the rows.

    Without `connect` the provider's files are left. With all tasks of the project this reaches tables, too, that no
    task names any more. Raises `LabelsError` where a text is in a live batch, a file can not be accounted for, or the
    warehouse has tables of which nothing can be deleted.
    """
    ledger = Ledger(project, new_key())
    check_erasable(project)
    ledger.check(tasks)
    found = _find(project, ledger, tasks, keys, connect is None)
    if not found.traces.texts:
        return Forgotten()
    confirm(found)
    with ledger.leased(found.tables), work_folder(project.folder, ledger.run_key):
        # somebody may have sent them in the meantime; from here on nobody can
        found = _find(project, ledger, tasks, keys, connect is None)
        files = 0
        if found.batches and connect is not None:
            provider = connect()
            provider.before_call = project.let_go
            try:
                files = _delete_files(ledger, provider, found.batches)
            finally:
                provider.close()
        with ledger.writing(found.tables) as session:
            erase(session, found.tables, found.traces.rows, keys)
    return Forgotten(found.traces.texts, sum(found.traces.rows.values()), found.traces.claims, files)


def _find(
    project: Project, ledger: Ledger, tasks: Sequence[Task], keys: Sequence[str], keeps_files: bool
) -> Forgetting:
    everywhere = len(tasks) == len(project.tasks)
    tables = named_tables(project, tasks) if everywhere else sorted(task.table for task in tasks)
    with project.kept_open():
        traces = find_traces(project, tasks, tables, keys)
        traced = set(traces.batches)
        batches = [batch for batch in ledger.batches(tables, State) if batch.batch_key in traced]
    if unreadable := sorted(ledger.unreadable.keys() & traced):
        raise WarehouseError(
            "nothing was forgotten, because batches with some of these texts can not be read: "
            + "; ".join(f"batch {key}: {ledger.unreadable[key]}" for key in unreadable)
        )
    live = [batch.batch_key for batch in batches if batch.state in UNRESOLVED]
    if live:
        raise WarehouseError(
            f"some of these texts are in flight, so nothing was forgotten: batch {', '.join(live)}",
            "`dbt-labels run` waits for it, `dbt-labels cancel` stops it; then forget again",
        )
    now = ledger.clock()
    with_files = [batch for batch in batches if batch.input_file_id or _may_have_left_one(batch, now)]
    left = [batch for batch in with_files if batch.batch_key not in traces.cleaned]
    return Forgetting(len(keys), tables, traces, left, kept_folders(project.folder), keeps_files)


def _delete_files(ledger: Ledger, provider: Provider, batches: Sequence[Batch]) -> int:
    """Delete the files of these batches; raise `LabelsError` with all that can not be accounted for."""
    identity, now = provider.identify(), ledger.clock()
    inputs = _find_inputs(provider, {batch.batch_key for batch in batches if not _is_old(batch, now)})
    mistakes: list[str] = []
    deleted = 0
    for batch in batches:
        try:
            deleted += _delete_files_of(provider, identity, batch, inputs.get(batch.batch_key, set()), now)
            ledger.record(batch.batch_key, FILES_DELETED, batch.task)
        except NotThere as error:
            mistakes.append(f"batch {batch.batch_key}: {error.message}")
    if mistakes:
        raise LabelsError(
            "\n".join([*mistakes, "the rows of these texts are left, because they say which files held them"]),
            f"run again with the key and OPENAI_BASE_URL (or --local) that sent them, or {_LEAVE_FILES}",
        )
    return deleted


def _find_inputs(provider: Provider, batch_keys: Set[str]) -> dict[str, set[str]]:
    try:
        return provider.find_inputs(batch_keys) if batch_keys else {}
    except InDoubt as error:
        raise LabelsError(f"{error.message}; nothing was forgotten", _LEAVE_FILES) from error


def _delete_files_of(
    provider: Provider, identity: Identity, batch: Batch, inputs: Collection[str], now: datetime
) -> int:
    """Delete a batch's files, the inputs named after it too; raise `NotThere` with what is not accounted for."""
    if identity.contradicts(batch.provider):
        raise NotThere(f"its files are at {batch.provider}; this is {identity}")
    remote = _look_up(provider, batch, now)
    ids = {batch.input_file_id, batch.output_file_id, batch.error_file_id, *inputs}
    if remote is not None:
        if not remote.is_terminal:
            raise NotThere(f"it is `{remote.status}` at the provider: forget again when it has ended")
        ids |= {remote.output_file_id, remote.error_file_id}
    if not any(ids) and now - batch.planned_at < _SHOWN_WITHIN:
        raise NotThere(f"its upload was cut off; {_MAY_YET}")
    deleted = sum(_delete(provider, file_id) for file_id in sorted(filter(None, ids)))
    if not (deleted or remote or _is_old(batch, now) or _can_be_gone(identity, batch)):
        raise NotThere("its files can not be seen with this key, which proves nothing")
    return deleted


def _look_up(provider: Provider, batch: Batch, now: datetime) -> RemoteBatch | None:
    """Return the batch as the provider has it, None where it has none; raise `NotThere` where it may show it yet."""
    if batch.provider_batch_id is not None:
        try:
            remote = provider.retrieve(batch.provider_batch_id)
        except NotThere:
            return None
        is_ours = remote.batch_key == batch.batch_key or remote.input_file_id == batch.input_file_id
        return remote if is_ours else None
    if batch.input_file_id is None or batch.state in _NOTHING_CAME:
        return None
    # given up while nobody knew whether it was created
    found = find_batch(provider, batch, batch.input_file_id)
    if found is None and now - (batch.creating_at or batch.planned_at) < _SHOWN_WITHIN:
        raise NotThere(_MAY_YET)
    return found


def _can_be_gone(identity: Identity, batch: Batch) -> bool:
    """Tell whether it is no wonder that nothing of a batch is there: its input was deleted, or may never have come.

    The latter only where the provider names the account that sent it: in another account nothing is there either.
    """
    if batch.input_file_id is not None and batch.state in _NOTHING_CAME:
        return True
    return batch.provider_batch_id is None and identity.is_named and identity == batch.provider


def _may_have_left_one(batch: Batch, now: datetime) -> bool:
    """Tell whether an upload that failed may have left a file, the client having tried again after silence."""
    return batch.input_file_id is None and not _is_old(batch, now)


def _is_old(batch: Batch, now: datetime) -> bool:
    """Tell whether the provider keeps no file of the batch any more."""
    return now - batch.planned_at > FILE_KEPT


def _delete(provider: Provider, file_id: str) -> bool:
    """Delete a file; tell whether it was there."""
    try:
        provider.see_file(file_id)
    except NotThere:
        return False
    provider.delete_file(file_id)
    return True
