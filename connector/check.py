"""The checks of `dbt-labels debug`: what a run needs, one by one, with what to do about each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from connector import __version__
from connector.budget import has_budget
from connector.errors import KeyRefused, LabelsError, ProfileError, QuotaExhausted, RateLimited
from connector.price import batch_price, is_openai
from connector.retirement import Retirement, announced_retirement, told_retirement
from connector.task import Task
from connector.warehouse.project import Options, Project, declare_tasks, read_project
from connector.warehouse.schema import check_tables

if TYPE_CHECKING:
    from connector.provider import Provider

_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; a hint where it is fine says what could be better."""

    name: str
    ok: bool
    found: str
    hint: str | None = None


def check_setup(
    options: Options, names: tuple[str, ...], api_key: str | None, base_url: str | None, today: date
) -> list[Check]:
    """Return every check in order; one that can not be made because an earlier one failed is left out.

    The provider is asked whatever is wrong with the project. A model is bad from its shutdown date, of which is told
    before; where nobody can be asked, by what was announced.
    """
    base_url = (base_url or "").strip() or None
    checks, tasks = _check_project(options, names)
    models = sorted({task.model for task in tasks})
    asked = list(_check_provider(models, api_key, base_url, today))
    if is_openai(base_url) and not any(check.name == "model" for check in asked):
        asked += [_judge_model(model, told, today) for model in models if (told := announced_retirement(model))]
    return [*checks, *asked, *_check_prices(tasks, base_url)]


def _check_project(options: Options, names: tuple[str, ...]) -> tuple[list[Check], list[Task]]:
    """Return the checks of project, profile, package, tasks and warehouse, and the tasks."""
    try:
        project = read_project(options)
    except LabelsError as error:
        what = "profile" if isinstance(error, ProfileError) else "project"
        return [Check(what, False, error.message, error.hint)], []
    checks = [
        Check("project", True, f"{project.name} in {project.folder}"),
        Check("profile", True, project.profile),
        Check("target", True, project.target),
        _checked("package", project.check_package, f"dbt_labels {__version__}, as this command"),
    ]
    tasks: list[Task] = []
    if checks[-1].ok:
        checks.append(_checked("tasks", lambda: tasks.extend(_chosen(project, names)), ""))
    if tasks:
        found = ", ".join(f"{task.name} -> {task.table}" for task in tasks)
        checks[-1] = Check("tasks", True, found)
    checks.append(_checked("warehouse", lambda: _connect(project), "it answers"))
    if tasks and checks[-1].ok:
        there = "the ledger and every task's table are there"
        checks.append(_checked("tables", lambda: _look_at_tables(project, tasks), there))
    return checks, tasks


def _checked(name: str, look: Callable[[], object], found: str) -> Check:
    try:
        look()
    except LabelsError as error:
        return Check(name, False, error.message, error.hint)
    return Check(name, True, found)


def _chosen(project: Project, names: tuple[str, ...]) -> Sequence[Task]:
    declare_tasks(project)
    return project.choose(names)


def _connect(project: Project) -> None:
    with project.connect() as session:
        session.handle.rows("select 1 as one")


def _look_at_tables(project: Project, tasks: list[Task]) -> None:
    with project.connect() as session:
        check_tables(session, tasks)


def _check_provider(models: list[str], api_key: str | None, base_url: str | None, today: date) -> Iterator[Check]:
    from connector.provider import connect

    url = base_url or ""
    address = _check_address(url)
    try:
        provider = connect(api_key, url or None) if address.ok else None
    except LabelsError as error:
        yield address
        yield Check("key", False, error.message, error.hint)
        return
    if provider is None:
        yield address
        return
    try:
        identity = provider.identify()
    except (KeyRefused, QuotaExhausted, RateLimited) as error:
        yield address
        yield Check("key", False, error.message, error.hint)
        return
    except LabelsError as error:
        hint = error.hint or "check OPENAI_BASE_URL: `/batches` is what follows it"
        yield Check(address.name, False, error.message, hint)
        return
    else:
        yield address
        yield Check("key", True, f"accepted by {identity}")
        for model in models:
            yield _check_model(provider, model, is_openai(base_url), today)
    finally:
        provider.close()


def _check_address(url: str) -> Check:
    """Return what can be said of OPENAI_BASE_URL without asking anybody."""
    if not url:
        return Check("base URL", True, f"{_OPENAI}, because OPENAI_BASE_URL is not set")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits:
        return Check("base URL", False, "OPENAI_BASE_URL is not a URL", "it looks like https://host/v1")
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Check("base URL", True, f"{shown}, by OPENAI_BASE_URL")


def _check_model(provider: Provider, model: str, of_openai: bool, today: date) -> Check:
    try:
        told = provider.check_model(model)
    except LabelsError as error:
        return Check("model", False, error.message, error.hint)
    retirement = told_retirement(model, told) if told or of_openai else None
    return Check("model", True, model) if retirement is None else _judge_model(model, retirement, today)


def _judge_model(model: str, retirement: Retirement, today: date) -> Check:
    hint = 'change `model` and pilot again; see "When a model retires" in docs/day-two.md'
    return Check("model", today < retirement.on, f"{model}: {retirement}", hint)


def _check_prices(tasks: list[Task], base_url: str | None) -> Iterator[Check]:
    for task in tasks:
        price = batch_price(task, base_url)
        if price is not None:
            rate = price.rates[0]
            costs = f"{task.model}: {_usd(rate.input)} in, {_usd(rate.output)} out a million tokens in batches"
            yield Check("price", True, f"{costs} ({price.source})")
            continue
        walled = f", and `{task.name}` has a budget" if has_budget(task, None) else ""
        yield Check(
            "price",
            not walled,
            f"the price of {task.model} is not known{walled}",
            f"say it in `price` of `{task.name}` (`input_usd_per_mtok`, `output_usd_per_mtok`), or update genai-prices",
        )


def _usd(amount: Decimal) -> str:
    return f"${amount.normalize():f}"
