"""Call ids between a chat provider and the client (pure).

Clients get ids of at most 64 characters of [A-Za-z0-9_-]; providers give ids of any form, and want
their own back as they were. An id of another form goes to the client encoded, so that no state is
needed to read it; one that is too long for that is hashed, for the call and its result alike.
"""

from __future__ import annotations

import base64
import hashlib
import re

LONGEST = 64
MARK = "callx_"  # before an encoded id
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}")
_ALPHANUMERIC = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def for_client(own: str) -> str:
    """The provider's id as the client gets it."""
    if _PLAIN.fullmatch(own) and not own.startswith(MARK):
        return own
    raw = own.encode(errors="surrogatepass")
    encoded = MARK + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return encoded if len(encoded) <= LONGEST else f"call_{hashlib.sha256(raw).hexdigest()[:40]}"


def for_provider(call_id: str, form: re.Pattern[str]) -> str:
    """The id for the provider: its own one, or a hash in the form that it takes."""
    own = _decoded(call_id)
    if form.fullmatch(own):
        return own
    digest = hashlib.sha256(call_id.encode(errors="surrogatepass")).digest()
    short = "".join(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)] for byte in digest[:9])
    return short if form.fullmatch(short) else f"call_{digest.hex()[:32]}"


def _decoded(call_id: str) -> str:
    if not call_id.startswith(MARK):
        return call_id
    encoded = call_id.removeprefix(MARK)
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        own = raw.decode(errors="surrogatepass")
    except ValueError:
        return call_id
    return own if own and for_client(own) == call_id else call_id
