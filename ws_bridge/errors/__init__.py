"""Every error the bridge can tell anyone, as one tree.

Rule 1: a class knows its code, HTTP status and type; whoever raises it adds only the facts.
Rule 2: a message is written here or came as text from the provider; it is never ``str(exception)``.
Rule 3: an error has three spoken forms (HTTP body, WebSocket frame, ``response.error``), all here.
"""

from __future__ import annotations

from ws_bridge.errors.base import (
    RESPONSE_ERROR_CODES,
    BridgeError,
    ConfigError,
)
from ws_bridge.errors.requests import (
    ConnectionLimitReached,
    ConversationFull,
    ConversationNotFound,
    InvalidApiKey,
    InvalidEncryptedContent,
    InvalidRequest,
    InvalidStreamId,
    ItemNotFound,
    MissingParameter,
    ModelNotFound,
    NotFound,
    OriginNotAllowed,
    PreviousResponseInProgress,
    PreviousResponseNotFound,
    ResponseNotFound,
    StreamLimitReached,
    UnsupportedParameter,
    UpgradeRequired,
)
from ws_bridge.errors.services import (
    RateLimited,
    ResponseTakenOver,
    ResponseTooLarge,
    ServerDraining,
    ServerLost,
    ServerShutdown,
    StoreUnavailable,
    UpstreamError,
)

__all__ = [
    "RESPONSE_ERROR_CODES",
    "BridgeError",
    "ConfigError",
    "ConnectionLimitReached",
    "ConversationFull",
    "ConversationNotFound",
    "InvalidApiKey",
    "InvalidEncryptedContent",
    "InvalidRequest",
    "InvalidStreamId",
    "ItemNotFound",
    "MissingParameter",
    "ModelNotFound",
    "NotFound",
    "OriginNotAllowed",
    "PreviousResponseInProgress",
    "PreviousResponseNotFound",
    "RateLimited",
    "ResponseNotFound",
    "ResponseTakenOver",
    "ResponseTooLarge",
    "ServerDraining",
    "ServerLost",
    "ServerShutdown",
    "StoreUnavailable",
    "StreamLimitReached",
    "UnsupportedParameter",
    "UpgradeRequired",
    "UpstreamError",
]
