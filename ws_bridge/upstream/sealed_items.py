"""Sealed items that clients send back themselves, and who made them.

A client that keeps its own history sends encrypted reasoning as input, and does not say whose.
Rule 1: an item that was seen on its way out goes back to its maker only. An unknown item is taken
for one of the targets of the name that was asked for, and not of their fallbacks.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from ws_bridge.protocol.compaction import own_seal
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain, Turn, with_makers
from ws_bridge.types import Item, Json

REMEMBERED = 16_384
SEALED = frozenset({"reasoning", "compaction"})


class SealedItems:
    """The makers of the sealed items seen last, by digest."""

    def __init__(self) -> None:
        self._makers: OrderedDict[bytes, str] = OrderedDict()

    def record(self, draft: Draft, maker: str) -> None:
        """Remember the maker of the draft's item, if that is sealed."""
        item = draft.fields.get("item")
        if isinstance(item, dict) and (digest := _digest(item)):
            self._makers[digest] = maker
            self._makers.move_to_end(digest)
            if len(self._makers) > REMEMBERED:
                self._makers.popitem(last=False)

    def latest_maker(self, chain: Chain) -> str:
        """The maker of the last known sealed item in the chain's input; "" if there is none."""
        made = reversed(list(with_makers(chain.input, chain.input_makers)))
        makers = (self._makers.get(_digest(item)) or by for by, item in made)
        return next((maker for maker in makers if maker), "")

    def readable(self, chain: Chain, maker: str, *, keep_unknown: bool) -> Chain:
        """The chain without the client's sealed items that ``maker`` cannot read.

        ``keep_unknown``: whether sealed items of an unknown maker stay.
        """

        def is_readable(item: Item) -> bool:
            digest = _digest(item)
            known = self._makers.get(digest)
            return not digest or (keep_unknown if known is None else known == maker)

        def kept(items: Sequence[Item], makers: Sequence[str]) -> Json:
            made = with_makers(items, makers)
            pairs = [(by, one) for by, one in made if by == maker or is_readable(one)]
            return {
                "input": tuple(item for _, item in pairs),
                "input_makers": tuple(by or "" for by, _ in pairs) if makers else (),
            }

        turns = chain.parent.lineage() if chain.parent else []
        written = [*chain.input, *(item for turn in turns for item in turn.input)]
        if all(map(is_readable, written)):
            return chain
        parent: Turn | None = None
        for turn in turns:
            parent = replace(turn, parent=parent, **kept(turn.input, turn.input_makers))
        return replace(chain, parent=parent, **kept(chain.input, chain.input_makers))


def _digest(item: Item) -> bytes:
    """A sealed item's digest; b"" for all others, and for what this bridge has sealed."""
    sealed = item.get("encrypted_content")
    if str(item.get("type")) not in SEALED or not isinstance(sealed, str) or own_seal(item):
        return b""
    return hashlib.sha256(sealed.encode()).digest()[:16]
