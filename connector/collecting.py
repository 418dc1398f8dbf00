"""Collecting: from a batch at the provider to outcomes in the warehouse.

An answer is paid for, so nothing is called missing or broken while there is doubt: when lines, counts and bytes do not
fit, the batch is looked at and downloaded again until the grace time is over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from connector.answer import Answer, read_answers
from connector.errors import InDoubt, NotThere, ProviderError, RateLimited
from connector.judgement import judge_batch
from connector.ledger import LONGEST_BATCH, TOKEN_LIMIT, Batch, Claim, State, read_queue_limit, shorten
from connector.request import prompt_hash
from connector.result import Outcome
from connector.run import Progress, Run

if TYPE_CHECKING:
    from connector.provider import RemoteBatch

OUTPUT_KEPT = timedelta(days=30)
# more than any answers have: a file beyond this is none, and must not fill the disk
_SLACK_BYTES = 64 << 20
_BYTES_PER_REQUEST = 1 << 20
_BYTES_PER_TOKEN = 1 << 10
# what ends is seen, and its place in the queue filled, a hundredth of its age later on average
_SHARE_OF_AGE = 0.02
# of a provider's code that is kept; a sentence may be about a text
_CODE = re.compile("[A-Za-z0-9_.:*-]{1,100}")


@dataclass(frozen=True)
class _Download:
    """The files of a batch, its output first; `doubt` says what of them could not be had whole."""

    paths: list[Path]
    doubt: str | None = None

    def answers(self) -> Iterator[tuple[str, Answer]]:
        """Give the answers by custom_id as they are read: a file of them may have 200 MB."""
        return chain.from_iterable(map(read_answers, self.paths))


def look_at(run: Run, batches: Sequence[Batch]) -> None:
    """Look at all batches in flight at once, where there are several; what a list does not show is asked for singly.

    What is young is looked at again soon, what has been there for hours less often: a fiftieth of its age is waited.
    """
    waiting = [
        batch
        for batch in batches
        if batch.state is State.SUBMITTED
        and batch.batch_key not in run.stuck
        and not run.identity.contradicts(batch.provider)
    ]
    run.seen.clear()
    if len(waiting) > 1:
        ids = {batch.provider_batch_id for batch in waiting if batch.provider_batch_id}
        since = min(batch.listed_since for batch in waiting)
        try:
            run.seen.update(run.provider.list_batches(ids, since))
        except (InDoubt, RateLimited) as error:
            run.hesitate(error)
    ages = [(run.ledger.clock() - batch.submitted_at).total_seconds() for batch in waiting[-1:] if batch.submitted_at]
    run.wait_seconds = max(run.wait_seconds, *(_SHARE_OF_AGE * age for age in ages), 0.0)


def poll(run: Run, batch: Batch) -> None:
    """Look at a submitted or ended batch; where it ended, write that down, for `collect` to go on."""
    assert batch.provider_batch_id is not None, "written with `submitted`"
    try:
        remote = run.seen.pop(batch.provider_batch_id, None) or run.provider.retrieve(batch.provider_batch_id)
    except NotThere as error:
        run.stuck[batch.batch_key] = f"{error.message}; it was sent to {batch.provider}: is this the key that made it?"
        if run.ledger.clock() - batch.planned_at > OUTPUT_KEPT:
            run.ledger.record(batch.batch_key, State.LOST, batch.task, reason="not_seen", message=error.message)
        return
    if remote.input_file_id != batch.input_file_id and remote.batch_key != batch.batch_key:
        run.stuck[batch.batch_key] = f"{remote.id} is another batch here; it was sent to {batch.provider}"
        return
    run.stuck.pop(batch.batch_key, None)
    done = remote.completed + remote.failed
    run.progress[batch.batch_key] = Progress.of(
        batch, remote.status, remote.completed, remote.failed, run.ledger.clock()
    )
    if not remote.is_terminal:
        if batch.submitted_at is not None and run.ledger.clock() - batch.submitted_at > LONGEST_BATCH:
            run.stuck[batch.batch_key] = (
                f"after {LONGEST_BATCH.days} days the provider still calls {remote.id} `{remote.status}`;"
                " run again later, or `dbt-labels cancel`"
            )
        return
    has_answers = done or remote.output_file_id or remote.error_file_id
    if remote.status == "failed" and not has_answers:
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
    run.ended[batch.batch_key] = remote


def collect(run: Run, batch: Batch, remote: RemoteBatch) -> None:
    """Download a terminal batch's files, judge every claim, load the outcomes; in doubt, leave it for a later round."""
    claims = run.ledger.claims_of(batch)
    found = _download(run, batch, remote, _most_bytes(batch, claims))
    judged = judge_batch(batch.task, claims, found.answers(), batch.price)
    if not run.settings.keep:
        for path in found.paths:
            path.unlink()
    if judged.doubtful and found.doubt is not None:
        _wait_or_leave(run, batch, found.doubt)
        return
    if judged.doubtful and not _grace_is_over(run, batch):
        said = f"{judged.doubtful} of {len(judged.outcomes)} answers are not there yet, or can not be read"
        run.say(f"batch {batch.batch_key}: {said}; looking again")
        return
    # what the provider counts as answered and nobody can show may have been paid for
    run.ledger.load(batch, judged.outcomes, judged.uncosted + max(0, remote.completed - judged.succeeded))
    run.freed.add(batch.batch_key)
    run.progress.pop(batch.batch_key, None)
    became = [outcome.outcome for outcome in judged.outcomes]
    labelled, rejected, retried = (became.count(word) for word in ("labelled", "rejected", "failed"))
    run.labelled, run.rejected, run.retried = run.labelled + labelled, run.rejected + rejected, run.retried + retried
    run.say(
        f"batch {batch.batch_key} {remote.status}: {labelled} labelled,"
        f" {rejected} rejected{_reasons(judged.outcomes, 'rejected')},"
        f" {retried} to try again{_reasons(judged.outcomes, 'failed')}"
    )
    if stop := judged.stop:
        _stop(run, batch, f"the provider answered {stop.lines} requests with `{stop.code}`: {stop.message}")
    cost_usd = sum((outcome.cost_usd for outcome in judged.outcomes if outcome.cost_usd is not None), Decimal(0))
    if batch.bound_usd is not None and cost_usd > batch.bound_usd:
        _stop(
            run,
            batch,
            f"batch {batch.batch_key} took {cost_usd:.6f} dollars, more than its bound of {batch.bound_usd:.6f}:"
            f" bounds and budgets do not hold for `{batch.task.model}` at this provider",
        )


def _reasons(outcomes: Sequence[Outcome], outcome: str) -> str:
    reasons = Counter(found.reason for found in outcomes if found.outcome == outcome)
    return f" ({', '.join(f'{texts} {reason}' for reason, texts in reasons.most_common())})" if reasons else ""


def _refuse(run: Run, batch: Batch, remote: RemoteBatch) -> None:
    said, message = map(shorten, remote.errors[0] if remote.errors else ("unknown", "no reason given"))
    code = said if _CODE.fullmatch(said) else "unknown"
    run.ledger.record(
        batch.batch_key, State.REFUSED, batch.task, provider_status=remote.status, reason=code, message=message
    )
    run.freed.add(batch.batch_key)
    run.progress.pop(batch.batch_key, None)
    for file_id in (batch.input_file_id, batch.witness_file_id):
        if file_id is not None:
            with suppress(ProviderError):  # texts that nothing will come of should not stay there; it expires anyway
                run.provider.delete_file(file_id)
    limit = read_queue_limit(message)
    if code == TOKEN_LIMIT and batch.claims == 1 and limit is not None and batch.enqueued_tokens > limit:
        run.ledger.reject(batch.task, run.ledger.claims_of(batch)[0], TOKEN_LIMIT, message, batch.batch_key)
        run.rejected += 1
    elif code == TOKEN_LIMIT:
        run.say(f"batch {batch.batch_key} has to wait: {message}")
    elif batch.witness_file_id is None:  # else it came to be after its file was deleted, as the fence has it
        _stop(run, batch, f"the provider refused batch {batch.batch_key}: `{code}`: {message}")


def _stop(run: Run, batch: Batch, why: str) -> None:
    """Stop the task that the batch was asked for, unless it is asked otherwise by now."""
    now = next((task for task in run.project.tasks if task.table == batch.task.table), batch.task)
    if (now.version, prompt_hash(now)) == (batch.task.version, batch.prompt_hash):
        run.stop(batch.task, why)
    else:
        run.say(f"{why} (asked with another wording than today's)")


def _most_bytes(batch: Batch, claims: Sequence[Claim]) -> int:
    """Return what an honest provider's file of these answers never reaches."""
    requests = len({claim.custom_id for claim in claims})
    answers = len(claims) * batch.task.run.max_output_tokens * _BYTES_PER_TOKEN
    return _SLACK_BYTES + requests * _BYTES_PER_REQUEST + answers


def _download(run: Run, batch: Batch, remote: RemoteBatch, most_bytes: int) -> _Download:
    paths = []
    doubt = None
    if remote.completed and remote.output_file_id is None:
        # paid for by the provider's own count: never missing, however long it takes
        doubt = f"the provider counts {remote.completed} answers but shows no file with them"
    for kind, file_id in (("output", remote.output_file_id), ("error", remote.error_file_id)):
        if file_id is None:
            continue
        path = run.folder / f"{batch.batch_key}.{kind}.jsonl"
        said = None
        with suppress(NotThere):  # not every service describes its files
            said = run.provider.see_file(file_id).bytes
        try:
            written = run.provider.download(file_id, path, most_bytes)
        except NotThere as error:
            doubt = error.message
            continue
        if said is not None and said != written:
            doubt = f"{written} of {said} bytes of the {kind} file arrived"
        paths.append(path)
    return _Download(paths, doubt)


def _wait_or_leave(run: Run, batch: Batch, said: str) -> None:
    """Look again in a later round, or, once the grace time is over, in a later run; after 30 days it is lost."""
    if batch.ended_at is not None and run.ledger.clock() - batch.ended_at > OUTPUT_KEPT:
        run.ledger.record(batch.batch_key, State.LOST, batch.task, reason="output_gone", message=said)
        run.stuck[batch.batch_key] = f"{said}; it is gone after 30 days, and its texts stay claimed"
    elif _grace_is_over(run, batch):
        run.stuck[batch.batch_key] = f"{said}; run again later, with the key that sent it"
    else:
        run.say(f"batch {batch.batch_key}: {said}; looking again")


def _grace_is_over(run: Run, batch: Batch) -> bool:
    if batch.ended_at is None:
        return False
    return run.ledger.clock() - batch.ended_at >= timedelta(seconds=run.settings.grace_seconds)
