"""An answer read by a dialect's reader: its drafts, checked by the official types."""

import json
import re
from dataclasses import dataclass

from support.event_checker import check_events

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer

MINTED = re.compile(r"\b(msg|rs|fc|ctc|apc|ws|ci|ig|call)_[0-9a-f]{8}-?[0-9a-f-]{24,}")


@dataclass
class Answer:
    """What a reader made of some bytes."""

    drafts: list[Draft]
    failure: UpstreamError | None

    @property
    def end(self):
        """The type of the terminal event; "" if the answer failed."""
        return "" if self.failure else self.drafts[-1].type

    @property
    def response(self):
        return self.drafts[-1].fields["response"]

    @property
    def output(self):
        """The items, without their ids."""
        return [
            {key: value for key, value in item.items() if key != "id"}
            for item in self.response["output"]
        ]

    @property
    def text(self):
        """All text of the answer."""
        return "".join(
            part["text"]
            for item in self.response["output"]
            if item["type"] == "message"
            for part in item["content"]
        )

    @property
    def annotations(self):
        return [
            note
            for item in self.response["output"]
            if item["type"] == "message"
            for part in item["content"]
            for note in part["annotations"]
        ]

    def normal(self):
        """All drafts as text, ids numbered in the order of their first mention."""
        ids = {}
        text = json.dumps([(draft.type, draft.fields) for draft in self.drafts])
        return MINTED.sub(lambda found: ids.setdefault(found[0], f"{found[1]}_{len(ids)}"), text)


def answer_of(reader, *pieces):
    """The answer in these bytes; every event of it is valid, and an answer ends in one way."""
    drafts, failure = [], None
    try:
        for piece in pieces:
            drafts += reader.feed(piece)
        while not reader.is_over:
            drafts += reader.finish()
    except UpstreamError as error:
        failure = error
    if failure is None:
        sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
        events = [event.json() for event in sequencer.sequence(drafts)]
        assert check_events(events) == []
    return Answer(drafts, failure)
