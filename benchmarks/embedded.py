"""Measure the local server's embedded engine on labelled comments, beside VADER alone, and its speed.

    python -m benchmarks.embedded FOLDER [--most 6000]

FOLDER has reddit_sentiment.csv, intents.csv and themes.csv (columns id, text, label; several themes as a|b). Every
figure is of texts as they stand, without training; prints one table.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from connector.local.embedded import EmbeddedEngine
from connector.request import make_template
from connector.task import Task


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--most", type=int, default=6000, help="rows of a file, drawn with a fixed seed")
    given = arguments.parse_args()
    engine = EmbeddedEngine.load(None)
    print("| data | rows | measure | embedded | VADER alone | texts a second |\n|---|---|---|---|---|---|")
    _sentiment(engine, _rows(given.folder / "reddit_sentiment.csv", given.most))
    _intents(engine, _rows(given.folder / "intents.csv", given.most))
    _themes(engine, _rows(given.folder / "themes.csv", given.most))


def _rows(path: Path, most: int) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(handle)]
    random.Random(7).shuffle(rows)
    return rows[:most]


def _ask(engine: EmbeddedEngine, texts: Sequence[str], field: dict[str, Any]) -> tuple[list[Any], float]:
    """Return the answers to one field and texts a second."""
    block = {"name": "bench", "table": "bench", "text": "text", "model": "gpt-6-luna", "instructions": "Label."}
    template = make_template(Task.model_validate({**block, "fields": [field]}))
    bodies = [json.loads(template.line("x", text))["body"] for text in texts]
    started = time.perf_counter()
    answers = []
    for place in range(0, len(bodies), 64):
        replies = engine.answer(bodies[place : place + 64])
        answers += [json.loads(reply.content or "{}")[field["name"]] for reply in replies]
    return answers, len(texts) / (time.perf_counter() - started)


def _sentiment(engine: EmbeddedEngine, rows: list[tuple[str, str]]) -> None:
    values = ["positive", "negative", "neutral"]
    texts, gold = [text for text, _ in rows], [label for _, label in rows]
    answers, speed = _ask(engine, texts, {"name": "sentiment", "type": "one_of", "values": values})
    vader = SentimentIntensityAnalyzer()
    moods = [vader.polarity_scores(text)["compound"] for text in texts]
    alone = ["positive" if mood >= 0.05 else "negative" if mood <= -0.05 else "neutral" for mood in moods]
    ours, theirs = _macro_recall(gold, answers, values), _macro_recall(gold, alone, values)
    print(f"| reddit_sentiment | {len(rows)} | macro-recall | {ours:.3f} | {theirs:.3f} | {speed:.0f} |")
    ours, theirs = _accuracy(gold, answers), _accuracy(gold, alone)
    print(f"| reddit_sentiment | {len(rows)} | accuracy | {ours:.3f} | {theirs:.3f} | {speed:.0f} |")


def _intents(engine: EmbeddedEngine, rows: list[tuple[str, str]]) -> None:
    values = sorted({label for _, label in rows})
    answers, speed = _ask(engine, [text for text, _ in rows], {"name": "intent", "type": "one_of", "values": values})
    accuracy = _accuracy([label for _, label in rows], answers)
    print(f"| intents, {len(values)} values | {len(rows)} | accuracy | {accuracy:.3f} | | {speed:.0f} |")


def _themes(engine: EmbeddedEngine, rows: list[tuple[str, str]]) -> None:
    values = sorted({value for _, label in rows for value in label.split("|")})
    answers, speed = _ask(engine, [text for text, _ in rows], {"name": "themes", "type": "any_of", "values": values})
    pairs = [(set(label.split("|")), set(found)) for (_, label), found in zip(rows, answers, strict=True)]
    hits = sum(len(gold & found) for gold, found in pairs)
    f1 = 2 * hits / sum(len(gold) + len(found) for gold, found in pairs)
    print(f"| themes, {len(values)} values | {len(rows)} | micro-F1 | {f1:.3f} | | {speed:.0f} |")


def _accuracy(gold: Sequence[str], answers: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(gold, answers, strict=True)) / len(gold)


def _macro_recall(gold: Sequence[str], answers: Sequence[str], values: Sequence[str]) -> float:
    recalls = []
    for value in values:
        found = [answer == value for label, answer in zip(gold, answers, strict=True) if label == value]
        recalls.append(sum(found) / len(found))
    return sum(recalls) / len(recalls)


if __name__ == "__main__":
    main()
