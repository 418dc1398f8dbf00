"""How good a task's labels are: against what people say, and one version against another, by the package's macros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from connector.errors import LabelsError, TaskError, WarehouseError, to_build
from connector.plain import listed
from connector.task import AnyOf, Task, TaskField, Text
from connector.warehouse.project import Named, Project
from connector.warehouse.schema import check_tables
from connector.warehouse.session import Session

METRICS = ("accuracy", "kappa", "macro_f1")
METRICS_ANY_OF = ("exact_match", "jaccard", "micro_f1", "macro_f1")
_FIRST_CHANGES = 20


@dataclass(frozen=True)
class Metric:
    """A figure of one field in one version; `low` and `high` are Wilson's 95% interval, where it has one."""

    version: int
    field: str
    metric: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ClassQuality:
    """The figures of one value of a field in one version."""

    version: int
    field: str
    value: str
    gold_texts: int
    label_texts: int
    true_positives: int
    precision: float
    precision_low: float | None
    precision_high: float | None
    recall: float
    recall_low: float | None
    recall_high: float | None
    f1: float


@dataclass(frozen=True)
class Confusion:
    """How many texts people gave one value and the model another, or the same."""

    version: int
    field: str
    gold_value: str
    label_value: str
    texts: int


@dataclass(frozen=True)
class Quality:
    """All figures of a task, of every version. `gold_description` is what the gold relation's YAML says of it.

    `imported` are gold texts whose label of the task's version was imported: it says nothing of the model.
    """

    task: str
    table: str
    version: int
    gold: str
    gold_description: str
    overrides: str | None
    metrics: list[Metric]
    classes: list[ClassQuality]
    confusion: list[Confusion]
    imported: int

    @property
    def versions(self) -> list[int]:
        """Return the versions with a label of a text that people judged, in order."""
        return sorted({found.version for found in self.metrics if found.metric == "n" and found.value})

    @property
    def fields(self) -> list[str]:
        """Return the fields that people judged, in the task's order."""
        return list(dict.fromkeys(found.field for found in self.metrics))

    def no_answer(self, version: int) -> str:
        """Return, for people, that a version can not be measured."""
        return f"no text of `{self.gold}` has an answer of version {version}"

    def of_imported(self, version: int) -> str:
        """Return, for people, what to do about imported labels that keep the version from being measured."""
        if version != self.version or not self.imported:
            return ""
        return (
            f" (labels of {self.imported:,} of them were imported, which says nothing of the model: raise `version`, or"
            ' take them back, see "Labels that you have already" in docs/day-two.md)'
        )

    def metric(self, version: int, field: str, metric: str) -> Metric | None:
        """Return one figure, or None where nobody judged the field."""
        wanted = (version, field, metric)
        return next((found for found in self.metrics if (found.version, found.field, found.metric) == wanted), None)

    def count(self, version: int, field: str, metric: Literal["n", "missing"]) -> int:
        """Return how many judged texts have a label of the version, or have none."""
        found = self.metric(version, field, metric)
        return int(found.value or 0) if found else 0


@dataclass(frozen=True)
class ChangeCount:
    """How many texts changed from one value to another."""

    field: str
    old_value: str
    new_value: str
    texts: int


@dataclass(frozen=True)
class Change:
    """One text's change."""

    text_key: str
    field: str
    old_value: str
    new_value: str


@dataclass(frozen=True)
class Changes:
    """What differs between two versions: `texts` have a label of both, `changed` of them differ per field."""

    task: str
    from_version: int
    to_version: int
    texts: int
    changed: dict[str, int]
    counts: list[ChangeCount]
    first: list[Change]


def read_quality(project: Project, task: Task) -> Quality:
    """Return the figures of every version against the task's gold, as the package's models have them, but of now.

    Raises `TaskError` or `WarehouseError` where the gold or the overrides can not be used.
    """
    with project.connect() as session:
        gold, overrides = _gold(session, project, task), _overrides(session, project, task)
        pairs = quality_pairs(session, project, task)
        rows = {
            name: session.handle.rows(session.macro(f"quality_{name}", pairs=f"({pairs}) as pairs"))
            for name in ("metrics", "classes", "confusion")
        }
        imported = session.handle.rows(
            f"select count(distinct text_key) as texts from {session.relation(task.table)} where version = ?"
            " and outcome = 'labelled' and batch_key is null"
            f" and text_key in (select text_key from {gold.relation})",
            [task.version],
        )
    order = {field.name: place for place, field in enumerate(task.fields)}

    def of_field(found: Any) -> tuple[int, int]:
        return found.version, order[found.field]

    return Quality(
        task=task.name,
        table=task.table,
        version=task.version,
        gold=gold.name,
        gold_description=gold.description,
        overrides=overrides.name if overrides else None,
        metrics=sorted(map(_metric, rows["metrics"]), key=of_field),
        classes=sorted(map(_class, rows["classes"]), key=lambda row: (*of_field(row), -row.gold_texts, row.value)),
        confusion=sorted(
            map(_confusion, rows["confusion"]), key=lambda row: (*of_field(row), row.gold_value, row.label_value)
        ),
        imported=int(imported[0]["texts"]),
    )


def quality_pairs(session: Session, project: Project, task: Task) -> str:
    """Return SQL that gives what people say beside what the model said, as the macro of that name has it.

    Raises as `read_quality` does.
    """
    gold, overrides = _gold(session, project, task), _overrides(session, project, task)
    check_tables(session, [task])
    return str(
        session.macro(
            "quality_pairs",
            task=_for_macros(task),
            labels=session.macro("labels_relation", identifier=task.table),
            gold=gold.relation,
            overrides=overrides.relation if overrides else None,
        )
    )


def read_changes(project: Project, task: Task, from_version: int, to_version: int) -> Changes:
    """Return what the labels of two versions say differently; raises `WarehouseError` where one has no labels."""
    with project.connect() as session:
        check_tables(session, [task])
        labels, described = session.macro("labels_relation", identifier=task.table), _for_macros(task)
        every = session.macro("labelled", task=described, labels=labels, columns=["text_key", "version"])
        present = session.handle.rows(f"select distinct version from ({every}) as labelled order by version")
        versions = [int(row["version"]) for row in present]
        for version in (from_version, to_version):
            if version not in versions:
                there = f"there are labels of {listed(versions)}" if versions else "there is no label at all"
                raise WarehouseError(
                    f"task `{task.name}` has no labels of version {version}; {there}",
                    "`dbt-labels run` labels what is pending of the task's version",
                )
        both = session.handle.rows(
            f"select count(*) as texts from (select text_key from ({every}) as labelled"
            f" where version in ({from_version}, {to_version})"
            " group by text_key having count(distinct version) = 2) as both_versions"
        )
        changes = session.macro(
            "label_changes", labels=labels, from_version=from_version, to_version=to_version, task=described
        )
        counts = session.handle.rows(
            f"select field, old_value, new_value, count(*) as texts from ({changes}) as changes"
            " group by field, old_value, new_value order by field, texts desc, old_value, new_value"
        )
        first = session.handle.rows(
            f"select * from ({changes}) as changes order by text_key, field limit {_FIRST_CHANGES}"
        )
    changed = {field.name: 0 for field in task.fields if not isinstance(field, Text)}
    for row in counts:
        changed[row["field"]] += int(row["texts"])
    return Changes(
        task=task.name,
        from_version=from_version,
        to_version=to_version,
        texts=int(both[0]["texts"]),
        changed=changed,
        counts=[ChangeCount(row["field"], row["old_value"], row["new_value"], int(row["texts"])) for row in counts],
        first=[Change(**row) for row in first],
    )


def gold_texts(session: Session, project: Project, task: Task) -> str:
    """Return SQL that gives `text_key` and `text` of the gold texts that are not blank, one row per text.

    Overrides count as gold. The text is the relation's own, or else that of the relation that the pending model selects
    from. Raises `TaskError` or `WarehouseError`.
    """
    gold, overrides = _gold(session, project, task), _overrides(session, project, task)
    source = _texts_of(session, project, task, gold)
    if source is None:
        raise WarehouseError(
            f"task `{task.name}`: `gold: {gold.name}` has no column `{task.text}`, and no relation that the pending"
            " model selects from has the texts",
            f"add `{task.text}` to `{gold.name}`",
        )
    # what people corrected once and nobody has the text of any more can not be asked
    corrected = overrides and _texts_of(session, project, task, overrides)
    both = f"{source} union all {corrected}" if corrected else source
    return (
        f"select text_key, min(text) as text from ({both}) as gold_texts"
        f" where text_key is not null and not {session.macro('is_blank', column='gold_texts.text')} group by text_key"
    )


def _texts_of(session: Session, project: Project, task: Task, named: Named) -> str | None:
    """Return SQL that gives `text_key` and `text` of a named relation, or nothing where no relation has its texts."""
    key, text = session.quote("text_key"), session.quote(task.text)
    chosen = f"select {key} as text_key, {text} as text from"
    if task.text.lower() in session.columns(str(named.relation)):
        return f"{chosen} {named.relation}"
    for node in project.parents(task):
        if node.relation_name and {"text_key", task.text.lower()} <= session.columns(node.relation_name).keys():
            same = f"select 1 from {named.relation} as named where named.{key} = texts.{key}"
            return f"{chosen} {node.relation_name} as texts where exists ({same})"
    return None


def metrics_of(field: TaskField) -> tuple[str, ...]:
    """Return the metrics of a field, the most telling first."""
    return METRICS_ANY_OF if isinstance(field, AnyOf) else METRICS


def _gold(session: Session, project: Project, task: Task) -> Named:
    """Return the task's gold; raises where it can not be used."""
    if task.gold is None:
        raise TaskError(
            f"task `{task.name}` has no `gold` to measure its labels against",
            "name there the model or seed of what people say: one row per text, `text_key` and a column per field",
        )
    measured = [field.name for field in task.fields if not isinstance(field, Text)]
    return _named(session, project, f"task `{task.name}`: `gold: {task.gold}`", task.gold, measured)


def _overrides(session: Session, project: Project, task: Task) -> Named | None:
    """Return the task's overrides, where it names any; raises where they can not be used."""
    if task.overrides is None:
        return None
    fields = [field.name for field in task.fields]
    return _named(session, project, f"task `{task.name}`: `overrides: {task.overrides}`", task.overrides, fields)


def _named(session: Session, project: Project, where: str, name: str, fields: list[str]) -> Named:
    named = project.named(name)
    if named is None:
        raise TaskError(f"{where}: there is no model or seed of that name", "correct the name in the task's YAML")
    if named.relation is None:
        raise TaskError(f"{where}: it is ephemeral, so there is nothing to read", "make it a table or a view")
    columns = session.columns(str(named.relation))
    if not columns:
        raise WarehouseError(f"{where} is not built: there is no {named.relation}", f"run {to_build(name)}")
    if "text_key" not in columns:
        raise _unfit(f"{where} has no column `text_key`; it has {listed(columns)}")
    if not columns.keys() & set(fields):
        raise _unfit(f"{where} has no column of a field: it needs one or more of {listed(fields)}")
    found = session.handle.rows(
        f"select count(text_key) as rows, count(distinct text_key) as texts from {named.relation}"
    )[0]
    if found["rows"] > found["texts"]:
        raise _unfit(f"{where} has {found['rows'] - found['texts']:,} rows whose `text_key` appears before")
    return named


def _unfit(message: str) -> LabelsError:
    return WarehouseError(
        message, "it needs one row per text, `text_key` by `dbt_labels.text_key`, and a column per field"
    )


def _for_macros(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="json")


def _metric(row: dict[str, Any]) -> Metric:
    return Metric(int(row["version"]), row["field"], row["metric"], row["value"], row["low"], row["high"])


def _class(row: dict[str, Any]) -> ClassQuality:
    return ClassQuality(**{name: value for name, value in row.items() if name != "label_table"})


def _confusion(row: dict[str, Any]) -> Confusion:
    return Confusion(int(row["version"]), row["field"], row["gold_value"], row["label_value"], int(row["texts"]))
