"""Every error the bridge can tell anyone, as one tree.

Rule 1: a class knows its code, HTTP status and type; whoever raises it adds only the facts.
Rule 2: a message is written here or came as text from the provider; it is never ``str(exception)``.
Rule 3: an error has three spoken forms (HTTP body, WebSocket frame, ``response.error``), all here.
"""

from __future__ import annotations

from typing import ClassVar, Self

from ws_bridge.types import Json

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

    default_message: ClassVar[str] = "The server had an error while processing the request."
    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str = "server_error"
    param: str | None = None
    retry_after: float | None = None  # seconds
    keeps_output: ClassVar[bool] = True  # whether a response that fails so has what it had said

    def __init__(
        self, message: str = "", *, param: str | None = None, code: str | None = None
    ) -> None:
        self.message = message or self.default_message
        super().__init__(self.message)
        self.param = param or self.param
        self.code = code or self.code

    def without_traceback(self) -> Self:
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


# What the client did wrong


class InvalidRequest(BridgeError):
    """The request is malformed; nothing was started."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"


class MissingParameter(InvalidRequest):
    """A required field is absent."""

    code = "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class UnsupportedParameter(InvalidRequest):
    """A field is known, but not possible here."""

    code = "unsupported_parameter"


class InvalidEncryptedContent(InvalidRequest):
    """A seal in the input was not made here, whatever it says, or was changed."""

    code = "invalid_encrypted_content"
    param = "input"
    default_message = "The encrypted content of a compaction item could not be verified."


class PreviousResponseNotFound(InvalidRequest):
    """Unknown, foreign, expired or connection-local elsewhere: all the same to the client."""

    code = "previous_response_not_found"
    param = "previous_response_id"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Previous response with id '{response_id[:100]}' not found.")


class InvalidStreamId(InvalidRequest):
    """A lane's name breaks the rules; the frame is not attributable to a lane."""

    code = "invalid_stream_id"
    param = "stream_id"
    default_message = (
        "The 'stream_id' field must be a non-empty string with at most 256 characters and may "
        "only contain letters, numbers, underscores, hyphens, and periods."
    )


class StreamLimitReached(InvalidRequest):
    """A connection named more lanes than it may over its life."""

    code = "websocket_stream_limit_reached"
    param = "stream_id"

    def __init__(self, limit: int) -> None:
        super().__init__(
            "This WebSocket connection has reached its maximum number of distinct stream IDs "
            f"({limit}). Reuse an existing stream_id or open a new WebSocket connection."
        )


class ConnectionLimitReached(InvalidRequest):
    """The connection has reached its age; the client opens a new one."""

    code = "websocket_connection_limit_reached"

    def __init__(self, minutes: float) -> None:
        super().__init__(
            f"Responses websocket connection limit reached ({minutes:g} minutes). "
            "Create a new websocket connection to continue."
        )


class InvalidApiKey(InvalidRequest):
    """No key, or a wrong one."""

    status = 401
    code = "invalid_api_key"
    default_message = "Incorrect or missing API key."


class OriginNotAllowed(InvalidRequest):
    """A browser page of another origin; it is not told more."""

    status = 403
    code = "origin_not_allowed"
    default_message = "This origin is not allowed."


class ModelNotFound(InvalidRequest):
    """No enabled model entry has that name."""

    status = 404
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model '{model[:100]}' does not exist or is not enabled.")


class NotFound(InvalidRequest):
    """Unknown, foreign, deleted, expired or unstored: all the same to the client."""

    status = 404
    code = "not_found"
    noun: ClassVar[str] = "Object"

    def __init__(self, wanted: str) -> None:
        super().__init__(f"{self.noun} with id '{wanted[:100]}' not found.")


class ResponseNotFound(NotFound):
    """No such response."""

    noun = "Response"

    def fields(self) -> Json:
        """OpenAI's 404 has no code (wire contract 6.2)."""
        return {**super().fields(), "code": None}


class ConversationNotFound(NotFound):
    """No such conversation."""

    code = "conversation_not_found"
    param = "conversation"
    noun = "Conversation"


class ConversationFull(InvalidRequest):
    """The conversation would hold more than one may; what it holds stays."""

    code = "conversation_full"
    param = "items"

    def __init__(self, most_bytes: int, most_items: int) -> None:
        super().__init__(
            f"A conversation may hold {most_items} items and {most_bytes / 2**20:g} MiB. "
            "Take items out of it, or begin a new one."
        )


class ItemNotFound(NotFound):
    """No such item in the conversation."""

    code = "item_not_found"
    noun = "Item"


class UpgradeRequired(InvalidRequest):
    """A plain GET on the socket's path."""

    status = 426
    code = "upgrade_required"
    default_message = "Open a WebSocket on this path, or POST to it."

    def headers(self) -> dict[str, str]:
        """Name the protocol to upgrade to (RFC 9110, 15.5.22), and its version (RFC 6455, 4.4)."""
        return {"upgrade": "websocket", "sec-websocket-version": "13"}


class PreviousResponseInProgress(InvalidRequest):
    """A chain cannot be continued from a response that another lane is still writing."""

    status = 409
    code = "previous_response_in_progress"
    param = "previous_response_id"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Previous response with id '{response_id[:100]}' is still in progress.")


# What the server, its store or a provider cannot do now


class RateLimited(BridgeError):
    """The bridge's own limits; what runs or waits is unharmed."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry_after = 1.0


class StoreUnavailable(BridgeError):
    """The store is away: nothing is reported as lost, found or finished that is not."""

    status = 503
    code = "store_unavailable"
    retry_after = 1.0
    default_message = "The response store is unavailable. Try again shortly."


class ServerLost(BridgeError):
    """The server that generated a response has died; another one says so."""

    default_message = "The server that generated the response was lost. What it had said is kept."


class ResponseTakenOver(BridgeError):
    """This server was away for so long that another one ended the response."""

    code = "response_taken_over"
    default_message = "Another server has taken over the response."


class ServerDraining(BridgeError):
    """The server is going down in good order; another one takes the request."""

    status = 503
    code = "server_draining"
    retry_after = 1.0
    default_message = "The server is shutting down. Reconnect and try again."


class ServerShutdown(BridgeError):
    """A response was still running when the drain's time was up."""

    code = "server_shutdown"
    default_message = "The server shut down before the response finished."


class ResponseTooLarge(BridgeError):
    """A running response said more than may be kept of it; what it said is in its events."""

    keeps_output = False
    default_message = "The response is longer than this server keeps."


class UpstreamError(BridgeError):
    """The provider refused or failed. ``status`` is the provider's own where it had one.

    ``message`` must be redacted by whoever raises it: the provider's own words, or none.
    """

    default_message = "The model provider failed."

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 502,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        known = RateLimited.code if status == RateLimited.status else None
        super().__init__(message, param=param, code=code or known)

    @property
    def kind(self) -> str:
        """The contract's type for the provider's status."""
        if self.status == 429:
            return RateLimited.type
        return InvalidRequest.type if 400 <= self.status < 500 else self.type
