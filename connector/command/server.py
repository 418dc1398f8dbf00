"""The command that serves the local batch server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from connector.serving import serve_forever


@click.command()
@click.option("--state-dir", type=click.Path(path_type=Path), default=Path(".dbt_labels/serve"), show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--token", "tokens", multiple=True, help="An account's key; else one is made and kept in the state's folder."
)
@click.option("--engine", type=click.Choice(["embedded", "instant", "upstream"]), default="embedded", show_default=True)
@click.option("--model", "models", multiple=True, help="A model's name to answer for, besides the usual ones.")
@click.option("--model-path", type=click.Path(path_type=Path), help="The embedded model's files from elsewhere.")
@click.option("--upstream", "upstream_url", help="The base URL of an OpenAI-compatible chat server.")
@click.option("--upstream-model", help="The model to ask there.")
@click.option("--upstream-key-env", default="OPENAI_API_KEY", show_default=True, help="The variable with its key.")
@click.option("--enqueued-token-limit", type=int, help="Refuse batches beyond this queue, as the real service does.")
@click.option("--batches-an-hour", type=click.IntRange(min=1), help="Refuse more, as the real service does.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[=VALUE]", help="Fail on purpose: docs/faults.md.")
def serve(**how: Any) -> None:
    """Serve the Files and Batches endpoints on this machine, in front of a small model or of a chat server."""
    serve_forever(how, sys.stdout)
