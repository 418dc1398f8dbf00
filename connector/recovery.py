"""Recovery: what became of a batch whose sender died, or lost the reply, between planning and knowing its id.

Nothing is sent again on a guess. Without `uploaded` nothing can have been created. From then on the provider is asked;
only what it does not show for the whole grace time, and can not make any more because its file is deleted, is released.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from connector.errors import NotThere
from connector.ledger import Batch, State
from connector.plain import counted
from connector.run import Run

if TYPE_CHECKING:
    from connector.provider import Provider, RemoteBatch

# How long after the deletion a batch that was taken just before it may still be missing from the list.
_FENCE_SECONDS = 60.0
FILE_KEPT = timedelta(days=31)
"""How long a provider keeps a file of batches, a day more."""


def recover(run: Run, batch: Batch) -> None:
    """Find the batch at the provider, or release it, or leave it for a later round."""
    if batch.state in (State.PLANNED, State.UPLOADING):
        _release(run, batch, "never_created", "was never created")
        return
    assert batch.input_file_id is not None, "written with `uploaded`"
    found = find_batch(run.provider, batch, batch.input_file_id)
    if found is not None:
        # written without the lease as well: that the batch exists is true whoever holds it
        run.ledger.record(batch.batch_key, State.SUBMITTED, batch.task, leased=False, provider_batch_id=found.id)
        run.say(f"batch {batch.batch_key} was found at the provider as {found.id}")
    elif batch.state is State.FENCING:
        _finish_fence(run, batch, batch.input_file_id)
    else:
        _begin_fence(run, batch, batch.input_file_id)


def find_batch(provider: Provider, batch: Batch, file_id: str) -> RemoteBatch | None:
    """Return what became of an input file that a batch may have been made of, None where nothing is shown."""
    return provider.find(batch.batch_key, file_id, batch.listed_since)


def _begin_fence(run: Run, batch: Batch, file_id: str) -> None:
    """After the grace time, delete the input file, so that no late create can find it; its claims stay for now."""
    if not _sees(run, file_id):
        _leave(run, batch, file_id)
        return
    if not _is_over(run, batch.creating_at or batch.planned_at, run.settings.grace_seconds):
        run.say(f"batch {batch.batch_key}: the provider does not show it yet; waiting before anything is sent again")
        return
    witness = run.provider.upload_witness(batch.batch_key)
    run.ledger.record(batch.batch_key, State.FENCING, batch.task, witness_file_id=witness)
    run.provider.delete_file(file_id)


def _finish_fence(run: Run, batch: Batch, file_id: str) -> None:
    """Release a batch whose file is gone and that a later look did not find either.

    The witness shows that this key belongs to the account in which the fence began, perhaps by a run that died.
    """
    assert batch.witness_file_id is not None, "written with `fencing`"
    if not _sees(run, batch.witness_file_id):
        _leave(run, batch, batch.witness_file_id)
    elif _sees(run, file_id):
        # whoever began the fence died before the deletion: its time is counted from now
        run.ledger.record(batch.batch_key, State.FENCING, batch.task)
        run.provider.delete_file(file_id)
    elif _is_over(run, batch.fencing_at, min(_FENCE_SECONDS, run.settings.grace_seconds)):
        _release(run, batch, "not_found", "never came to be")
        run.provider.delete_file(batch.witness_file_id)


def _release(run: Run, batch: Batch, reason: str, said: str) -> None:
    run.ledger.record(batch.batch_key, State.RELEASED, batch.task, reason=reason)
    run.freed.add(batch.batch_key)
    run.say(f"batch {batch.batch_key} {said}; its {counted(batch.claims, 'text')} can be sent again")


def _leave(run: Run, batch: Batch, file_id: str) -> None:
    if _is_over(run, batch.planned_at, FILE_KEPT.total_seconds()):
        said = f"the file {file_id} is gone after 30 days, and nothing shows what became of it"
        run.ledger.record(batch.batch_key, State.LOST, batch.task, reason="not_seen", message=said)
        run.stuck[batch.batch_key] = f"{said}; its texts stay claimed"
        return
    run.stuck[batch.batch_key] = (
        f"the file {file_id} can not be seen with this key, which proves nothing:"
        f" it was sent to {batch.provider}; run again with the key that made it"
    )


def _sees(run: Run, file_id: str) -> bool:
    try:
        run.provider.see_file(file_id)
    except NotThere:
        return False
    return True


def _is_over(run: Run, since: datetime | None, seconds: float) -> bool:
    return since is None or run.ledger.clock() - since >= timedelta(seconds=seconds)
