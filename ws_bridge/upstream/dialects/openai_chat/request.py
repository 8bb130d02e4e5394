"""A request in the words of Chat Completions (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.entries import (
    MakerTurn,
    OwnBlock,
    PlainEntry,
    entries_of,
    instructions_of,
)
from ws_bridge.upstream.dialects.openai_chat.file_annotations import own_block
from ws_bridge.upstream.dialects.openai_chat.messages import MessageWriter
from ws_bridge.upstream.dialects.openai_chat.offered_tools import Offer, offer_of
from ws_bridge.upstream.dialects.openai_chat.table import table_of
from ws_bridge.upstream.dialects.openai_chat.turns import turns_of
from ws_bridge.upstream.dialects.openai_chat.variants import EFFORTS, Variant, variant_of
from ws_bridge.upstream.dialects.options import effort_of
from ws_bridge.upstream.dialects.table import Refuse, RequestTable, refused

LOGPROBS = "message.output_text.logprobs"
AS_THEY_ARE = ("temperature", "top_p")


def write(given: WriterInput) -> ProviderRequest:
    """The request. Raises ``UpstreamError`` or ``InvalidRequest`` (400)."""
    variant, table = variant_of(given.provider), table_of(given.provider)
    options = table.options_to_translate(given.options, drop=given.drop_params)
    offer = offer_of(
        given.tools, options.get("tool_choice"), variant, table, drop=given.drop_params
    )
    entries = [*instructions_of(options, table), *_entries(given, variant, table)]
    writer = MessageWriter(variant, thinks=given.supports_reasoning is True)
    body: Json = {
        "model": given.model,
        "messages": writer.write(turns_of(entries, given.seals)),
        **{name: options[name] for name in AS_THEY_ARE if name in options},
        **_length(options, variant),
        **_effort(options, given, variant),
        **_format(options, given, variant),
        **_logprobs(options, given, table),
        **_tier(options, variant),
        **_truncation(options),
        **offer.fields,
        **_calls(options, offer, given),
    }
    may_stream = variant.streams_formats or "response_format" not in body
    body["stream"] = given.streams and may_stream
    if not body["messages"]:
        raise InvalidRequest("There is no input for the model.", param="input")
    if body["stream"] and variant.stream_options:
        body["stream_options"] = {"include_usage": True}
    return ProviderRequest(body, tools=offer.table)


def _entries(
    given: WriterInput, variant: Variant, table: RequestTable
) -> Iterator[PlainEntry | OwnBlock]:
    """All entries; after those of a turn what else its message has."""
    for entry in entries_of(given.items, given.tools, table):
        if not isinstance(entry, MakerTurn):
            yield entry
            continue
        yield from entry.entries
        if variant.remembers_files and (own := own_block(entry)) is not None:
            yield own


def _length(options: Json, variant: Variant) -> Json:
    limit = options.get("max_output_tokens")
    return {} if limit is None else {variant.max_tokens: limit}


def _effort(options: Json, given: WriterInput, variant: Variant) -> Json:
    effort = effort_of(options, given)
    is_asked = effort and (effort != "none" or given.supports_reasoning is not False)
    return EFFORTS[variant.effort](effort) if is_asked else {}


def _format(options: Json, given: WriterInput, variant: Variant) -> Json:
    text = options.get("text")
    if not isinstance(text, dict):
        return {}
    fields: Json = {}
    verbosity = text.get("verbosity")
    if verbosity is not None and variant.verbosity:
        fields["verbosity"] = verbosity
    elif verbosity not in (None, "medium") and not given.drop_params:
        raise refused("parameter", "text.verbosity", "text.verbosity")
    wanted = text.get("format")
    if isinstance(wanted, dict):
        fields |= _response_format(wanted, variant)
    return fields


def _response_format(wanted: Json, variant: Variant) -> Json:
    kind = str(wanted.get("type"))
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": kind}}
    if kind != "json_schema" or not variant.schemas:
        raise refused("format", kind, "text.format.type", "Ask for a 'json_object'.")
    names = ("name", "description", "schema", "strict")
    schema = {name: wanted[name] for name in names if wanted.get(name) is not None}
    return {"response_format": {"type": kind, "json_schema": schema}}


def _logprobs(options: Json, given: WriterInput, table: RequestTable) -> Json:
    wanted = False
    for value in options.get("include") or ():
        if given.drop_params and isinstance(table.includes.get(str(value)), Refuse):
            continue
        if table.takes("includes", str(value), "include"):
            wanted = wanted or value == LOGPROBS
    count = options.get("top_logprobs")
    if not wanted and not count:
        return {}
    return {"logprobs": True} | ({"top_logprobs": count} if count else {})


def _tier(options: Json, variant: Variant) -> Json:
    tier = options.get("service_tier")
    return {"service_tier": tier} if isinstance(tier, str) and tier in variant.tiers else {}


def _truncation(options: Json) -> Json:
    """Only a table that has the option lets it through."""
    return {"transforms": ["middle-out"]} if options.get("truncation") == "auto" else {}


def _calls(options: Json, offer: Offer, given: WriterInput) -> Json:
    """What is said of calls beside the tools."""
    limit: Any = options.get("max_tool_calls")
    if limit is not None and offer.has_hosted and not given.drop_params:
        raise refused("parameter", "max_tool_calls", "max_tool_calls")
    parallel = options.get("parallel_tool_calls")
    return {} if parallel is None or not offer.tools else {"parallel_tool_calls": parallel}
