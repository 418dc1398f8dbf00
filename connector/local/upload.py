"""What an upload to the Files endpoint may be, and how it reaches the store."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.datastructures import FormData, UploadFile

from connector.local.problem import Problem
from connector.local.store import Document, Store
from connector.local.validation import MAX_FILE_BYTES

# Files of purpose `batch` expire after 30 days unless they say otherwise (API reference, read 2026-11).
DEFAULT_EXPIRY_SECONDS = 30 * 24 * 3600
MIN_EXPIRY_SECONDS = 3600
MULTIPART_OVERHEAD_BYTES = 1 << 16
PIECE_BYTES = 1 << 20


def check_length(content_length: str | None) -> None:
    """Refuse a body that is too big before reading it."""
    if content_length is not None and int(content_length) > MAX_FILE_BYTES + MULTIPART_OVERHEAD_BYTES:
        raise _too_big(int(content_length))


def store_upload(store: Store, account: str, form: FormData) -> Document:
    """Check the form's fields, write the file and register it."""
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, UploadFile):
        raise Problem(400, "Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
    if purpose is None:
        raise Problem(400, "Missing required parameter: 'purpose'.", code="missing_required_parameter", param="purpose")
    if purpose != "batch":
        message = f"Invalid value: '{purpose}'. This server takes files of the purpose 'batch'."
        raise Problem(400, message, code="invalid_value", param="purpose")
    if upload.size is not None and upload.size > MAX_FILE_BYTES:
        raise _too_big(upload.size)
    lasts_seconds = _expiry_seconds(form)
    file_id, size_bytes = store.write_content(_pieces(upload))
    return store.add_file(account, file_id, upload.filename or "upload.jsonl", str(purpose), size_bytes, lasts_seconds)


def _expiry_seconds(form: FormData) -> int:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return DEFAULT_EXPIRY_SECONDS
    if anchor != "created_at":
        raise Problem(400, "Supported values are: 'created_at'.", code="invalid_value", param="expires_after.anchor")
    if not isinstance(seconds, str) or not re.fullmatch(r"\d{1,9}", seconds):
        raise Problem(400, "Expected an integer.", code="invalid_type", param="expires_after.seconds")
    if not MIN_EXPIRY_SECONDS <= int(seconds) <= DEFAULT_EXPIRY_SECONDS:
        message = f"Expected a value from {MIN_EXPIRY_SECONDS} to {DEFAULT_EXPIRY_SECONDS}, but got {seconds} instead."
        raise Problem(400, message, code="invalid_value", param="expires_after.seconds")
    return int(seconds)


def _pieces(upload: UploadFile) -> Iterator[bytes]:
    while piece := upload.file.read(PIECE_BYTES):
        yield piece


def _too_big(size_bytes: int) -> Problem:
    return Problem(413, f"The file has {size_bytes} bytes; at most {MAX_FILE_BYTES} are allowed.", param="file")
