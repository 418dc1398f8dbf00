"""A small project whose task has gold and overrides, and what scikit-learn says of the same labels."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

FIELDS: list[dict[str, Any]] = [
    {"name": "sentiment", "type": "one_of", "values": ["positive", "negative", "neutral", "it's"]},
    {"name": "spoiler", "type": "boolean"},
    {"name": "stars", "type": "integer", "min": 0, "max": 10},
    {"name": "themes", "type": "any_of", "values": ["acting", "plot", "music", 'say "hi"']},
    {"name": "summary", "type": "text", "max": 100},
]
VALUES: dict[str, list[Any]] = {
    "sentiment": FIELDS[0]["values"],
    "spoiler": [True, False],
    "stars": [0, 1, 10],
    "themes": FIELDS[3]["values"],
}


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def label(text: str, version: int = 1, **values: Any) -> dict[str, Any]:
    """Return a row of the table of labels; a list becomes a JSON array."""
    row: dict[str, Any] = {"text_key": key(text), "version": version, "outcome": "labelled", "model": "m"}
    row |= {"attempt": 1, "batch_key": "b", "labelled_at": datetime(2026, 11, 1)}
    return row | _written(values)


def judged(text: str, **values: Any) -> dict[str, Any]:
    """Return a row of gold or overrides; a field that is not given was not judged."""
    return {"text_key": key(text), "comment_text": text} | dict.fromkeys(VALUES) | {"summary": None} | _written(values)


def _written(values: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def scores(field: str, gold: Sequence[Any], labels: Sequence[Any]) -> dict[str, float]:
    """Return what scikit-learn says; kappa is NaN where it is not defined."""
    if field != "themes":
        gold, labels = list(map(as_text, gold)), list(map(as_text, labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one class only
            kappa = sk.cohen_kappa_score(gold, labels)
        return {
            "accuracy": sk.accuracy_score(gold, labels),
            "kappa": kappa,
            "macro_f1": sk.f1_score(gold, labels, average="macro", zero_division=0),
        }
    left, right, classes = indicators(gold, labels)
    by_class = sk.f1_score(left, right, average=None, zero_division=0)[: len(classes)]
    return {
        "exact_match": sk.accuracy_score(left, right),
        "micro_f1": sk.f1_score(left, right, average="micro", zero_division=0),
        "macro_f1": sum(by_class) / len(by_class) if classes else 0,
        # zero_division=1 is the rule of the empty: nothing to find and nothing found is right
        "jaccard": sk.jaccard_score(left, right, average="samples", zero_division=1),
    }


def indicators(gold: Sequence[Any], labels: Sequence[Any]) -> tuple[Any, Any, list[str]]:
    """Return both sides as indicators of the classes, and of two that nobody has: one alone is not multilabel."""
    classes = sorted({value for values in [*gold, *labels] for value in values})
    binarizer = MultiLabelBinarizer(classes=[*classes, "nobody's", "nobody else's"]).fit([])
    return binarizer.transform(gold), binarizer.transform(labels), classes


def class_scores(field: str, gold: Sequence[Any], labels: Sequence[Any]) -> dict[str, tuple[float, ...]]:
    """Return precision, recall, f1, gold texts and label texts by value, as scikit-learn counts them."""
    if field == "themes":
        left, right, classes = indicators(gold, labels)
        found = sk.precision_recall_fscore_support(left, right, zero_division=0)
        counts = Counter(value for values in labels for value in set(values))
    else:
        gold, labels = list(map(as_text, gold)), list(map(as_text, labels))
        classes = sorted({*gold, *labels})
        found = sk.precision_recall_fscore_support(gold, labels, labels=classes, zero_division=0)
        counts = Counter(labels)
    rows = list(zip(*found, strict=True))[: len(classes)]
    return {value: (*row, counts[value]) for value, row in zip(classes, rows, strict=True)}
