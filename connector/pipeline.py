"""The whole program: build is stage, plan, run, downstream. Every step can be killed at any point and done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connector.collecting import collect, look_at, poll
from connector.errors import (
    InDoubt,
    KeyRefused,
    LeaseLost,
    NotThere,
    ProjectError,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    WarehouseError,
    WarehouseLocked,
    to_build,
)
from connector.files import work_folder
from connector.ledger import Batch, State, new_key
from connector.plan import Plan, Standing
from connector.planning import make_plans
from connector.recovery import recover
from connector.run import Progress, Run, Settings
from connector.sending import Outbox, check_budget, check_origin, fill, make_room, open_outbox, send
from connector.task import Task
from connector.warehouse.gate import gate_failures, gates
from connector.warehouse.project import Project
from connector.warehouse.tables import Ledger
from connector.warehouse.texts import check_text_columns, count_gold_in_flight

if TYPE_CHECKING:
    from connector.provider import Provider

# twenty minutes of a provider that does not answer, at the usual pace; longer where it asks for time
_PATIENCE_ROUNDS = 40
# the leases are renewed in time, however long the provider wants to be left alone
_LONGEST_WAIT_SECONDS = 300.0
# a test that also needs a model outside the selection waits for a plain `dbt build`
_BUILDABLE = ("--indirect-selection", "buildable")


@dataclass(frozen=True)
class Voice:
    """How a run speaks: lines for people, progress, the question whether to go on with a plan, events for programs."""

    say: Callable[[str], None]
    show: Callable[[list[Progress]], None]
    confirm: Callable[[list[Plan]], None]
    tell: Callable[..., None] = lambda event, **facts: None


@dataclass(frozen=True)
class Summary:
    """What a run did; `in_flight` are the batches that the next run will find, `problems` what needs a person.

    `gated` are the tables whose task's quality gate is not known to hold. `standings` are how the tasks stand where
    there was nothing to do: nobody needs to count again.
    """

    submitted: list[str] = field(default_factory=list)
    labelled: int = 0
    rejected: int = 0
    retried: int = 0
    in_flight: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    over_budget: list[str] = field(default_factory=list)
    gated: list[str] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)


def build(
    project: Project, tasks: Sequence[Task], connect: Callable[[], Provider], settings: Settings, voice: Voice
) -> Summary:
    """Run dbt up to the pending models, label what they list, and run dbt on everything that reads the labels.

    What reads the labels of a task whose quality gate does not hold stays as it was.
    """
    relations = [f"+{name}" for task in tasks for name in needed(task)]
    # nothing is labelled yet, so no measure of it can hold
    unmeasured = ["--exclude", "test_name:label_quality"] if any(task.gold for task in tasks) else []
    project.run_dbt("build", *_BUILDABLE, "--select", *relations, *unmeasured)
    summary = label(project, tasks, connect, settings, voice)
    voice.show([])  # what comes next is dbt's to say
    sources = {task.table: f"{source}+" for task in tasks if (source := project.source_of(task))}
    gated = [sources.pop(table) for table in summary.gated if table in sources]
    project.run_dbt(
        "build",
        *_BUILDABLE,
        *("--select", *sources.values(), "package:dbt_labels"),
        # the package's own models say how far a gate is from holding
        *("--exclude", *(task.name for task in tasks), *(f"{source},package:{project.name}" for source in gated)),
    )
    return summary


def needed(task: Task) -> list[str]:
    """Return the relations that a task's run reads: its pending model, its gold, its overrides."""
    return [name for name in (task.name, task.gold, task.overrides) if name is not None]


def stage(project: Project, tasks: Sequence[Task]) -> None:
    """Build the pending models that are views, so that they say what today's YAML and comments say.

    A pending model that is a table is the user's to schedule; what it lists too much is never sent.
    """
    views = [task.name for task in tasks if project.model(task).config.materialized == "view"]
    if not views:
        return
    try:
        project.run_dbt("run", "--select", *views, quiet=True)
    except ProjectError as error:
        Ledger(project, "").check(tasks)
        check_text_columns(project, tasks)
        raise ProjectError(error.message, error.hint or f"is it built? {to_build(*views)}") from error


def label(
    project: Project, tasks: Sequence[Task], connect: Callable[[], Provider], settings: Settings, voice: Voice
) -> Summary:
    """Show the plan, have it confirmed, and run; where nothing is pending or in flight, no request is made at all."""
    stage(project, tasks)
    for task in tasks:
        check_budget(task, settings)  # before anything else
    with project.kept_open():
        plans = make_plans(project, tasks, settings)
        is_in_flight = Ledger(project, "").has_unresolved(tables_of(project, tasks))
    voice.confirm(plans)
    if not is_in_flight and not any(plan.standing.has_work for plan in plans):
        # a pilot says itself what its gates do not reach
        failing = {} if settings.pilot else {plan.standing.table: plan.gate_failures for plan in plans}
        return Summary(
            # with a gate, gold counts as pending in a plan
            standings=[] if any(plan.gates for plan in plans) else [plan.standing for plan in plans],
            gated=[table for table, failures in failing.items() if failures],
            problems=[_stopped(table, _closed(failures)) for table, failures in failing.items() if failures],
        )
    provider = connect()
    try:
        agreed = {plan.standing.table: plan.standing.waiting_texts for plan in plans}
        return run(project, tasks, provider, settings, voice, agreed)
    finally:
        provider.close()


def run(
    project: Project,
    tasks: Sequence[Task],
    provider: Provider,
    settings: Settings,
    voice: Voice,
    agreed: Mapping[str, int] | None = None,
) -> Summary:
    """Send what is pending and load what is answered, until every text that was pending at the start has an outcome.

    `agreed` is how many pending texts of each table somebody has agreed to pay for. With `once`: one round. A task with
    a quality gate sends its gold texts first, and the rest once the gate holds.
    """
    outboxes = [
        open_outbox(
            task,
            settings,
            has_gate=not task.run.paused and bool(gates(project, task)),
            agreed_texts=None if agreed is None else agreed[task.table],
        )
        for task in tasks
    ]
    with _started(project, tasks, provider, settings, voice) as started:
        for _ in _rounds(started):
            with project.kept_open():
                _look(started)
                # what waits for the queue goes before what ended is loaded: its place is empty now
                _send(started, [outbox for outbox in outboxes if outbox.shards is not None])
                _collect(started)
                _send(started, outboxes)
                if not started.unresolved() and all(outbox.is_done(started) for outbox in outboxes):
                    break
        closed = [] if settings.pilot else [outbox.task.table for outbox in outboxes if outbox.gold_only]
        return _summary(started, closed)


def cancel(project: Project, tasks: Sequence[Task], provider: Provider, settings: Settings, voice: Voice) -> Summary:
    """Stop the batches in flight, load what they did by then, and send nothing."""
    with _started(project, tasks, provider, settings, voice) as started:
        asked: set[str] = set()
        for _ in _rounds(started):
            with project.kept_open():
                _look(started)
                _collect(started)
                for batch in started.ledger.batches(started.tables, [State.SUBMITTED]):
                    if batch.batch_key not in asked and not started.identity.contradicts(batch.provider):
                        with _alone(started, batch):
                            _ask_to_stop(started, batch)
                            asked.add(batch.batch_key)
                if not started.unresolved():
                    break
        return _summary(started)


def _ask_to_stop(run: Run, batch: Batch) -> None:
    assert batch.provider_batch_id is not None, "written with `submitted`"
    try:
        run.provider.cancel(batch.provider_batch_id)
    except (NotThere, RequestRefused):
        return  # it may have ended just now: the next look tells
    run.say(f"batch {batch.batch_key} is asked to stop")


def tables_of(project: Project, tasks: Sequence[Task]) -> list[str]:
    """Return the tables that a run of these tasks takes care of.

    With all tasks that includes tables which no task names any more: what was sent for them is paid for.
    """
    tables = {task.table for task in tasks}
    if len(tasks) == len(project.tasks):
        tables |= Ledger(project, "").unresolved_tables()
    return sorted(tables)


@contextmanager
def _started(
    project: Project, tasks: Sequence[Task], provider: Provider, settings: Settings, voice: Voice
) -> Iterator[Run]:
    run_key = new_key()
    # others use the warehouse while the provider is asked
    provider.before_call = project.let_go
    identity = provider.identify()
    ledger = Ledger(project, run_key, voice.tell)
    ledger.check(tasks)
    tables = tables_of(project, tasks)
    voice.tell("run_started", run_key=run_key, tables=tables, provider=str(identity))
    with ledger.leased(tables), work_folder(project.folder, run_key, settings.keep) as folder:
        if settings.keep:
            voice.say(f"this run's texts and answers stay in {folder} until you remove them")
        yield Run(
            project=project,
            tables=tables,
            ledger=ledger,
            provider=provider,
            identity=identity,
            settings=settings,
            folder=folder,
            say=voice.say,
            show=voice.show,
        )


def _rounds(run: Run) -> Iterator[None]:
    """Give rounds with a wait between them; raise the doubt that does not end."""
    doubtful = 0
    while True:
        run.doubt, run.wait_seconds = None, run.settings.poll_seconds
        yield
        if run.doubt:
            doubtful += 1
        elif not run.is_quiet:  # a round in which the provider wants to be left alone says nothing
            doubtful = 0
        if run.doubt and (run.settings.once or doubtful >= _PATIENCE_ROUNDS):
            raise run.doubt
        if run.settings.once:
            return
        run.show(list(run.progress.values()))
        time.sleep(min(run.wait_seconds, _LONGEST_WAIT_SECONDS))


def _renew(run: Run) -> None:
    """Renew the leases, however long somebody else uses the database file that was let go of for them."""
    while True:
        try:
            run.ledger.renew(run.tables)
        except WarehouseLocked as error:
            run.say(f"waiting: {error.message}")
        else:
            return


def _look(run: Run) -> None:
    """Renew the leases and look at every unresolved batch: recover it, or see how far it is."""
    _renew(run)
    batches = run.ledger.batches(run.tables)
    run.stuck.update(run.ledger.unreadable)
    run.ended.clear()
    look_at(run, batches)
    for batch in batches:
        if run.identity.contradicts(batch.provider):
            run.stuck[batch.batch_key] = (
                f"it was sent to {batch.provider}; this is {run.identity}, which proves nothing"
            )
            continue
        with _alone(run, batch):
            if batch.state in (State.SUBMITTED, State.ENDED):
                poll(run, batch)
            else:
                recover(run, batch)


def _collect(run: Run) -> None:
    """Load what has ended."""
    for batch in run.ledger.batches(run.tables, [State.ENDED]) if run.ended else []:
        if batch.batch_key in run.ended:
            with _alone(run, batch):
                collect(run, batch, run.ended[batch.batch_key])


@contextmanager
def _alone(run: Run, batch: Batch) -> Iterator[None]:
    """Keep what is wrong with one batch from the others; what is wrong with all is raised."""
    try:
        yield
    except (InDoubt, RateLimited) as error:
        run.hesitate(error)
        run.say(f"batch {batch.batch_key}: {error.message}")
    except (KeyRefused, QuotaExhausted, LeaseLost, WarehouseLocked):
        raise
    except (ProviderError, WarehouseError) as error:
        run.stuck[batch.batch_key] = error.message


def _send(run: Run, outboxes: Sequence[Outbox]) -> None:
    for outbox in outboxes:
        try:
            _send_task(run, outbox)
        except (InDoubt, RateLimited) as error:
            run.hesitate(error)
            run.say(error.message)


def _send_task(run: Run, outbox: Outbox) -> None:
    task = outbox.task
    if task.run.paused or task.table in run.stopped or task.table in run.over_budget:
        return
    _send_pending(run, outbox)
    if not outbox.gold_only or run.settings.pilot or not outbox.has_sent_all(run):
        return
    if held := count_gold_in_flight(run.project, task):
        if all(batch.task.table != task.table for batch in run.unresolved()):
            run.stop(
                task,
                f"its quality gate can not be judged, because nothing more is known of batches with {held} gold texts;"
                " `dbt-labels status` shows them, `dbt-labels retry --lost` gives up what is lost",
            )
        return
    if failures := gate_failures(run.project, task):
        run.stop(task, _closed(failures))
        return
    outbox.open_gate()
    _send_pending(run, outbox)


def _send_pending(run: Run, outbox: Outbox) -> None:
    make_room(run, outbox)
    fill(run, outbox)
    if not run.may_send:
        return
    if outbox.shards is not None and not outbox.is_checked:
        run.provider.check_model(outbox.task.model)
        check_origin(run, outbox)
        outbox.is_checked = True
    send(run, outbox)


def _closed(failures: Sequence[str]) -> str:
    return f"its quality gate does not hold, so only gold texts are sent: {'; '.join(failures)}"


def _stopped(table: str, why: str) -> str:
    return f"task with table `{table}` stopped: {why}"


def _summary(run: Run, gated: Sequence[str] = ()) -> Summary:
    return Summary(
        submitted=run.submitted,
        labelled=run.labelled,
        rejected=run.rejected,
        retried=run.retried,
        in_flight=[batch.batch_key for batch in run.ledger.batches(run.tables)],
        over_budget=list(run.over_budget.values()),
        gated=list(gated),
        problems=[
            *(_stopped(table, why) for table, why in run.stopped.items()),
            *(f"batch {key} is left as it is: {why}" for key, why in run.stuck.items()),
        ],
    )
