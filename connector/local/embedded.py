"""The embedded engine: a small sentence encoder and VADER that follow a JSON schema. It is not a language model.

It never reads instructions or examples. A value is as likely as its name and description are near the text.
"""

from __future__ import annotations

import importlib
import math
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connector.local.chat import Body, text_of
from connector.local.choice import Choice
from connector.local.encoder import Encoder, Vectors
from connector.local.engine import Reply, bounds_of, extract, resolve, say, type_of
from connector.local.schema import schema_of

POLARITIES = frozenset(("positive", "negative", "neutral"))
ANCHORS = {
    "negative": (
        "I hate this, it is terrible.",
        "I am angry and disappointed.",
        "This is awful and makes me sad.",
        "What an idiot, this is disgusting.",
    ),
    "neutral": (
        "How does this work?",
        "I will look at it tomorrow.",
        "He went to the store on Monday.",
        "I think it was in the second game.",
    ),
    "positive": (
        "I love this, it is great!",
        "Thank you so much, that is wonderful.",
        "Congratulations, I am so happy for you.",
        "Haha, that is hilarious and amazing.",
    ),
}
# Chosen for macro-recall on 3,000 Reddit comments (GoEmotions); figures are measured on other ones.
ENCODER_WEIGHT = 1.5
NEGATIVE_BELOW, POSITIVE_ABOVE = -0.3, 0.3
# A value that stands for "none of these" wins where no other is at least this near; a theme needs as much to count.
NEAR = 0.12
FALLBACK_VALUES = frozenset(("other", "others", "none", "unknown", "n/a"))
# A theme counts where its nearness is so many standard deviations above the field's average, or clear by itself.
STANDS_OUT = 1.3
CLEARLY_NEAR = 0.25
TRUE_ABOVE = 0.2
# How much a difference of scores tells: of the encoder's nearness, of moods, and of steps on a scale.
NEARNESS_TEMPERATURE = 0.05
MOOD_TEMPERATURE = 0.3
STEP_TEMPERATURE = 0.5
SCALE_STEPS = 10
VALUE_LINE = re.compile(r"^\s*- (?P<value>[^:\n]+): (?P<description>.+)$", re.MULTILINE)


class EmbeddedEngine:
    """Answer schemas with the values nearest to the text."""

    name = "embedded_encoder"
    chunk_size = 64
    forwards = False

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vader: Any = importlib.import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()
        self._known: dict[str, Vectors] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path | None) -> EmbeddedEngine:
        """Load the model; raise ModelUnusable where its file is absent or another."""
        return cls(Encoder.load(directory))

    def answer(self, bodies: Sequence[Body]) -> list[Reply]:
        """Answer each body; texts are encoded together."""
        texts = [text_of(body) for body in bodies]
        # One worker at a time: the encoder uses all cores by itself.
        with self._lock:
            vectors = self._encoder.encode(texts)
            return [self._reply(*job) for job in zip(bodies, texts, vectors, strict=True)]

    def close(self) -> None:
        """Do nothing: the model goes with the process."""

    def _reply(self, body: Body, text: str, vector: Vectors) -> Reply:
        schema = schema_of(body)
        if schema is None:
            return Reply(content="This engine is a sentence encoder: it answers requests with a JSON schema only.")
        return say(self._fill("", schema, schema, text, vector))

    def _fill(self, name: str, node: dict[str, Any], root: dict[str, Any], text: str, vector: Vectors) -> Any:
        node = resolve(node, root)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._choose(name, node, text, vector)
        if "anyOf" in node:
            return self._fill(name, node["anyOf"][0], root, text, vector)
        kind = type_of(node)
        if kind == "object":
            return {key: self._fill(key, child, root, text, vector) for key, child in node["properties"].items()}
        if kind == "array":
            return self._fill_array(name, node, root, text, vector)
        if kind == "boolean":
            return self._judge(name, node, vector)
        if kind in ("integer", "number"):
            # There is no scale to read off a vector: the mood of the text is the best bounded guess there is.
            return _place((self._mood(text) + 1) / 2, *bounds_of(node))
        # What is copied was chosen from nothing else.
        return None if kind == "null" else Choice(extract(text, node), 1.0)

    def _fill_array(self, name: str, node: dict[str, Any], root: dict[str, Any], text: str, vector: Vectors) -> Any:
        items = resolve(node["items"], root)
        fewest = node.get("minItems", 0)
        if "enum" not in items:
            return [self._fill(name, items, root, text, vector) for _ in range(max(1, fewest))]
        near = self._nearness(items["enum"], node.get("description", ""), vector)
        spread = float(near.std()) or 1.0
        ranked = np.argsort(-near, kind="stable")
        needed = max(NEAR, min(CLEARLY_NEAR, float(near.mean()) + STANDS_OUT * spread))
        themes = [row for row in ranked if near[row] >= needed]
        chosen = max(len(themes), fewest)
        kept = ranked[: min(chosen, node.get("maxItems", chosen))]
        if not len(kept):
            return Choice([], _share([needed, float(near.max())], 0, NEARNESS_TEMPERATURE))
        return [Choice(items["enum"][row], _share([float(near[row]), needed], 0, NEARNESS_TEMPERATURE)) for row in kept]

    def _choose(self, name: str, node: dict[str, Any], text: str, vector: Vectors) -> Choice:
        values: list[Any] = node["enum"]
        by_polarity = {str(value).lower(): value for value in values}
        if set(by_polarity) <= POLARITIES and {"positive", "negative"} <= set(by_polarity):
            polarity = self._polarity(text, vector, neutral="neutral" in by_polarity)
            return Choice(by_polarity[polarity.value], polarity.probability)
        near = self._nearness(values, node.get("description", ""), vector)
        fallback = [row for row, value in enumerate(values) if str(value).lower() in FALLBACK_VALUES]
        near[fallback] = NEAR
        best = int(near.argmax())
        return Choice(values[best], _share(near.tolist(), best, NEARNESS_TEMPERATURE))

    def _polarity(self, text: str, vector: Vectors, *, neutral: bool) -> Choice:
        positive, even, negative = (self._anchor(key) @ vector for key in ("positive", "neutral", "negative"))
        mood = self._mood(text) + ENCODER_WEIGHT * float(positive - negative)
        if not neutral:
            return Choice("positive" if mood >= 0 else "negative", _share([abs(mood), 0.0], 0, MOOD_TEMPERATURE))
        lean = float(even - max(positive, negative))
        # How far the mood is past what each of the three needs; neutral is what needs nothing.
        past = [mood - POSITIVE_ABOVE - lean, NEGATIVE_BELOW - lean - mood, 0.0]
        chosen = 0 if past[0] > 0 else 1 if past[1] > 0 else 2
        return Choice(("positive", "negative", "neutral")[chosen], _share(past, chosen, MOOD_TEMPERATURE))

    def _judge(self, name: str, node: dict[str, Any], vector: Vectors) -> Choice:
        claim = node.get("description") or _words(name)
        true, false = (self._vectors([claim, f"This is not the case: {claim}"]) @ vector).tolist()
        scores = [true, max(false, TRUE_ABOVE)]
        return Choice(scores[0] >= scores[1], _share(scores, int(scores[0] < scores[1]), NEARNESS_TEMPERATURE))

    def _nearness(self, values: Sequence[Any], description: str, vector: Vectors) -> Vectors:
        described = {m["value"].strip(): m["description"].strip() for m in VALUE_LINE.finditer(description)}
        labels = [
            f"{_words(str(value))}: {described[str(value)]}" if str(value) in described else _words(str(value))
            for value in values
        ]
        near: Vectors = self._vectors(labels) @ vector
        return near

    def _anchor(self, polarity: str) -> Vectors:
        mean = self._vectors(ANCHORS[polarity]).mean(axis=0)
        anchor: Vectors = mean / np.linalg.norm(mean)
        return anchor

    def _vectors(self, labels: Sequence[str]) -> Vectors:
        """Encode labels, each only once in the life of the engine."""
        missing = [label for label in dict.fromkeys(labels) if label not in self._known]
        if missing:
            self._known.update(zip(missing, self._encoder.encode(missing), strict=True))
        return np.stack([self._known[label] for label in labels])

    def _mood(self, text: str) -> float:
        return float(self._vader.polarity_scores(text)["compound"])


def _place(share: float, low: int, high: int) -> Choice:
    """Choose the whole number at a share of the way from low to high; its neighbours are the nearer, the likelier."""
    at = share * (high - low)
    place = round(at)
    steps = range(max(0, place - SCALE_STEPS), min(high - low, place + SCALE_STEPS) + 1)
    scores = [-abs(step - at) for step in steps]
    return Choice(low + place, _share(scores, steps.index(place), STEP_TEMPERATURE))


def _share(scores: Sequence[float], chosen: int, temperature: float) -> float:
    """Give the softmax of one score among all, never 0: what is chosen has a probability."""
    return 1 / sum(math.exp(min((score - scores[chosen]) / temperature, 100.0)) for score in scores)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").strip().lower() or "text"
