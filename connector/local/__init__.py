"""A local server of OpenAI's Files, Batches, Models and chat endpoints, for demos and for tests (extra `local`)."""

from connector.local.server import LocalServer, serve
from connector.local.settings import (
    AddressUnusable,
    InvalidSettings,
    LocalServerError,
    MissingExtra,
    ModelUnusable,
    ServerSettings,
    StateInUse,
)

__all__ = [
    "AddressUnusable",
    "InvalidSettings",
    "LocalServer",
    "LocalServerError",
    "MissingExtra",
    "ModelUnusable",
    "ServerSettings",
    "StateInUse",
    "serve",
]
