"""What a person is shown before the ledger is mended: what would be forgotten, released, brought in."""

from __future__ import annotations

from collections.abc import Sequence

from connector.forgetting import Forgetting
from connector.importing import Import
from connector.plain import counted
from connector.plan import Cost
from connector.reopening import Release, Reopening
from connector.report.standing import dollars


def forgetting_lines(found: Forgetting) -> list[str]:
    """Return what would be forgotten, for people."""
    traces = found.traces
    lines = [f"{counted(found.asked, 'text')} asked for, {traces.texts:,} of them known here"]
    lines += [f"  {table}: {counted(rows, 'row')}" for table, rows in traces.rows.items() if rows]
    lines.append(f"  {counted(traces.claims, 'claim')} in {counted(len(traces.batches), 'batch', 'batches')}")
    if found.keeps_files:
        lines.append("  the provider's files are left: OpenAI deletes them after 30 days")
    elif found.batches:
        heard_of = [batch for batch in found.batches if batch.input_file_id]
        files = counted(len(heard_of), "batch", "batches")
        lines.append(f"  at the provider: the files of {files}, with all other texts in them")
        if cut_off := len(found.batches) - len(heard_of):
            lines.append(f"  and what {counted(cut_off, 'upload')} that failed may have left there")
    lines.append("  what they cost stays, without them; labels can not be had back but by paying again")
    if found.kept:
        folders = counted(len(found.kept), "folder")
        lines.append(f"  warning: {folders} of `run --keep` may have them, remove what has: {found.kept[0].parent}")
    return lines + [
        f"  warning: {name} still has {texts:,} of these texts: delete them there first, or the next run sends and pays"
        " for them again"
        for name, texts in traces.still_in.items()
    ]


def reopening_lines(found: Sequence[Reopening]) -> list[str]:
    """Return what a retry would put back, for people."""
    lines = []
    for reopening in found:
        reasons = [f"{texts:,} {reason}" for reason, texts in reopening.rejected.items()]
        if reopening.lost:
            batches = counted(len(reopening.lost), "lost batch", "lost batches")
            reasons.append(f"{reopening.lost_texts:,} of {batches}, which may have been paid for")
        lines.append(f"task {reopening.task.name}: {', '.join(reasons) or 'nothing'}")
        lines += [f"  {line}" for line in _again_lines(reopening.cost, "them")]
    return lines


def release_lines(found: Sequence[Release]) -> list[str]:
    """Return what giving up batches may cost, for people."""
    lines = []
    for release in found:
        batch = release.batch
        named = f" as {batch.provider_batch_id}" if batch.provider_batch_id else ""
        lines.append(
            f"batch {batch.batch_key} {batch.state.value}{named} at {batch.provider},"
            f" planned {batch.planned_at:%Y-%m-%d %H:%M} UTC: {counted(batch.claims, 'text')},"
            f" {batch.task.name} version {batch.task.version}"
        )
        if release.may_exist:
            bound = "" if batch.bound_usd is None else f", up to {dollars(batch.bound_usd)}"
            lines.append(f"  if the provider has it, it is paid for{bound}, and its answers are never loaded")
        else:
            lines.append("  it was never created, so nothing was paid for it")
        lines += [f"  {line}" for line in _again_lines(release.cost, "its texts")]
    return lines


def _again_lines(cost: Cost, texts: str) -> list[str]:
    if not cost.texts:
        return []
    if not cost.requests:
        return [f"no model has {texts} any more, so nothing is sent"]
    if cost.expected_usd is None or cost.bound_usd is None:
        return [f"sending {texts} again has no known price"]
    return [f"sending {texts} again costs about {dollars(cost.expected_usd)}, at most {dollars(cost.bound_usd)}"]


def import_lines(found: Import) -> list[str]:
    """Return what an import brings and saves, for people."""
    task, there, saved = found.task, found.destination, found.saved
    lines = [
        f"{counted(found.texts, 'text')} with labels for {task.name} version {task.version}",
        f"  labelled already, left alone: {there.labelled:,}",
    ]
    if there.in_flight:
        lines.append(f"  in flight, left to the batch that is paid for: {there.in_flight:,}")
    lines.append(f"  pending, not to be sent any more: {len(there.pending):,}")
    if saved.requests and saved.expected_usd is not None:
        lines.append(f"  that saves about {dollars(saved.expected_usd)}")
    return lines
