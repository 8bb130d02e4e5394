"""An answer's drafts after a preface: items that the response has before them, and their usage.

Rule 1: the items are inserted right before the first draft beyond the opening, and not before a
failed end: a failed response is no answer.
Rule 2: a draft that is changed loses the provider's own text, which has another index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ws_bridge.protocol.events import FAILED, OPENING, TERMINAL, Draft
from ws_bridge.protocol.output.items import item_added, item_done
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.response import strict_usage, sum_usage
from ws_bridge.types import Item, Json


class PrefacedDrafts:
    """The items and the usage of a preface, and whether the items were inserted."""

    def __init__(self, items: Sequence[Item], usage: Json) -> None:
        self._items = items
        self._usage = usage
        self._is_inserted = False

    def of(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The answer's next drafts: each index shifted, the end with the items and their usage."""
        return [prefaced for draft in drafts for prefaced in self._of(draft)]

    def _of(self, draft: Draft) -> Iterator[Draft]:
        if draft.type in OPENING:
            yield draft
            return
        if not self._is_inserted and draft.type != FAILED:
            self._is_inserted = True
            for index, item in enumerate(self._items):
                yield item_added(item, index)
                yield item_done(item, index)
        yield self._ended(draft) if draft.type in TERMINAL else self._shifted(draft)

    def _shifted(self, draft: Draft) -> Draft:
        index = draft.fields.get("output_index")
        if type(index) is not int:
            return draft
        return Draft(draft.type, draft.fields | {"output_index": index + len(self._items)})

    def _ended(self, draft: Draft) -> Draft:
        response = draft.fields.get("response")
        response = dict(response) if isinstance(response, dict) else {}
        items = items_of(response.get("output"))
        if self._is_inserted and items:  # else the output is made of the events
            response["output"] = [*self._items, *items]
        usage = strict_usage(response.get("usage"))
        response["usage"] = sum_usage(usage, self._usage) if usage else self._usage
        return Draft(draft.type, draft.fields | {"response": response})
