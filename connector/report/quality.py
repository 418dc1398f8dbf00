"""The report of `evaluate`: figures of labels against gold, and changes between versions, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from connector.errors import WarehouseError
from connector.plain import counted
from connector.warehouse.quality import Changes, ClassQuality, Confusion, Metric, Quality

FEW_TEXTS = 30
_WIDEST_MATRIX = 8
_LONGEST_LIST = 20


def shown_version(quality: Quality, wanted: int | None) -> int:
    """Return the version to show: the wanted one, or the task's, or the highest below it that has labels of gold texts.

    Raises `WarehouseError` where there is no such label.
    """
    below = [version for version in quality.versions if version <= quality.version]
    if wanted is None and below:
        return below[-1]
    if wanted is not None and wanted in quality.versions:
        return wanted
    version = quality.version if wanted is None else wanted
    there = f"; there are of {', '.join(map(str, quality.versions))}" if quality.versions else ""
    raise WarehouseError(
        f"task `{quality.task}`: {quality.no_answer(version)}{there}{quality.of_imported(version)}",
        "`dbt-labels run` labels what is pending",
    )


def quality_data(quality: Quality) -> dict[str, Any]:
    """Return all figures of every version for JSON."""
    return {**asdict(quality), "versions": quality.versions}


def quality_lines(quality: Quality, version: int) -> list[str]:
    """Return one version's figures for people, and the other versions' beside the first of them."""
    corrected = f", corrected by {quality.overrides}" if quality.overrides else ""
    lines = [f"task {quality.task} -> {quality.table}, version {version}, gold: {quality.gold}{corrected}"]
    if quality.gold_description:
        lines.append(f"  {quality.gold}: {' '.join(quality.gold_description.split())}")
    if quality.version not in quality.versions:
        lines.append(f"  note: no gold text has an answer of version {quality.version}, the task's, yet")
    for field in quality.fields:
        lines += ["", *_field_lines(quality, version, field)]
    return lines


def changes_data(changes: Changes) -> dict[str, Any]:
    """Return the changes for JSON."""
    return asdict(changes)


def changes_lines(changes: Changes) -> list[str]:
    """Return the changes for people: counts per field, from which value to which, and the first texts' keys."""
    versions = f"version {changes.from_version} to {changes.to_version}"
    lines = [f"task {changes.task}, {versions}: {counted(changes.texts, 'text')} with a label of both"]
    for field, texts in changes.changed.items():
        share = f" ({texts / changes.texts:.1%})" if changes.texts else ""
        lines += ["", f"{field}: {texts:,} changed{share}"]
        counts = [found for found in changes.counts if found.field == field]
        rows = [[found.old_value, "->", found.new_value, f"{found.texts:,}"] for found in counts[:_LONGEST_LIST]]
        lines += _columns(rows)
        if len(counts) > _LONGEST_LIST:
            lines.append(f"  and {len(counts) - _LONGEST_LIST:,} other changes; --json has all")
    if changes.first:
        lines += ["", "first changes, by text_key"]
        lines += _columns([[one.text_key, one.field, one.old_value, "->", one.new_value] for one in changes.first])
    return lines


def _field_lines(quality: Quality, version: int, field: str) -> list[str]:
    texts, missing = quality.count(version, field, "n"), quality.count(version, field, "missing")
    lines = [
        f"{field}: {counted(texts, 'text')} with gold and a label"
        + (f", {missing:,} without a label" if missing else "")
    ]
    if texts < FEW_TEXTS:
        lines.append(f"  note: {texts:,} texts are few, under {FEW_TEXTS}: these figures can be far off")
    figures = [
        found
        for found in quality.metrics
        if (found.version, found.field) == (version, field) and found.metric not in ("n", "missing")
    ]
    figures.sort(key=lambda found: (found.low is None, found.metric))
    rows = [[found.metric, _figure(found.value), _interval(found.low, found.high)] for found in figures]
    lines += _columns([["metric", "value", "95% interval"], *rows])
    lines += _other_versions(quality, version, field, figures[:1])
    classes = [found for found in quality.classes if (found.version, found.field) == (version, field)]
    if classes:
        lines += ["", *_class_lines(classes)]
    confusion = [found for found in quality.confusion if (found.version, found.field) == (version, field)]
    if confusion:
        lines += ["", *_confusion_lines([found.value for found in classes], confusion)]
    return lines


def _other_versions(quality: Quality, version: int, field: str, first: Sequence[Metric]) -> list[str]:
    rows = []
    for other in quality.versions:
        for found in [quality.metric(other, field, figure.metric) for figure in first]:
            if found is not None and found.value is not None and other != version:
                texts = f"on {quality.count(other, field, 'n'):,} texts"
                interval = _interval(found.low, found.high)
                rows.append([f"version {other}: {found.metric}", _figure(found.value), interval, texts])
    return _columns(rows)


def _class_lines(classes: Sequence[ClassQuality]) -> list[str]:
    rows = [["value", "gold", "label", "both", "precision", "95% interval", "recall", "95% interval", "f1"]]
    for found in classes:
        counts = [f"{number:,}" for number in (found.gold_texts, found.label_texts, found.true_positives)]
        precision = [_figure(found.precision), _interval(found.precision_low, found.precision_high)]
        recall = [_figure(found.recall), _interval(found.recall_low, found.recall_high)]
        rows.append([found.value, *counts, *precision, *recall, _figure(found.f1)])
    return _columns(rows)


def _confusion_lines(values: Sequence[str], confusion: Sequence[Confusion]) -> list[str]:
    """Return a matrix where it is small, or else the most frequent differences."""
    if len(values) <= _WIDEST_MATRIX:
        texts = {(found.gold_value, found.label_value): found.texts for found in confusion}
        rows = [["gold \\ label", *values]]
        rows += [[gold, *(f"{texts.get((gold, label), 0):,}" for label in values)] for gold in values]
        return _columns(rows)
    wrong = sorted((found for found in confusion if found.gold_value != found.label_value), key=lambda row: -row.texts)
    rows = [[found.gold_value, "->", found.label_value, f"{found.texts:,}"] for found in wrong[:_LONGEST_LIST]]
    return ["  most frequent differences, gold -> label", *_columns(rows)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, indented: numbers and intervals to the right, other cells to the left."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    numeric = [
        all(cell[:1] in "-[0123456789" and cell != "->" for cell in cells[1:]) if place else False
        for place, cells in enumerate(zip(*rows, strict=True))
    ]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"
