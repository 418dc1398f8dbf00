"""The engine that asks any OpenAI-compatible chat server."""

from __future__ import annotations

import logging
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
# what a proxy says where nobody is behind it, and a server that is still loading its model
AWAY_STATUSES = frozenset({502, 503})
LONGEST_MESSAGE = 300
SHORTEST_SECRET = 8

logger = logging.getLogger(__name__)


class UpstreamEngine:
    """Send each request on, a few at a time, and answer what comes back.

    A chunk is as big as the concurrency, so a kill costs no more than the requests then in flight. While the server is
    away, its requests are deferred: that says nothing of them.
    """

    name = "upstream"
    forwards = True

    def __init__(self, client: openai.OpenAI, settings: ServerSettings, key: str) -> None:
        self._client = client
        self._model = settings.upstream_model
        self._key, self._key_env = key, settings.upstream_key_env
        url = client.base_url
        netloc = url.netloc.decode("ascii", "replace").rpartition("@")[2]
        self._server = f"The upstream server {url.scheme}://{netloc}{url.path}".rstrip("/")
        self._is_away = False
        self.chunk_size = settings.upstream_concurrency
        self._pool = ThreadPoolExecutor(self.chunk_size, thread_name_prefix="upstream")

    @classmethod
    def connect(cls, settings: ServerSettings) -> UpstreamEngine:
        """Make the client; a server that needs no key gets a word in its place."""
        key = os.environ.get(settings.upstream_key_env, "").strip()
        client = openai.OpenAI(
            base_url=settings.upstream_url,
            api_key=key or "none",
            max_retries=MAX_RETRIES,
            timeout=TIMEOUT_SECONDS,
        )
        return cls(client, settings, key)

    def answer(self, bodies: Sequence[Body]) -> list[Reply]:
        """Ask for each body's answer, retrying as the client does; refusals become the requests' own."""
        replies = list(self._pool.map(self._ask, bodies))
        self._tell([reply.problem.message for reply in replies if reply.is_deferred and reply.problem])
        return replies

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
            return Reply(problem=self._problem_of(error), is_deferred=error.status_code in AWAY_STATUSES)
        except openai.APITimeoutError:
            return Reply(problem=self._problem(504, f"did not answer within {TIMEOUT_SECONDS:.0f} s."))
        except openai.APIConnectionError as error:
            why = self._clean(str(error.__cause__ or error))
            return Reply(problem=self._problem(503, f"can not be reached: {why}"), is_deferred=True)
        return _reply_of(raw) or Reply(problem=self._problem(502, "answered with something else than a completion."))

    def _tell(self, away: Sequence[str]) -> None:
        """Say on stderr when the server goes away and when it is back, once each."""
        if bool(away) == self._is_away:
            return
        self._is_away = bool(away)
        logger.warning("%s", f"{away[0]}; batches wait for it" if away else f"{self._server} answers again")

    def _problem(self, status: int, what: str) -> Problem:
        return Problem(status, f"{self._server} {what}", kind="server_error")

    def _problem_of(self, error: openai.APIStatusError) -> Problem:
        said = error.body.get("message") if isinstance(error.body, dict) else None
        to = ""
        if error.status_code in (401, 403):
            to = f" to the key in {self._key_env}" if self._key else f" to a request without a key ({self._key_env})"
        return Problem(
            error.status_code,
            f"{self._server} answered {error.status_code}{to}: {self._clean(str(said or error.message))}",
            code=error.code if isinstance(error.code, str) else None,
            param=error.param,
            kind=error.type or "upstream_error",
        )

    def _clean(self, said: str) -> str:
        """Return what somebody else wrote as one line, short and without our key."""
        # a key for local use may be a word or a letter, and is no secret
        kept = said.replace(self._key, "***") if len(self._key) >= SHORTEST_SECRET else said
        return " ".join(kept.split())[:LONGEST_MESSAGE]


def _reply_of(raw: Any) -> Reply | None:
    """Return what a chat completion says, or None where it is none."""
    try:
        choice, usage = raw["choices"][0], raw.get("usage") or {}
        message = choice["message"]
        return Reply(
            content=message.get("content"),
            refusal=message.get("refusal"),
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            cached_tokens=_detail(usage, "prompt_tokens_details", "cached_tokens"),
            reasoning_tokens=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
            logprobs=choice.get("logprobs"),
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def _detail(usage: dict[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    return value if isinstance(value, int) else 0
