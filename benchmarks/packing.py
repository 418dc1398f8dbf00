"""What packing saves: tokens and dollars a label with several texts in a request, and whether labels stay the same.

    python -m benchmarks.packing comments.csv [--texts 5000] [--asked 200]

The file has the columns `text` and `label`. Tokens are counted (o200k_base), dollars are the listed batch price. Labels
are asked of the local server's embedded model, each text alone and packed.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
from itertools import islice
from pathlib import Path

import openai

from connector.answer import Answer
from connector.estimate import Tally, make_estimate
from connector.judgement import judge_batch
from connector.local import LocalServer, ServerSettings
from connector.price import batch_price
from connector.request import draw_ids, make_template
from connector.shard import Pending, group, make_request
from connector.task import Task
from connector.token import counter

SIZES = (1, 5, 10, 20, 50, 100)
INSTRUCTIONS = """\
You label comments that people wrote under posts on a discussion site. Judge what the comment says about the
mood of its author towards what is talked about, not the mood of the people who are mentioned in it, and not
whether you agree. Comments are short, informal and often a reply to something that you can not see: decide by
the words that are there, and do not invent what was said before. Names are replaced by [NAME], faiths by
[RELIGION]; they carry no mood. Thanks, admiration, joy, relief, love, hope, excitement, pride and amusement are
positive. Anger, annoyance, disappointment, disapproval, disgust, embarrassment, fear, grief, nervousness,
remorse and sadness are negative. Questions, facts, realisations, surprise and curiosity without any of these
are neutral. Sarcasm counts as what it means, not as what it says: praise that is meant as blame is negative.
Where a comment has both, take what it ends on; where nothing decides, take neutral. Emoji count as words.
Swearing alone is not negative: people swear for joy as well. A comment in another language than English is
labelled the same way. A comment that says nothing at all, such as a single name or a number, is neutral. Do not
explain the label.
"""


def make_task(rows: int) -> Task:
    """Return a task with one field and instructions of 250 tokens."""
    values = {"positive": "good mood", "negative": "bad mood", "neutral": "neither, or both in balance"}
    return Task.model_validate(
        {
            "name": "comments",
            "table": "comment_labels",
            "text": "text",
            "model": "gpt-6-luna",
            "instructions": INSTRUCTIONS,
            "fields": [{"name": "sentiment", "type": "one_of", "values": values}],
            "run": {"max_output_tokens": 50, "rows_per_request": rows},
        }
    )


def main() -> None:
    """Print three tables: tokens and dollars by size, ways to write an answer, labels alone and packed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comments", type=Path)
    parser.add_argument("--texts", type=int, default=5_000)
    parser.add_argument("--asked", type=int, default=200)
    how = parser.parse_args()
    with how.comments.open(encoding="utf-8", newline="") as handle:
        read = list(islice(csv.DictReader(handle), how.texts))
    texts = [Pending(str(number), row["text"], 1, 0) for number, row in enumerate(read)]
    labels = [row["label"] for row in read]
    print_sizes(texts, labels)
    print_answers(labels)
    print_labels(texts[: how.asked])


def print_sizes(texts: list[Pending], labels: list[str]) -> None:
    """Print tokens and dollars per label for each number of texts in a request."""
    count = counter("gpt-6-luna")
    print(f"{len(texts):,} comments, instructions of {count(INSTRUCTIONS)} tokens, gpt-6-luna in batches\n")
    print(
        "| texts a request | input tokens a label | times less | output tokens a label"
        " | $ a million labels | of it output |"
    )
    print("|---|---|---|---|---|---|")
    alone = 0.0
    for rows in SIZES:
        task = make_task(rows)
        price, estimate, template = batch_price(task), make_estimate(task), make_template(task)
        assert price is not None
        tally, written, place = Tally(price), 0, 0
        for together in group(texts, lambda rows=rows: rows):
            request = make_request(together)
            tally.add(estimate.measure(template, request.content, request.rows))
            said = labels[place : place + request.rows]
            place += request.rows
            written += count(answer(said, request.ids))
        each_in, each_out = tally.tokens / len(texts), written / len(texts)
        alone = alone or each_in
        in_usd, out_usd = (float(price.rates[0].input) * each_in, float(price.rates[0].output) * each_out)
        print(
            f"| {rows} | {each_in:.1f} | {alone / each_in:.1f} | {each_out:.1f} |"
            f" {in_usd + out_usd:.2f} | {out_usd / (in_usd + out_usd):.0%} |"
        )


def answer(labels: list[str], ids: list[int] | None) -> str:
    """Return the answer of a model that follows the schema."""
    if ids is None:
        return json.dumps({"sentiment": labels[0]}, separators=(",", ":"))
    rows = [{"id": item_id, "sentiment": label} for item_id, label in zip(ids, labels, strict=True)]
    return json.dumps({"rows": rows}, separators=(",", ":"))


def print_answers(labels: list[str]) -> None:
    """Print the output tokens that other ways to write a packed answer would take."""
    count, chosen, said = counter("gpt-6-luna"), random.Random(1), labels[:20]
    letters = "abcdefghijklmnopqrstuvwxyz"
    made: dict[str, list[object]] = {
        "six digits, a number (as it is)": list(draw_ids(20)),
        "six digits in quotes": [str(item_id) for item_id in draw_ids(20)],
        "four letters": ["".join(chosen.choices(letters, k=4)) for _ in range(20)],
        "eight hex digits": [f"{chosen.randrange(16**8):08x}" for _ in range(20)],
        "twenty hex digits": [f"{chosen.randrange(16**20):020x}" for _ in range(20)],
        "three digits, a number (1 in 45 guesses right)": chosen.sample(range(100, 1000), 20),
    }
    print("\n| id | field | output tokens a label |\n|---|---|---|")
    for name, ids in made.items():
        print_answer(name, "sentiment", count, ids, said)
    print_answer("six digits, a number", "s (one letter)", count, list(draw_ids(20)), said)
    spaced = json.dumps(
        {"rows": [{"id": i, "sentiment": s} for i, s in zip(draw_ids(20), said, strict=True)]}, indent=2
    )
    print(f"| six digits, a number, indented JSON | sentiment | {count(spaced) / 20:.1f} |")


def print_answer(name: str, field: str, count: object, ids: list[object], said: list[str]) -> None:
    """Print one line of the table of answers."""
    assert callable(count)
    key = field.partition(" ")[0]
    rows = [{"id": item_id, key: label} for item_id, label in zip(ids, said, strict=True)]
    print(f"| {name} | {field} | {count(json.dumps({'rows': rows}, separators=(',', ':'))) / 20:.1f} |")


def print_labels(texts: list[Pending]) -> None:
    """Print how many labels are the same, asked of the embedded model alone and packed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ServerSettings(state_dir=Path(folder), engine="embedded", tokens=("bench",))
        with LocalServer(settings) as server:
            client = openai.OpenAI(api_key="bench", base_url=server.base_url)
            alone, packed = (ask(client, texts, rows) for rows in (1, 20))
            client.close()
    same = sum(alone[key] == packed.get(key) for key in alone)
    print(f"\n{same} of {len(alone)} labels are the same alone and with 20 texts in a request (embedded model)")


def ask(client: openai.OpenAI, texts: list[Pending], rows: int) -> dict[str, object]:
    """Return each text's label by its key."""
    task, found = make_task(rows), {}
    template, price = make_template(task), batch_price(task)
    for together in group(texts, lambda: rows):
        request = make_request(together)
        body = json.loads(template.line("b-0", request.content, request.rows))["body"]
        said = client.chat.completions.create(**body).model_dump()
        judged = judge_batch(task, request.claims("b-0"), [("b-0", Answer(200, said, None, None))], price)
        for outcome in judged.outcomes:
            found[outcome.claim.text_key] = (outcome.values or {}).get("sentiment")
    return found


if __name__ == "__main__":
    main()
