"""Every error that a client gets, as one tree, and every close frame that the server sends.

Rule 1: a class knows its code, HTTP status and type, how soon to come back, and the close frame
that follows it, if one does. The place that raises it adds the facts, in the constructor.
Rule 2: a message is written here or came as text from the provider; it is never ``str(exception)``.
Rule 3: an error has three forms (HTTP body, WebSocket frame, ``response.error``), all of them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from ws_bridge.types import Json

# The values of `response.error.code`. The first lines are the closed enum of the openai types; the
# last two are outside of it, but codex stops retrying on exactly these (docs/protocol.md §4.3).
# Every other code of the bridge is replaced by the nearest one of these; a provider's own stands.
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


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """Why the server closes a WebSocket (RFC 6455, 7.4)."""

    code: int
    reason: str  # at most 123 bytes
    may_reconnect: bool  # whether a new connection of the same client may go well


# aiohttp itself closes with 1002 or 1009 what breaks the protocol or is too large.
UNMASKED_FRAME = CloseFrame(1002, "client frames must be masked", may_reconnect=False)
INVALID_CLOSE_CODE = CloseFrame(1002, "invalid close code", may_reconnect=False)
NOT_UTF8 = CloseFrame(1007, "text is not UTF-8", may_reconnect=False)
TOO_MANY_FRAGMENTS = CloseFrame(1008, "message in too many fragments", may_reconnect=False)
TOO_MANY_CONTROLS = CloseFrame(1008, "too many control or empty frames", may_reconnect=False)
TOO_MANY_BAD_FRAMES = CloseFrame(1008, "too many bad frames", may_reconnect=False)
KEY_REVOKED = CloseFrame(1008, "the key is not valid any more", may_reconnect=False)
MESSAGE_TOO_SLOW = CloseFrame(1008, "message took too long", may_reconnect=True)
SILENT_CLIENT = CloseFrame(1011, "no sign of life", may_reconnect=True)
CRASHED = CloseFrame(1011, "internal error", may_reconnect=True)
SLOW_CONSUMER = CloseFrame(1013, "slow consumer", may_reconnect=True)
CONNECTION_LIMIT = CloseFrame(1001, "connection limit reached", may_reconnect=True)
SERVER_RESTART = CloseFrame(1012, "server is restarting", may_reconnect=True)


class ConfigError(Exception):
    """The configuration cannot be used: a line a problem, with the file, the key and the remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


class BridgeError(Exception):
    """An error that a client gets. A class has the defaults, an instance the facts."""

    default_message: ClassVar[str] = "The server had an error while processing the request."
    status: int = 500
    type: str = "server_error"  # `error.type`
    code: str = "server_error"
    param: str | None = None  # the field of the request that is at fault
    retry_after: float | None = None  # seconds until it is worth a retry; None: not known, or never
    close: ClassVar[CloseFrame | None] = None  # ends the connection after this error
    keeps_output: ClassVar[bool] = True  # a response that fails so keeps the output it has

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Facts that are not given, or empty, are those of the class."""
        self.message = message or self.default_message
        super().__init__(self.message)
        self.status = status or self.status
        self.code = code or self.code
        self.param = param or self.param
        self.retry_after = self.retry_after if retry_after is None else retry_after

    def without_traceback(self) -> Self:
        """The same error without its causes: a traceback keeps all values of its frames alive."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def fields(self) -> Json:
        """The error object: always these four keys (docs/protocol.md §4.1)."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def headers(self) -> dict[str, str]:
        """HTTP headers that go with the error; most have none."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(max(1, round(self.retry_after)))}

    def body(self) -> Json:
        """The HTTP form."""
        return {"error": self.fields()}

    def frame(self, stream_id: str | None = None) -> Json:
        """As a WebSocket frame: nested, integer status, no number (docs/protocol.md §4.1)."""
        fields = {**self.fields(), "code": self.code}  # clients hang on a frame without a code
        error = {key: value for key, value in fields.items() if value is not None}
        frame: Json = {"type": "error", "status": self.status, "error": error}
        if stream_id is not None:
            frame["stream_id"] = stream_id
        if headers := self.headers():
            frame["headers"] = headers
            error["headers"] = headers
        return frame

    def response_error(self) -> Json:
        """The form inside a failed response: ``code`` of OpenAI's list, and ``message``."""
        code = self.code
        if code not in RESPONSE_ERROR_CODES or code == BridgeError.code:
            code = NEAREST_CODE.get(self.status, BridgeError.code)
        return {"code": code, "message": self.message}


# What the client did wrong


class InvalidRequest(BridgeError):
    """The request is malformed. Nothing was started."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"


class MissingParameter(InvalidRequest):
    """A required field is absent."""

    code = "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class UnsupportedParameter(InvalidRequest):
    """The field is known, but this server cannot do it."""

    code = "unsupported_parameter"


class InvalidEncryptedContent(InvalidRequest):
    """A seal in the input was not made by this server's key, or was changed."""

    code = "invalid_encrypted_content"
    param = "input"
    default_message = "The encrypted content of a compaction item could not be verified."


class PreviousResponseNotFound(InvalidRequest):
    """The parent is unknown, foreign, expired, or on another connection: one error for all."""

    code = "previous_response_not_found"
    param = "previous_response_id"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Previous response with id '{response_id[:100]}' not found.")


class InvalidStreamId(InvalidRequest):
    """A lane's name breaks the rules, so the frame belongs to no lane."""

    code = "invalid_stream_id"
    param = "stream_id"
    default_message = (
        "The 'stream_id' field must be a non-empty string with at most 256 characters and may "
        "only contain letters, numbers, underscores, hyphens, and periods."
    )


class StreamLimitReached(InvalidRequest):
    """The connection has named more lanes than it may over its life."""

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
    close: ClassVar[CloseFrame] = CONNECTION_LIMIT

    def __init__(self, minutes: float) -> None:
        super().__init__(
            f"Responses websocket connection limit reached ({minutes:g} minutes). "
            "Create a new websocket connection to continue."
        )


class InvalidApiKey(InvalidRequest):
    """The request has no key, or a wrong one."""

    status = 401
    code = "invalid_api_key"
    default_message = "Incorrect or missing API key."


class OriginNotAllowed(InvalidRequest):
    """A browser page of another origin asked. It learns nothing else."""

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
    """The object is unknown, foreign, deleted, expired or unstored: one error for all."""

    status = 404
    code = "not_found"
    noun: ClassVar[str] = "Object"

    def __init__(self, wanted: str) -> None:
        super().__init__(f"{self.noun} with id '{wanted[:100]}' not found.")


class ResponseNotFound(NotFound):
    """No such response."""

    noun = "Response"

    def fields(self) -> Json:
        """OpenAI's 404 has no code (docs/protocol.md §4.2)."""
        return {**super().fields(), "code": None}


class ConversationNotFound(NotFound):
    """No such conversation."""

    code = "conversation_not_found"
    param = "conversation"
    noun = "Conversation"


class ConversationFull(InvalidRequest):
    """The conversation would hold more than it may. What it holds stays."""

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


class RequestTimeout(InvalidRequest):
    """The body came too slowly. The connection is closed."""

    status = 408
    code = "request_timeout"
    default_message = "The request body took too long."


class UpgradeRequired(InvalidRequest):
    """A plain GET came on the path of the WebSocket."""

    status = 426
    code = "upgrade_required"
    default_message = "Open a WebSocket on this path, or POST to it."

    def headers(self) -> dict[str, str]:
        """Name the protocol to upgrade to (RFC 9110, 15.5.22), and its version (RFC 6455, 4.4)."""
        return {"upgrade": "websocket", "sec-websocket-version": "13"}


class PreviousResponseInProgress(InvalidRequest):
    """The parent is still being generated on another lane."""

    status = 409
    code = "previous_response_in_progress"
    param = "previous_response_id"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Previous response with id '{response_id[:100]}' is still in progress.")


class IdempotencyKeyReused(InvalidRequest):
    """The key is another create's; the status: draft-ietf-httpapi-idempotency-key-header, 2.7."""

    status = 422
    code = "idempotency_key_reused"
    param = "idempotency_key"
    default_message = "This idempotency key was used for another create."


# What the server, its store or a provider cannot do at present


class RateLimited(BridgeError):
    """One of the bridge's own limits is reached. What runs or waits is unharmed."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry_after = 1.0


class InsufficientQuota(RateLimited):
    """The budget of the key's name is used up: before days have passed a retry is of no use."""

    type = code = "insufficient_quota"

    def headers(self) -> dict[str, str]:
        """Clients retry a 429, and not this one."""
        return {"x-should-retry": "false"}


class StoreUnavailable(BridgeError):
    """The store cannot be reached. Whether the object exists is not known."""

    status = 503
    code = "store_unavailable"
    retry_after = 1.0
    default_message = "The response store is unavailable. Try again shortly."


class ServerLost(BridgeError):
    """The server that generated a response has died. Another one ends the response with this."""

    default_message = "The server that generated the response was lost. What it had said is kept."


class ResponseTakenOver(BridgeError):
    """Another server took the response over, because this one did not renew its lease."""

    code = "response_taken_over"
    default_message = "Another server has taken over the response."


class ServerDraining(BridgeError):
    """The server drains and accepts nothing new. Another server takes the request."""

    status = 503
    code = "server_draining"
    retry_after = 1.0
    close: ClassVar[CloseFrame] = SERVER_RESTART
    default_message = "The server is shutting down. Reconnect and try again."


class ServerShutdown(BridgeError):
    """The response was still running when the time of the drain was over."""

    code = "server_shutdown"
    default_message = "The server shut down before the response finished."


class ResponseTooLarge(BridgeError):
    """The output is larger than the server keeps. Its events up to here are readable."""

    keeps_output = False
    default_message = "The response is longer than this server keeps."


TRUNCATED = "The provider ended the stream before the response was finished."


class UpstreamError(BridgeError):
    """The provider refused or failed. ``status`` is the provider's own where it had one.

    ``message`` must be redacted where it is raised: it is the provider's text, or empty.
    """

    status = 502
    default_message = "The model provider failed."

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        has_own_code: bool = False,
    ) -> None:
        """The type follows from the status, and so does the code of a 429.

        ``has_own_code``: the code is the provider's word, and is told as it is everywhere.
        """
        known = RateLimited.code if status == RateLimited.status else None
        super().__init__(
            message, status=status, code=code or known, param=param, retry_after=retry_after
        )
        self._has_own_code = has_own_code
        self.tried: Sequence[object] = ()  # the targets that were asked, `upstream.base.Tried`
        if self.status == RateLimited.status:
            self.type = RateLimited.type
        elif 400 <= self.status < 500:
            self.type = InvalidRequest.type

    def response_error(self) -> Json:
        """The form inside a failed response, with the provider's own code where it has one."""
        error = super().response_error()
        return error | {"code": self.code} if self._has_own_code else error
