"""The error of a provider that says more than this server takes, however litellm wraps it."""

from __future__ import annotations

from ws_bridge.errors import UpstreamError

TOO_LARGE = "The model provider's answer is larger than this server takes."
DEEP = 20  # exceptions of litellm around one of ours


class TooLarge(UpstreamError):
    """An answer went beyond a bound; the next try's would as well."""


def raised_here(failure: BaseException) -> UpstreamError | None:
    """The error that was raised here amid litellm's reading, if one was."""
    cause: BaseException | None = failure
    for _ in range(DEEP):
        if cause is None or isinstance(cause, UpstreamError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
