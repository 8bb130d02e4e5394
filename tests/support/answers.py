"""Reading an answer of an upstream as a job does, and what a client sees of it."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft, Event
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.upstream.base import ABANDONED, Answer, Outcome, Request, Upstream, outcome_of


async def each_draft(answer: Answer) -> AsyncGenerator[Draft, None]:
    """The drafts one by one; the answer is closed at their end, or with the generator."""
    outcome = ABANDONED
    drafts: Sequence[Draft] | None = answer.first
    try:
        while drafts is not None:
            for draft in drafts:
                yield draft
            if drafts and drafts[-1].type in TERMINAL:
                outcome = outcome_of(drafts[-1])
            drafts = await answer.read()
    except UpstreamError as error:
        outcome = Outcome(error)
        raise
    finally:
        await answer.close(outcome)


async def opened(upstream: Upstream, request: Request) -> AsyncGenerator[Draft, None]:
    """The drafts of the answer to a request, one by one; it is asked at the first."""
    async with aclosing(each_draft(await upstream.open(request))) as drafts:
        async for draft in drafts:
            yield draft


async def drafts_of(answer: Answer) -> list[Draft]:
    """All drafts of an answer, which is closed then."""
    return [draft async for draft in each_draft(answer)]


def events_of(
    drafts: Iterable[Draft], envelope: Envelope | None = None, lane: str | None = None
) -> list[Event]:
    """The events of an answer as a client would see them."""
    sequencer = Sequencer(envelope or Envelope("resp_1", "m", 1), lane, lambda: 2.0)
    return sequencer.sequence(list(drafts))
