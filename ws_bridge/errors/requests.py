"""What the client did wrong."""

from __future__ import annotations

from typing import Any, ClassVar

from ws_bridge.errors.base import BridgeError

Json = dict[str, Any]


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
    words = "The encrypted content of a compaction item could not be verified."


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
    words = (
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
    words = "Incorrect or missing API key."


class OriginNotAllowed(InvalidRequest):
    """A browser page of another origin; it is not told more."""

    status = 403
    code = "origin_not_allowed"
    words = "This origin is not allowed."


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
    words = "Open a WebSocket on this path, or POST to it."

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
