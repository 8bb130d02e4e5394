"""``[limits]`` of config.toml: its keys and their defaults; ``config`` reads the whole file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
NoneOrMore = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A table of the file: frozen, and nothing but its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Limits(Section):
    """``[limits]``: how much of the server one client may take; each process counts for itself."""

    running_per_connection: Count = 16
    lanes_per_connection: Count = 32
    queued_per_connection: Count = 64
    queued_mib_per_connection: Count = 8
    cached_turns_per_connection: Count = 256
    # What is kept of a client.
    cached_mib_per_connection: Count = 64
    cached_mib_per_key: NoneOrMore = 256
    cached_mib: Count = 512
    response_mib: Count = 128
    conversation_mib: Count = 32
    conversation_items: Count = 10_000
    # Of one client key; 0 is no limit, and without keys there is none.
    connections_per_key: NoneOrMore = 100
    running_per_key: NoneOrMore = 50
    creates_per_minute: NoneOrMore = 120
    followers_per_key: NoneOrMore = 100
    responses_mib_per_key: NoneOrMore = 512
    asked_mib_per_key: NoneOrMore = 256
    refused_per_minute: NoneOrMore = 60  # requests without a valid key, of one address
    # Of the whole process.
    followers: Count = 2000
    responses_mib: Count = 1024
    asked_mib: Count = 1024
    # What a client sends.
    head_seconds: Positive = 10
    message_seconds: Positive = 30
    message_fragments: Count = 1024
    receiving_mib: Count = 256
    json_depth: Annotated[int, Field(ge=1, le=200)] = 64
    json_keys: Count = 10_000
    bad_frames: Count = 20
    control_frames: Count = 100
    # What a client does not do.
    silent_seconds: Positive = 120
    unread_seconds: Positive = 30
