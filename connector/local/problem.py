"""API errors in OpenAI's shape, raised inside the server and answered as JSON."""

from __future__ import annotations


class Problem(Exception):
    """Refuse a request with a status and OpenAI's four error fields."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.retry_after = retry_after

    def body(self) -> dict[str, object]:
        """Build the JSON body that carries this error."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def json_type(value: object) -> str:
    """Name a value's type as OpenAI's messages do."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def wrong_type(param: str, expected: str, value: object) -> Problem:
    """Build the refusal of a parameter whose value has the wrong type."""
    return Problem(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead.",
        code="invalid_type",
        param=param,
    )
