"""What a job is made of: a create becomes a `JobSpec`, a frozen value.

Pure: it starts no task, asks no clock and makes up no id. What it needs of both is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from ws_bridge.errors import BridgeError
from ws_bridge.pacing import HEAVY_BYTES
from ws_bridge.protocol.actions import StartResponse
from ws_bridge.protocol.conversation import conversation_id
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.references import Made
from ws_bridge.protocol.request import CreateResponse, parse_create
from ws_bridge.protocol.response import Envelope, echo_of
from ws_bridge.store.base import MAX_ANCESTORS, Claim, Record
from ws_bridge.tracing import TraceContext
from ws_bridge.types import Json
from ws_bridge.upstream.base import Request, Target

LANE = "stream_id"  # in the create of a record


class EndReason(Enum):
    """Why a job is stopped from outside."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    STEERED = "steered"  # a successor continues from here
    SHUTDOWN = "shutdown"
    TAKEN_OVER = "taken over"  # by another server, which writes the response from now on


Reason = EndReason | BridgeError  # an error ends the response as failed


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a response may send nothing to its readers, in seconds."""

    created_after: float = 2.0  # `created` is sent by then, even if the provider has not answered
    keepalive: float = 30.0  # 0 = off


@dataclass(frozen=True, slots=True)
class Create:
    """One create of one client, from any transport."""

    request: CreateResponse
    owner: str
    transport: str  # "websocket", "http", "sse", "background"
    lane: str | None = None
    parent: Turn | None = None  # if the connection knows it; else it is looked up by its id
    size: int = 0  # bytes of the request
    known: Mapping[str, Made] = field(default_factory=dict)  # items that its input refers to

    @classmethod
    def of(cls, start: StartResponse, owner: str) -> Create:
        """The create of a socket."""
        known = (start.lane, start.parent, start.size, start.known)
        return cls(start.request, owner, "websocket", *known)

    @classmethod
    def of_record(cls, record: Record) -> Create:
        """The create that a response began with whose record has it. Raises ``InvalidRequest``."""
        kept = record.request or {}
        request = parse_create(kept | {"input": list(record.input)})
        return cls(request, record.owner, "background", kept.get(LANE))


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything a job is made of."""

    record: Record
    envelope: Envelope
    target: Target
    chain: Chain  # earlier turns and this turn's input
    transport: str
    lane: str | None = None
    options: Json = field(default_factory=dict)  # what the provider is to know
    background_options: Json = field(default_factory=dict)
    generate: bool = True  # false: a warm-up, no provider is asked
    is_provider_run: bool = False  # in the provider's own background mode
    background_id: str = ""  # the provider's id of a background response that continues
    entry: str = ""  # of the model table, as it was asked for
    trace: TraceContext | None = None  # of the create's span

    @property
    def parent(self) -> Turn | None:
        """The turn that the response continues."""
        return self.chain.parent

    def answered_by(self, target: Target) -> JobSpec:
        """The spec with the target that answers; it may be another than the first one asked."""
        record = replace(self.record, maker=target.maker)
        is_run = self.is_provider_run and target.native_background
        return replace(self, record=record, target=target, is_provider_run=is_run)

    def request(self) -> Request:
        """What the upstream is asked."""
        return Request(
            target=self.target,
            chain=self.chain,
            options=self.options,
            background=self.is_provider_run,
            background_options=self.background_options,
            response_id=self.record.id,
            store=self.envelope.store,
            background_id=self.background_id,
            trace=self.trace,
        )


def build_spec(
    create: Create,
    target: Target,
    chain: Chain,
    *,
    response_id: str,
    created_at: int,
    claim: Claim | None = None,
) -> JobSpec:
    """The spec of a new response; with a claim, of one that another server has begun."""
    request = create.request
    if claim is None:
        record = _new_record(create, target, chain, response_id)
    else:
        record = claim.record
        created_at = int(fold(claim.events).get("created_at", created_at))
    options = request.passed_on()
    return JobSpec(
        record=record,
        envelope=envelope_of(create, record.id, target.name, created_at),
        target=target,
        chain=chain,
        transport=create.transport,
        lane=create.lane,
        options=options,
        background_options=request.background_options_passed_on(),
        generate=request.generate,
        is_provider_run=request.background and target.native_background,
        background_id=claim.upstream_id if claim else "",
        entry=target.entry or target.name,
    )


def echo_weight(request: CreateResponse) -> int:
    """Bytes of memory of what ``build_spec`` looks at whole, or that they are very many."""
    lists = [given for given in (request.tools, request.instructions) if isinstance(given, list)]
    return weigh(lists, HEAVY_BYTES) if lists else 0


def envelope_of(create: Create, response_id: str, model: str, created_at: int) -> Envelope:
    """What all snapshots of the create's response share."""
    request = create.request
    return Envelope(
        id=response_id,
        model=model,
        created_at=created_at,
        options=echo_of(request.passed_on()),
        previous_response_id=request.previous_response_id,
        store=request.store,
        background=request.background,
        conversation=conversation_id(request.conversation),
    )


def _new_record(create: Create, target: Target, chain: Chain, response_id: str) -> Record:
    request = create.request
    lineage = chain.parent.lineage()[-MAX_ANCESTORS:] if chain.parent else []
    return Record(
        id=response_id,
        owner=create.owner,
        input=chain.input,
        input_makers=chain.input_makers,
        maker=target.maker,
        previous_response_id=request.previous_response_id,
        background=request.background,
        ancestors=tuple(turn.id for turn in reversed(lineage)),
        request=_kept_request(create),
        may_run_again=create.transport == "background" and not request.stream,
    )


def _kept_request(create: Create) -> Json | None:
    """The create without its input and key, where another server may need it.

    That is to go on, or to end what has not even begun: with a key, a response is stored before.
    """
    request = create.request
    if not request.background and request.idempotency_key is None:
        return None
    kept = request.model_dump(exclude_none=True, exclude={"input", "idempotency_key"})
    return kept | ({LANE: create.lane} if create.lane is not None else {})
