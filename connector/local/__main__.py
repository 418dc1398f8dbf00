"""The command line of the local batch server: `python -m connector.local`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from connector.local.faults import parse_assignment
from connector.local.server import serve
from connector.local.settings import ENGINES, LocalServerError, ServerSettings


def parse_arguments(arguments: Sequence[str] | None = None) -> ServerSettings:
    """Read the settings from command line arguments."""
    parser = argparse.ArgumentParser(prog="python -m connector.local", description=__doc__)
    add = parser.add_argument
    add("--state-dir", type=Path, required=True, help="where files and batches are kept between runs")
    add("--engine", choices=ENGINES, default="instant")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--token", action="append", default=[], help="an API key that is let in; each one is an account of its own")
    add("--workers", type=int, default=2, help="how many batches run at once")
    add("--model", action="append", default=[], help="a model name to answer for besides the default ones")
    add("--fault", action="append", default=[], metavar="NAME[=VALUE]", help="see connector/local/faults.py")
    add("--enqueued-token-limit", type=int, help="tokens that may be queued per model and account")
    add("--batches-an-hour", type=int, help="batches an account may create in an hour")
    add("--model-path", type=Path, help="directory of the embedded engine's model.onnx")
    add("--upstream", help="URL of an OpenAI-compatible chat server")
    add("--upstream-model", help="the model to ask there; default: the one each request names")
    add("--upstream-key-env", default="OPENAI_API_KEY", help="environment variable with its API key")
    add("--upstream-concurrency", type=int, default=4)
    given = parser.parse_args(arguments)
    return ServerSettings(
        state_dir=given.state_dir,
        engine="upstream" if given.upstream else given.engine,
        host=given.host,
        port=given.port,
        tokens=tuple(given.token) or ("local",),
        workers=given.workers,
        models=tuple(given.model),
        faults=dict(map(parse_assignment, given.fault)),
        enqueued_token_limit=given.enqueued_token_limit,
        batches_an_hour=given.batches_an_hour,
        model_path=given.model_path,
        upstream_url=given.upstream,
        upstream_model=given.upstream_model,
        upstream_key_env=given.upstream_key_env,
        upstream_concurrency=given.upstream_concurrency,
    )


def main() -> int:
    """Run the server; return the exit code."""
    try:
        serve(parse_arguments())
    except LocalServerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
