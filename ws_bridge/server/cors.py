"""What lets pages of other origins use the HTTP side: the CORS headers of the Fetch standard.

Rule 1: an allowed origin is named, never `*`, and no credentials but the key in the request are
taken. A page of any other origin gets its 403 without these headers, and cannot read it.
Rule 2: a preflight needs no key, for browsers send none with it; what follows needs one.
Rule 3: every answer has the headers, errors and streams too, or a page could not tell a 401 from a
server that is away.

aiohttp-cors is not used: it takes the origins once, with the routes, where those here may change
while the server serves, and its headers are on the answers of known routes only.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from ws_bridge.server.http.long_poll import NUMBER_HEADER

ALLOWED_ORIGIN = web.RequestKey("allowed_origin", str)  # the request's, if it may read the answer

METHODS = "GET, POST, DELETE"
# What clients send beside the headers that need no leave. The official SDK sends many of its own,
# which the bridge does not read.
HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "OpenAI-Beta", "OpenAI-Organization"),
    *("OpenAI-Project", "Traceparent", "Tracestate", "X-Client-Request-Id", "X-Request-Id"),
)
OF_SDK = "x-stainless-"
EXPOSED = f"x-request-id, retry-after, x-should-retry, {NUMBER_HEADER}"
MAX_AGE = 7200  # seconds; Chromium keeps none for longer
MOST_ASKED = 64  # headers of one request


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks for leave for another request."""
    asks = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    return request.method == hdrs.METH_OPTIONS and asks and hdrs.ORIGIN in request.headers


def preflight_answer(request: web.Request) -> web.Response:
    """The leave for pages of an allowed origin, which ``add_headers`` names."""
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").lower().split(",")
    names = (name.strip() for name in asked[:MOST_ASKED])
    of_sdk = (name for name in names if name.startswith(OF_SDK) and _is_plain(name))
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join((*HEADERS, *of_sdk)),
        hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE),
    }
    return web.Response(status=204, headers=headers)


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page of an allowed origin read the answer; caches keep one for each origin."""
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    if (origin := request.get(ALLOWED_ORIGIN)) is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED


def _is_plain(name: str) -> bool:
    return name.replace("-", "").isalnum() and name.isascii()
