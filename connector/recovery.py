"""Recovery: what became of a batch whose sender died, or lost the reply, between planning and knowing its id.

Nothing is sent again on a guess. Without `uploaded` nothing can have been created. From then on the provider is asked;
only what it does not show for the whole grace time, and can not make any more because its file is deleted, is released.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.errors import NotThere
from connector.ledger import Batch, State
from connector.provider import RemoteBatch
from connector.run import Run

# The list is newest first by creation; a file is a little older than its batch, never younger.
_SLACK_SECONDS = 120


def recover(run: Run, batch: Batch) -> RemoteBatch | None:
    """Find the batch at the provider, or release it, or leave it for a later round; return it where it was found."""
    if batch.state in (State.PLANNED, State.UPLOADING):
        run.ledger.record(batch.batch_key, State.RELEASED, batch.task, reason="never_created")
        run.freed.add(batch.batch_key)
        run.say(f"batch {batch.batch_key} was never created; its {batch.claims} texts are free again")
        return None
    found = _look(run, batch)
    if found is not None:
        return _adopt(run, batch, found)
    if batch.state is State.FENCING:
        return _finish_fence(run, batch)
    if not _is_visible(run, batch):
        run.stuck[batch.batch_key] = (
            f"its file {batch.input_file_id} can not be seen with this key, which proves nothing:"
            f" it was sent to {batch.provider}; run again with the key that made it"
        )
        return None
    if run.ledger.clock() - _last_possible_create(batch) < timedelta(seconds=run.settings.grace_seconds):
        run.say(f"batch {batch.batch_key}: the provider does not show it yet; waiting before anything is sent again")
        return None
    witness = run.provider.upload_witness(batch.batch_key)
    run.ledger.record(batch.batch_key, State.FENCING, batch.task, witness_file_id=witness)
    return _fence(run, batch, witness)


def _look(run: Run, batch: Batch) -> RemoteBatch | None:
    assert batch.input_file_id is not None
    assert batch.file_created_at is not None
    return run.provider.find(batch.batch_key, batch.input_file_id, batch.file_created_at - _SLACK_SECONDS)


def _adopt(run: Run, batch: Batch, found: RemoteBatch) -> RemoteBatch:
    # written without the lease as well: that the batch exists is true whoever holds it
    run.ledger.record(batch.batch_key, State.SUBMITTED, batch.task, leased=False, provider_batch_id=found.id)
    run.say(f"batch {batch.batch_key} was found at the provider as {found.id}")
    return found


def _is_visible(run: Run, batch: Batch) -> bool:
    assert batch.input_file_id is not None
    try:
        run.provider.see_file(batch.input_file_id)
    except NotThere:
        return False
    return True


def _last_possible_create(batch: Batch) -> datetime:
    return batch.creating_at or batch.planned_at


def _finish_fence(run: Run, batch: Batch) -> RemoteBatch | None:
    """Go on with a fence that a dead run began: the witness shows that this key belongs to the account it began in."""
    assert batch.witness_file_id is not None
    try:
        run.provider.see_file(batch.witness_file_id)
    except NotThere:
        run.stuck[batch.batch_key] = (
            f"this key can not see the file {batch.witness_file_id}, which proves nothing:"
            f" it was sent to {batch.provider}; run again with the key that made it"
        )
        return None
    return _fence(run, batch, batch.witness_file_id)


def _fence(run: Run, batch: Batch, witness: str) -> RemoteBatch | None:
    """Delete the input file, so that no late create can find it, look once more, and only then release."""
    assert batch.input_file_id is not None
    run.provider.delete_file(batch.input_file_id)
    found = _look(run, batch)
    if found is not None:
        return _adopt(run, batch, found)
    run.ledger.record(batch.batch_key, State.RELEASED, batch.task, reason="not_found")
    run.freed.add(batch.batch_key)
    run.provider.delete_file(witness)
    run.say(f"batch {batch.batch_key} never came to be; its {batch.claims} texts are free again")
    return None
