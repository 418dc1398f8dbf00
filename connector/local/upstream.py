"""The engine that asks any OpenAI-compatible chat server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai

from connector.local.chat import Body
from connector.local.engine import Reply
from connector.local.problem import Problem
from connector.local.settings import ServerSettings

MAX_RETRIES = 4
TIMEOUT_SECONDS = 600.0


class UpstreamEngine:
    """Send each request on, a few at a time, and answer what comes back.

    A chunk is as big as the concurrency, so a kill costs no more than the requests then in flight.
    """

    name = "upstream"

    def __init__(self, client: openai.OpenAI, model: str | None, concurrency: int) -> None:
        self._client = client
        self._model = model
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="upstream")
        self.chunk_size = concurrency

    @classmethod
    def connect(cls, settings: ServerSettings) -> UpstreamEngine:
        """Make the client; a server that needs no key gets a word in its place."""
        client = openai.OpenAI(
            base_url=settings.upstream_url,
            api_key=os.environ.get(settings.upstream_key_env) or "none",
            max_retries=MAX_RETRIES,
            timeout=TIMEOUT_SECONDS,
        )
        return cls(client, settings.upstream_model, settings.upstream_concurrency)

    def answer(self, bodies: Sequence[Body]) -> list[Reply]:
        """Ask for each body's answer, retrying as the client does; refusals become the requests' own."""
        return list(self._pool.map(self._ask, bodies))

    def close(self) -> None:
        """Wait for the requests in flight and close the connections."""
        self._pool.shutdown()
        self._client.close()

    def _ask(self, body: Body) -> Reply:
        asked = {**body, "model": self._model or body["model"]}
        try:
            # The body goes as it came: what is a parameter here and what is not, is for the upstream server to say.
            raw = self._client.post("/chat/completions", body=asked, cast_to=object)
        except openai.APIStatusError as error:
            return Reply(problem=_problem_of(error))
        except openai.APIConnectionError:
            return Reply(problem=Problem(503, "The upstream server can not be reached.", kind="server_error"))
        return _reply_of(raw)


def _problem_of(error: openai.APIStatusError) -> Problem:
    code = error.code if isinstance(error.code, str) else None
    return Problem(error.status_code, error.message, code=code, param=error.param, kind=error.type or "upstream_error")


def _reply_of(raw: Any) -> Reply:
    try:
        choice, usage = raw["choices"][0], raw.get("usage") or {}
        message = choice["message"]
        return Reply(
            content=message.get("content"),
            refusal=message.get("refusal"),
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply(problem=Problem(502, "The upstream server's answer is no chat completion.", kind="server_error"))
