"""How full the provider's queue is kept: many tasks of one model, a limit of tokens, batches that take a while.

    python -m benchmarks.provider_queue [--tasks 6] [--texts 400] [--limit 60000] [--seconds 60]

Runs the real thing on a small dbt project in a temporary folder against the local batch server, which refuses what
passes the limit. Prints how long an ideal sender would take, who has no gap at all, as a share of what it took, and the
share of the allowed queue that was in use from the first batch to the last one sent.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import yaml

from connector.run import Settings
from tests.lab import Lab, Server


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--limit", type=int, default=60_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    how = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = make_lab(Path(folder), how.tasks, how.texts)
        (Path(folder) / "server").mkdir()
        limit = ("--enqueued-token-limit", str(how.limit))
        server = Server(Path(folder) / "server", *limit, "--fault", f"duration={how.seconds}").start()
        try:
            measure(lab, server, how)
        finally:
            server.kill()


def make_lab(folder: Path, tasks: int, texts: int) -> Lab:
    """Return a project with so many tasks over the same texts, built."""
    lab = Lab(folder)
    models = lab.folder / "models"
    document = yaml.safe_load((models / "comments_to_label.yml").read_text())
    sources = yaml.safe_load((models / "raw.yml").read_text())
    sql = (models / "comments_to_label.sql").read_text()
    [first] = document["models"]
    for number in range(1, tasks):
        block = {**first["config"]["meta"]["dbt_labels"], "table": f"labels_{number}"}
        document["models"].append({"name": f"task_{number}", "config": {"meta": {"dbt_labels": block}}})
        sources["sources"][1]["tables"].append({"name": f"labels_{number}"})
        (models / f"task_{number}.sql").write_text(sql.replace("comment_labels", f"labels_{number}"))
    (models / "comments_to_label.yml").write_text(yaml.safe_dump(document))
    (models / "raw.yml").write_text(yaml.safe_dump(sources))
    lab.add_comments(
        [f"What a film this was, and the queue for take {number} was longer still" for number in range(texts)]
    )
    lab.reparse().run_dbt("run", quiet=True)
    return lab


def measure(lab: Lab, server: Server, how: argparse.Namespace) -> None:
    """Run every task and print how full the queue was."""
    seen: list[dict[str, float]] = []

    def listen(line: str) -> None:
        if " submitted as " in line:
            seen.append(server.control("GET", "/local/stats")["queues"]["gpt-6-luna"])

    began = time.monotonic()
    summary = lab.run(server.provider(), Settings(poll_seconds=0.5), listen)
    took = time.monotonic() - began
    states = lab.states()
    tokens = lab.sql(
        "select sum(enqueued_tokens) from main_labels.label_events where event = 'planned' and"
        " batch_key not in (select batch_key from main_labels.label_events where event = 'refused')"
    )[0][0]
    last = seen[-1]
    used = last["enqueued_token_seconds"] / (how.limit * last["seconds"])
    ideal = tokens / how.limit * how.seconds
    print(
        f"{how.tasks} tasks, {summary.labelled:,} labels, {tokens:,} input tokens through a queue of {how.limit:,},"
        f" {how.seconds:g} s a batch: {len(states)} batches, {states.count('refused')} refused;"
        f" ideal {ideal:.0f} s, took {took:.0f} s: {ideal / took:.3f};"
        f" {used:.3f} of the queue in use until the last was sent"
    )


if __name__ == "__main__":
    main()
