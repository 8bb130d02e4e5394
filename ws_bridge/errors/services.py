"""What the server, its store or a provider cannot do now."""

from __future__ import annotations

from ws_bridge.errors.base import BridgeError
from ws_bridge.errors.requests import InvalidRequest


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
    words = "The response store is unavailable. Try again shortly."


class ServerLost(BridgeError):
    """The server that generated a response has died; another one says so."""

    words = "The server that generated the response was lost. What it had said is kept."


class ResponseTakenOver(BridgeError):
    """This server was away for so long that another one ended the response."""

    code = "response_taken_over"
    words = "Another server has taken over the response."


class ServerDraining(BridgeError):
    """The server is going down in good order; another one takes the request."""

    status = 503
    code = "server_draining"
    retry_after = 1.0
    words = "The server is shutting down. Reconnect and try again."


class ServerShutdown(BridgeError):
    """A response was still running when the drain's time was up."""

    code = "server_shutdown"
    words = "The server shut down before the response finished."


class ResponseTooLarge(BridgeError):
    """A running response said more than may be kept of it; what it said is in its events."""

    keeps_output = False
    words = "The response is longer than this server keeps."


class UpstreamError(BridgeError):
    """The provider refused or failed. ``status`` is the provider's own where it had one.

    ``message`` must be redacted by whoever raises it: the provider's own words, or none.
    """

    words = "The model provider failed."

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
