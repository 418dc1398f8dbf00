"""Collecting: from a batch at the provider to outcomes in the warehouse.

An answer is paid for, so nothing is called missing while there is doubt: when lines, counts and bytes do not fit, the
batch is looked at and downloaded again until the grace time is over.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from connector.errors import InDoubt, NotThere
from connector.ledger import TOKEN_LIMIT, Batch, Claim, State, fits_queue
from connector.provider import RemoteBatch
from connector.result import Answer, judge_batch, read_answers
from connector.run import Progress, Run

OUTPUT_KEPT = timedelta(days=30)


def poll(run: Run, batch: Batch) -> None:
    """Look at a submitted or ended batch; where it ended, write that down and collect it."""
    assert batch.provider_batch_id is not None
    try:
        remote = run.provider.retrieve(batch.provider_batch_id)
    except NotThere as error:
        run.stuck[batch.batch_key] = f"{error.message}; it was sent to {batch.provider}: is this the key that made it?"
        return
    run.stuck.pop(batch.batch_key, None)
    run.progress[batch.batch_key] = Progress(
        batch.batch_key, batch.task.name, remote.status, remote.completed + remote.failed, batch.claims
    )
    if not remote.is_terminal:
        return
    if remote.status == "failed" and remote.output_file_id is None and remote.error_file_id is None:
        _refuse(run, batch, remote)
        return
    if batch.state is not State.ENDED:
        run.ledger.record(
            batch.batch_key,
            State.ENDED,
            batch.task,
            provider_status=remote.status,
            output_file_id=remote.output_file_id,
            error_file_id=remote.error_file_id,
            completed=remote.completed,
            failed=remote.failed,
        )
    collect(run, batch, remote)


def collect(run: Run, batch: Batch, remote: RemoteBatch) -> None:
    """Download a terminal batch's files, judge every claim, load the outcomes; in doubt, leave it for a later round."""
    if remote.completed and remote.output_file_id is None:
        # paid for by the provider's own count: never missing, however long it takes
        _wait_or_leave(run, batch, f"the provider counts {remote.completed} answers but shows no file with them")
        return
    answers = _download(run, batch, remote)
    if answers is None:
        return
    claims = run.ledger.claims_of(batch)
    if _is_doubtful(remote, claims, answers) and not _grace_is_over(run, batch):
        run.say(f"batch {batch.batch_key}: {len(answers)} of {len(claims)} answers are there yet; looking again")
        return
    outcomes, stop = judge_batch(batch.task, claims, answers)
    run.ledger.load(batch, outcomes)
    run.freed.add(batch.batch_key)
    run.progress.pop(batch.batch_key, None)
    became = [outcome.outcome for outcome in outcomes]
    labelled, rejected, retried = (became.count(word) for word in ("labelled", "rejected", "failed"))
    run.labelled, run.rejected, run.retried = run.labelled + labelled, run.rejected + rejected, run.retried + retried
    run.say(
        f"batch {batch.batch_key} {remote.status}: {labelled} labelled, {rejected} rejected, {retried} to try again"
    )
    if stop is not None:
        run.stop(batch.task, f"the provider answered {stop.lines} requests with `{stop.code}`: {stop.message}")


def _refuse(run: Run, batch: Batch, remote: RemoteBatch) -> None:
    code, message = remote.errors[0] if remote.errors else ("unknown", "no reason given")
    alone = batch.claims == 1 and not fits_queue(replace(batch, message=message))
    run.ledger.record(
        batch.batch_key,
        State.REFUSED,
        batch.task,
        provider_status=remote.status,
        reason=code,
        message=message,
    )
    run.freed.add(batch.batch_key)
    run.progress.pop(batch.batch_key, None)
    if code == TOKEN_LIMIT and alone and not _others_wait(run, batch):
        claim = run.ledger.claims_of(batch)[0]
        run.ledger.reject(batch.task, claim, TOKEN_LIMIT, message, batch.batch_key)
        run.rejected += 1
    elif code == TOKEN_LIMIT:
        run.say(f"batch {batch.batch_key} has to wait: {message}")
    else:
        run.stop(batch.task, f"the provider refused batch {batch.batch_key}: `{code}`: {message}")


def _others_wait(run: Run, batch: Batch) -> bool:
    """Tell whether other batches of ours are in the same queue."""
    live = run.ledger.batches(run.tables, [State.SUBMITTED])
    return any(other.task.model == batch.task.model and other.batch_key != batch.batch_key for other in live)


def _download(run: Run, batch: Batch, remote: RemoteBatch) -> dict[str, Answer] | None:
    """Return the answers by custom_id, the output file's first; None where a file can not be had whole yet."""
    answers: dict[str, Answer] = {}
    for kind, file_id in (("output", remote.output_file_id), ("error", remote.error_file_id)):
        if file_id is None:
            continue
        path = run.folder / f"{batch.batch_key}.{kind}.jsonl"
        try:
            said = run.provider.see_file(file_id).bytes
            written = run.provider.download(file_id, path)
        except NotThere as error:
            _leave_or_lose(run, batch, error.message)
            return None
        except InDoubt as error:
            run.say(f"batch {batch.batch_key}: {error.message}; downloading again")
            return None
        if said is not None and said != written:
            run.say(f"batch {batch.batch_key}: {written} of {said} bytes arrived; downloading again")
            return None
        for custom_id, answer in read_answers(path):
            answers.setdefault(custom_id, answer)
        path.unlink()
    return answers


def _leave_or_lose(run: Run, batch: Batch, said: str) -> None:
    ended_at = batch.ended_at
    if ended_at is not None and run.ledger.clock() - ended_at > OUTPUT_KEPT:
        run.ledger.record(batch.batch_key, State.LOST, batch.task, reason="output_gone", message=said)
        run.stuck[batch.batch_key] = "its output is gone after 30 days; its texts stay claimed"
    else:
        _wait_or_leave(run, batch, said)


def _wait_or_leave(run: Run, batch: Batch, said: str) -> None:
    """Look again in a later round, or, once the grace time is over, in a later run."""
    if _grace_is_over(run, batch):
        run.stuck[batch.batch_key] = f"{said}; run again later, with the key that sent it"
    else:
        run.say(f"batch {batch.batch_key}: {said}; looking again")


def _is_doubtful(remote: RemoteBatch, claims: list[Claim], answers: dict[str, Answer]) -> bool:
    covered = sum(1 for claim in claims if claim.custom_id in answers)
    if remote.status == "completed" and covered < len(claims):
        return True
    succeeded = sum(1 for answer in answers.values() if answer.status_code == 200)
    return succeeded < remote.completed


def _grace_is_over(run: Run, batch: Batch) -> bool:
    if batch.ended_at is None:
        return False
    return run.ledger.clock() - batch.ended_at >= timedelta(seconds=run.settings.grace_seconds)
