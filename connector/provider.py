"""The provider: the Files and Batches endpoints through the openai client, with every error in our own words.

What may have happened is told apart from what certainly did not: an answer 4xx had no effect (`RequestRefused` and its
siblings); no answer, 408, 409 or 5xx proves nothing (`InDoubt`).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import openai

from connector.errors import InDoubt, KeyRefused, NotThere, ProviderError, QuotaExhausted, RateLimited, RequestRefused
from connector.files import open_private
from connector.ledger import LOCAL_URL, LONGEST_MESSAGE, QUOTA_CODES, Identity
from connector.plain import SHORTEST_SECRET
from connector.request import ENDPOINT
from connector.retry_after import read_retry_after

BATCH_TAG = "dbt_labels_batch"
_INPUT_NAME = "dbt-labels-%s.jsonl"
# What `dbt-labels serve` calls itself.
LOCAL_ORGANISATION = "dbt-labels-serve"
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
# The transport of the installed openai client: httpx up to 2.x, httpx2 from 3.x on.
_transport = importlib.import_module("httpx2" if int(openai.__version__.partition(".")[0]) >= 3 else "httpx")
_TransportError: type[Exception] = _transport.HTTPError
_READ_RETRIES = 3
# how long a peer may say nothing, between two chunks of a file as well
_SILENCE_SECONDS = 300.0
_CONNECT_SECONDS = 10.0
_FIRST_ANSWER_SECONDS = 15.0
_CHUNK_BYTES = 1 << 20
# there a request names a deployment, which nobody can look up; the models that can be are others (November 2026)
_DEPLOYMENT_HOSTS = (".azure.com", ".azure.us", ".azure.cn")
_LONGEST_WORDS = 2_000
# a listing for many batches at once reads so many, however old they are
_LONGEST_LOOK = 2_000


@dataclass(frozen=True)
class RemoteFile:
    """A file at the provider. `created_at` is Unix seconds by its clock, `bytes` None where it is not said."""

    id: str
    created_at: int | None
    bytes: int | None


@dataclass(frozen=True)
class RemoteBatch:
    """A batch as the provider tells it now. `batch_key` is what its metadata says of ours, where it has any."""

    id: str
    status: str
    batch_key: str | None
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    completed: int
    failed: int
    errors: tuple[tuple[str, str], ...]

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing will change any more but the files' ids."""
        return self.status in TERMINAL


def _nothing() -> None:
    return None


class Provider:
    """One account at one provider; safe to make without a key being checked, nothing is sent before a call.

    `before_call` is called before each: a call may take minutes, and its caller may hold what others wait for.
    """

    def __init__(self, api_key: str, base_url: str | None) -> None:
        self._api_key = api_key
        self._secret = api_key.encode() if len(api_key) >= SHORTEST_SECRET else b""
        self.before_call: Callable[[], None] = _nothing
        try:
            self._client = openai.OpenAI(
                api_key=api_key,
                base_url=base_url,
                max_retries=_READ_RETRIES,
                timeout=openai.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
            )
        except (_transport.InvalidURL, ValueError) as error:
            raise ProviderError("OPENAI_BASE_URL is not a URL", "it looks like https://host/v1") from error
        # on the client that the SDK made, which closes itself; its copies share it
        self._client._client.event_hooks = {"request": [self._check_target]}
        # for the first calls, which a person waits for
        self._brisk = self._client.with_options(timeout=openai.Timeout(_FIRST_ANSWER_SECONDS, connect=_CONNECT_SECONDS))
        url = self._client.base_url
        # what stands for the provider in messages and in the ledger: no user, no password, no query
        host = url.netloc.decode("ascii", "replace").rpartition("@")[2]
        self._address = f"{url.scheme}://{host}{url.path}".rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def identify(self) -> Identity:
        """Return who answers; one cheap call, which also proves the key."""
        with self._words("list batches"):
            headers = self._brisk.batches.with_raw_response.list(limit=1).headers
        organisation, project = (
            self._kept(headers.get(name) or "") for name in ("openai-organization", "openai-project")
        )
        local = organisation == LOCAL_ORGANISATION
        return Identity(LOCAL_URL if local else self._address, organisation or None, project or None)

    def check_model(self, model: str) -> date | None:
        """Return when the provider shuts the model down, where it says so; raise `ProviderError` for one unknown to it.

        Azure is not asked, and a service without this endpoint, or a key that may not read models, says nothing; then
        the batch's validation decides, which costs nothing either.
        """
        if self._client.base_url.host.endswith(_DEPLOYMENT_HOSTS):
            return None
        with self._words("look up the model"):
            try:
                found = self._brisk.models.retrieve(model)
            except (openai.NotFoundError, openai.PermissionDeniedError) as error:
                if error.code != "model_not_found":
                    return None
                raise ProviderError(
                    f"the provider does not know the model `{model}`, or does not give it to this key's project",
                    "change `model` in the task's YAML",
                ) from error
            return _date(getattr(found, "shutdown_date", None))

    def upload(self, path: Path, batch_key: str) -> RemoteFile:
        """Upload a batch's input file. Safe to repeat: a file alone costs nothing and nothing comes of it."""
        with self._words("upload the file"), path.open("rb") as handle:
            return _remote_file(self._client.files.create(file=(_INPUT_NAME % batch_key, handle), purpose="batch"))

    def find_inputs(self, batch_keys: Set[str]) -> dict[str, set[str]]:
        """Return the input files that the list shows, by batch: an upload without an answer may have left one."""
        found: dict[str, set[str]] = {batch_key: set() for batch_key in batch_keys}
        named = {_INPUT_NAME % batch_key: ids for batch_key, ids in found.items()}
        seen: set[str] = set()
        with self._words("list files"):
            for listed in self._client.files.list(purpose="batch"):
                if listed.id in seen:
                    raise InDoubt("the provider's list of files repeats itself, so it proves nothing")
                seen.add(listed.id)
                named.get(listed.filename, set()).add(listed.id)
        return found

    def upload_witness(self, batch_key: str) -> str:
        """Upload a file without any text, whose sight later proves that a key belongs to the same account."""
        with self._words("upload the witness file"):
            made = self._client.files.create(file=(f"dbt-labels-fence-{batch_key}.jsonl", b"{}\n"), purpose="batch")
            return _remote_file(made).id

    def create(self, file_id: str, batch_key: str, timeout_seconds: float) -> RemoteBatch:
        """Create the batch: once, without retries, because the endpoint takes no idempotency key."""
        client = self._client.with_options(
            max_retries=0, timeout=openai.Timeout(timeout_seconds, connect=_CONNECT_SECONDS)
        )
        with self._words("create the batch"):
            return self._remote_batch(
                client.batches.create(
                    input_file_id=file_id,
                    endpoint=ENDPOINT,
                    completion_window="24h",
                    metadata={BATCH_TAG: batch_key},
                )
            )

    def find(self, batch_key: str, file_id: str, since: int) -> RemoteBatch | None:
        """Look through all pages of batches, back to `since` (provider's Unix seconds) where they come newest first.

        Metadata or the input file tell which is ours: some services drop the one, none the other. A list in another
        order is read to its end.
        """
        seen: set[str] = set()
        newest, last, descending = 0, None, True
        with self._words("list batches"):
            for listed in self._client.batches.list(limit=100):
                batch = self._remote_batch(listed)
                if batch.input_file_id == file_id or batch.batch_key == batch_key:
                    return batch
                if batch.id in seen:
                    raise InDoubt("the provider's list of batches repeats itself, so it proves nothing")
                seen.add(batch.id)
                at = listed.created_at
                descending = descending and at is not None and (last is None or at <= last)
                newest, last = max(newest, at or 0), at
                if descending and at < min(since, newest):
                    return None
        return None

    def list_batches(self, ids: Set[str], since: int) -> dict[str, RemoteBatch]:
        """Return those of these batches that the list shows, back to `since` (provider's Unix seconds)."""
        found: dict[str, RemoteBatch] = {}
        with self._words("list batches"):
            for number, listed in enumerate(self._client.batches.list(limit=100)):
                batch = self._remote_batch(listed)
                if batch.id in ids:
                    found[batch.id] = batch
                if len(found) == len(ids) or number >= _LONGEST_LOOK or (listed.created_at or since) < since:
                    break
        return found

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return the batch as it is now."""
        with self._words("look at the batch"):
            return self._remote_batch(self._client.batches.retrieve(batch_id))

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask the provider to stop the batch; what is done by then will be in its output.

        A conflict is a refusal here: the batch has ended, or is being stopped already.
        """
        try:
            with self._words("cancel the batch"):
                return self._remote_batch(self._client.batches.cancel(batch_id))
        except InDoubt as error:
            if isinstance(error.__cause__, openai.ConflictError):
                raise RequestRefused(error.message, error.hint) from error
            raise

    def see_file(self, file_id: str) -> RemoteFile:
        """Return a file's description, or raise `NotThere` or `KeyRefused`, which prove nothing about the file."""
        with self._words("look at the file"):
            return _remote_file(self._client.files.retrieve(file_id))

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is fine."""
        try:
            with self._words("delete the file"):
                self._client.files.delete(file_id)
        except NotThere:
            pass

    def download(self, file_id: str, path: Path, most_bytes: int = 1 << 40) -> int:
        """Stream a file's content to a private file and return its bytes; where our key is in it, stars stand there.

        A cut download raises `InDoubt`, one of more than `most_bytes` once it is unpacked `ProviderError`.
        """
        written = 0
        with self._words("download the file"), open_private(path) as descriptor:
            with self._client.files.with_streaming_response.content(file_id) as response:
                for chunk in _without(self._secret, response.iter_bytes(_CHUNK_BYTES)):
                    if written + len(chunk) > most_bytes:
                        raise ProviderError(
                            f"the file {file_id} has more than the {most_bytes} bytes that answers can have"
                        )
                    view = memoryview(chunk)
                    while view:
                        done = os.write(descriptor, view)
                        written += done
                        view = view[done:]
        return written

    def _check_target(self, request: Any) -> None:
        """Refuse a redirection to another address, but of what only reads, over TLS: the client takes the key off.

        So neither texts nor key go to anyone whom OPENAI_BASE_URL does not name.
        """
        here, there = self._client.base_url, request.url
        if (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port):
            return
        if request.method == "GET" and there.scheme == "https" and "authorization" not in request.headers:
            return
        raise openai.APIConnectionError(
            message=f"it redirects to {there.scheme}://{there.host}, which OPENAI_BASE_URL does not name",
            request=request,
        )

    @contextmanager
    def _words(self, action: str) -> Iterator[None]:
        self.before_call()
        try:
            yield
        except openai.APIError as error:
            raise self._translated(error, action) from error
        except _TransportError as error:
            raise InDoubt(f"could not {action}: the connection broke: {self._clean(str(error))}") from error
        except (ValueError, AttributeError, TypeError) as error:
            # a proxy's page in place of an answer, or an object without what the API promises
            raise InDoubt(
                f"could not {action}: {self._address} answered with something else than the API does",
                "check OPENAI_BASE_URL; it is safe to run again",
            ) from error

    def _translated(self, error: openai.APIError, action: str) -> ProviderError:
        base_url = self._address
        if not isinstance(error, openai.APIStatusError):
            return InDoubt(
                f"could not {action}: no answer from {base_url}: {self._clean(str(error.__cause__ or error))}",
                "check OPENAI_BASE_URL and the network; it is safe to run again",
            )
        said = f"could not {action}: {base_url} answered {error.status_code}: {self._clean(_said(error))}"
        if error.code in QUOTA_CODES:
            return QuotaExhausted(said, "check plan and billing at the provider; it is safe to run again")
        if error.status_code in (401, 403):
            return KeyRefused(said, "check OPENAI_API_KEY, and that the key may use files and batches")
        if error.status_code in (404, 410):
            return NotThere(said)
        if error.status_code in (408, 409) or error.status_code >= 500:
            return InDoubt(said, "it is safe to run again")
        if error.status_code == 429:
            asked = read_retry_after(error.response.headers.get("retry-after", ""), datetime.now(timezone.utc))
            return RateLimited(said, "it is safe to run again", retry_after_seconds=asked)
        return RequestRefused(said)

    def _clean(self, said: str) -> str:
        """Return the first line of what somebody else wrote, short, printable and without our key."""
        line = next(iter(said.replace(self._api_key, "***").splitlines()), "")
        return "".join(character for character in line if character.isprintable())[:LONGEST_MESSAGE]

    def _kept(self, said: str) -> str:
        """Return what somebody else wrote as it may be kept: not endless and without our key."""
        return said.replace(self._secret.decode() or "\0", "***")[:_LONGEST_WORDS]

    def _remote_batch(self, batch: Any) -> RemoteBatch:
        counts = batch.request_counts
        errors = (batch.errors.data if batch.errors else None) or []
        if not batch.id:
            raise ValueError("a batch without an id")
        remote = RemoteBatch(
            id=batch.id,
            status=self._clean(str(batch.status)).lower(),
            batch_key=(batch.metadata or {}).get(BATCH_TAG),
            input_file_id=batch.input_file_id,
            # null and "" both mean that there is none, or not yet
            output_file_id=batch.output_file_id or None,
            error_file_id=batch.error_file_id or None,
            completed=(counts.completed if counts else 0) or 0,
            failed=(counts.failed if counts else 0) or 0,
            errors=tuple(
                (self._kept(str(error.code or "unknown")), self._kept(str(error.message or ""))) for error in errors
            ),
        )
        if self._secret and self._secret.decode() in repr(remote):
            raise ValueError("a batch with our key in its ids")
        return remote


def connect(api_key: str | None, base_url: str | None) -> Provider:
    """Return the provider of `OPENAI_API_KEY` and `OPENAI_BASE_URL`; raise `ProviderError` without a key."""
    api_key = (api_key or "").strip()
    if not (api_key.isascii() and api_key.isprintable()):
        raise KeyRefused("OPENAI_API_KEY has characters that no key has", "copy it again")
    if not api_key:
        raise KeyRefused(
            "OPENAI_API_KEY is not set",
            "export OPENAI_API_KEY=...; with --local none is needed, also for what was sent with it",
        )
    return Provider(api_key, (base_url or "").strip() or None)


def _remote_file(file: Any) -> RemoteFile:
    if not file.id:
        raise ValueError("a file without an id")
    return RemoteFile(file.id, file.created_at, file.bytes)


def _date(value: object) -> date | None:
    """Return a date of the API (YYYY-MM-DD), None for anything else."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message)


def _without(secret: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes with stars in the place of the secret, which may begin in one chunk and end in the next."""
    held = b""
    for chunk in chunks:
        held = (held + chunk).replace(secret, b"*" * len(secret)) if secret else chunk
        whole = len(held) - max(0, len(secret) - 1)
        yield held[: max(0, whole)]
        held = held[max(0, whole) :]
    yield held
