"""What an error is, and its three spoken forms."""

from __future__ import annotations

from typing import Any, ClassVar, Self

Json = dict[str, Any]

# What `response.error.code` may say. The first lines are the closed enum of the openai types; the
# last two are outside of it, but codex stops retrying on exactly these (wire contract 3.6).
# Anything else is spoken as the nearest code of the enum.
RESPONSE_ERROR_CODES = frozenset(
    """
    server_error rate_limit_exceeded invalid_prompt data_residency_mismatch bio_policy
    misalignment_policy_violation
    vector_store_timeout invalid_image invalid_image_format invalid_base64_image invalid_image_url
    image_too_large image_too_small image_parse_error image_content_policy_violation
    invalid_image_mode image_file_too_large unsupported_image_media_type empty_image_file
    failed_to_download_image image_file_not_found
    context_length_exceeded insufficient_quota
    """.split()
)
NEAREST_CODE = {429: "rate_limit_exceeded"} | dict.fromkeys((400, 413, 422), "invalid_prompt")


class ConfigError(Exception):
    """The configuration cannot be used: one line that names the file, the key and the remedy."""


class BridgeError(Exception):
    """Something a client is told. Subclasses fix the defaults; instances carry the facts."""

    words: ClassVar[str] = "The server had an error while processing the request."
    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str = "server_error"
    param: str | None = None
    retry_after: float | None = None  # seconds
    keeps_output: ClassVar[bool] = True  # whether a response that fails so has what it had said

    def __init__(
        self, message: str = "", *, param: str | None = None, code: str | None = None
    ) -> None:
        self.message = message or self.words
        super().__init__(self.message)
        self.param = param or self.param
        self.code = code or self.code

    def alone(self) -> Self:
        """It, without what led to it: tracebacks hold everything that was at work."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    @property
    def kind(self) -> str:
        """The ``error.type`` of the contract."""
        return self.type

    def fields(self) -> Json:
        """The error object: always these four keys (wire contract 6.2)."""
        return {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }

    def headers(self) -> dict[str, str]:
        """HTTP headers that go with the error; empty for most."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(max(1, round(self.retry_after)))}

    def body(self) -> Json:
        """The HTTP form."""
        return {"error": self.fields()}

    def frame(self, stream_id: str | None = None) -> Json:
        """The WebSocket form: nested, integer status, no sequence number (wire contract 3.6)."""
        spoken = {**self.fields(), "code": self.code}  # clients hang on a frame without a code
        error = {key: value for key, value in spoken.items() if value is not None}
        frame: Json = {"type": "error", "status": self.status, "error": error}
        if stream_id is not None:
            frame["stream_id"] = stream_id
        if headers := self.headers():
            frame["headers"] = headers
            error["headers"] = headers
        return frame

    def response_error(self) -> Json:
        """The form inside a failed response: ``code`` of the closed enum, and ``message``."""
        code = self.code
        if code not in RESPONSE_ERROR_CODES or code == BridgeError.code:
            code = NEAREST_CODE.get(self.status, BridgeError.code)
        return {"code": code, "message": self.message}
