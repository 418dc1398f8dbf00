"""The settings of a local batch server and the errors that keep one from starting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

INSTALL_COMMAND = "pip install 'dbt-labels[local]'"

#: Models a server answers for without being told; `--model` adds to them.
DEFAULT_MODELS = ("gpt-6-luna", "gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini", "gpt-5-nano")
ENGINES = ("instant", "embedded", "upstream")


class LocalServerError(Exception):
    """Say why a local batch server can not start."""


class MissingExtra(LocalServerError):
    """Say that the packages of the `local` extra are not installed, and how to install them."""

    def __init__(self, package: str) -> None:
        super().__init__(f"the local batch server needs the package `{package}`\n\nhint: {INSTALL_COMMAND}")


class StateInUse(LocalServerError):
    """Say that another server is running on the same state directory."""


class ModelUnusable(LocalServerError):
    """Say that the embedded engine's model file is absent or not the pinned one."""


class AddressUnusable(LocalServerError):
    """Say that the server can not listen where it was told to."""


class InvalidSettings(LocalServerError):
    """Say which setting has a value that means nothing."""


@dataclass(frozen=True)
class ServerSettings:
    """Hold everything that decides how a server behaves.

    Each token is an account of its own. `faults` maps fault names to values in the forms that `faults.py` lists.
    `model_path` is a directory with `model.onnx` (and `tokenizer.json`) for the embedded engine.
    """

    state_dir: Path
    engine: str = "instant"
    host: str = "127.0.0.1"
    port: int = 0
    tokens: tuple[str, ...] = ("local",)
    workers: int = 2
    models: tuple[str, ...] = ()
    faults: Mapping[str, object] = field(default_factory=dict)
    enqueued_token_limit: int | None = None
    batches_an_hour: int | None = None
    model_path: Path | None = None
    upstream_url: str | None = None
    upstream_model: str | None = None
    upstream_key_env: str = "OPENAI_API_KEY"
    upstream_concurrency: int = 4

    def __post_init__(self) -> None:
        """Raise InvalidSettings for what can not be served."""
        if self.engine not in ENGINES:
            raise InvalidSettings(f"engine `{self.engine}` is unknown; there are: {', '.join(ENGINES)}")
        if not self.tokens or not all(self.tokens):
            raise InvalidSettings("at least one token is needed, and none may be empty")
        if self.engine == "upstream" and not self.upstream_url:
            raise InvalidSettings("the upstream engine needs the URL of an OpenAI-compatible chat server")
        if self.upstream_url and not self.upstream_url.startswith(("http://", "https://")):
            raise InvalidSettings("the upstream server's URL begins with http:// or https://, and often ends with /v1")
        if self.workers < 1 or self.upstream_concurrency < 1:
            raise InvalidSettings("workers and upstream concurrency are at least 1")
        if self.batches_an_hour is not None and self.batches_an_hour < 1:
            raise InvalidSettings("at least 1 batch an hour can be created")

    @property
    def known_models(self) -> tuple[str, ...]:
        """List the models that requests may name, without repeats."""
        return tuple(dict.fromkeys((*DEFAULT_MODELS, *self.models)))


def account_of(token: str) -> str:
    """Name a token's account by a digest, so that no token is ever stored."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
