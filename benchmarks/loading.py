"""The other ways from output files to labels in DuckDB: a loop with `executemany`, and DuckDB reading them typed.

    python -m benchmarks.loading FOLDER loop|typed [--rows N]

Both read the files that `benchmarks.connector_run FOLDER send` left at the stand-in, and write the three fields, tokens
and custom_id of each line into a table in a file of their own, in one transaction. Neither knows which text an answer
is of, checks it against the schema, or keeps what is no label.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import duckdb

from benchmarks.process import Stopwatch, report

_COLUMNS = """
    custom_id varchar, sentiment varchar, intent varchar, themes varchar, model varchar,
    input_tokens bigint, output_tokens bigint
"""
_TYPES = """{
    custom_id: 'varchar',
    response: 'struct(status_code bigint, body struct(
        model varchar,
        choices struct(finish_reason varchar, message struct(content varchar))[],
        usage struct(prompt_tokens bigint, completion_tokens bigint)
    ))'
}"""


def main() -> None:
    """Print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("how", choices=["loop", "typed"])
    parser.add_argument("--rows", type=int, default=None, help="the loop's first rows; all where it is not said")
    how = parser.parse_args()
    files = sorted((how.folder / "provider").glob("*.output"))
    path, watch = how.folder / f"{how.how}.duckdb", Stopwatch()
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:  # without our limit on memory: reading typed JSON needs more
        connection.execute(f"create table labels ({_COLUMNS})")
        with watch.on(how.how):
            connection.execute("begin transaction")
            if how.how == "loop":
                loop(connection, islice(_lines(files), how.rows))
            else:
                read_typed(connection, files)
            connection.execute("commit")
        found = connection.execute("select count(*) from labels").fetchone()
    path.unlink()
    assert found is not None
    report(rows=found[0], seconds=watch.seconds)


def loop(connection: duckdb.DuckDBPyConnection, lines: Iterator[str]) -> None:
    """Parse line by line and insert by a thousand rows."""
    while rows := [_row(line) for line in islice(lines, 1_000)]:
        connection.executemany("insert into labels values (?, ?, ?, ?, ?, ?, ?)", rows)


def _row(line: str) -> list[object]:
    answer = json.loads(line)
    body = answer["response"]["body"]
    said = json.loads(body["choices"][0]["message"]["content"])
    used = body["usage"]
    return [
        answer["custom_id"],
        said["sentiment"],
        said["intent"],
        json.dumps(said["themes"]),
        body["model"],
        used["prompt_tokens"],
        used["completion_tokens"],
    ]


def read_typed(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
    """Have DuckDB read the files with their types told, and the answers inside them as JSON."""
    named = ", ".join(f"'{path}'" for path in files)
    connection.execute(
        f"""
        insert into labels
        select
            custom_id,
            content ->> '$.sentiment',
            content ->> '$.intent',
            content ->> '$.themes',
            body.model,
            body.usage.prompt_tokens,
            body.usage.completion_tokens
        from (
            select custom_id, response.body as body, cast(response.body.choices[1].message.content as json) as content
            from read_json([{named}], format = 'newline_delimited', columns = {_TYPES})
        ) as answers
        """
    )


def _lines(files: list[Path]) -> Iterator[str]:
    for path in files:
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield from lines


if __name__ == "__main__":
    main()
