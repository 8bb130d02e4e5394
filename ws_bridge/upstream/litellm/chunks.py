"""litellm's chat chunks → `Chunk` (pure; no litellm import, its objects are read as they lie).

A plain text chunk takes the short way: pydantic's attribute protocol costs more than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ws_bridge.protocol.output.chat import Chunk, ToolDelta
from ws_bridge.types import Json

PLAIN = frozenset({"content", "role", "provider_specific_fields"})


def chunk_of(chunk: Any) -> Chunk:
    """The chunk as the translator takes it."""
    usage = _value(chunk, "usage")
    choices = _value(chunk, "choices") or ()
    model = _value(chunk, "model")
    if not choices:
        return Chunk(usage=usage_of(usage), model=model)
    choice = _fields(choices[0])
    delta = _fields(choice["delta"])
    finish_reason, logprobs = choice.get("finish_reason"), choice.get("logprobs")
    if usage is None and finish_reason is None and logprobs is None and _is_plain(delta):
        return Chunk(text=delta.get("content") or "", model=model)
    return Chunk(
        text=delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or "",
        refusal=delta.get("refusal") or "",
        thinking_blocks=tuple(map(_block, delta.get("thinking_blocks") or ())),
        tool_calls=tuple(map(_tool_delta, delta.get("tool_calls") or ())),
        annotations=(*_annotations(delta.get("annotations") or ()), *_citations(delta)),
        images=tuple(_images(delta.get("images") or ())),
        logprobs=tuple(map(_logprob, _value(logprobs, "content") or ())),
        finish_reason=finish_reason,
        usage=usage_of(usage),
        model=model,
    )


def usage_of(usage: Any) -> Json | None:
    """A chat usage as a Responses usage."""
    if usage is None:
        return None
    into, out = _value(usage, "prompt_tokens_details"), _value(usage, "completion_tokens_details")
    read = _count(usage, "prompt_tokens")
    written = _count(usage, "completion_tokens")
    cache_writes = _count(into, "cache_creation_tokens")
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": _count(into, "cached_tokens"),
            "cache_write_tokens": cache_writes or _count(usage, "cache_creation_input_tokens"),
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": _count(out, "reasoning_tokens")},
        "total_tokens": _count(usage, "total_tokens") or read + written,
    }


def plain(value: Any) -> Json:
    """A pydantic object, or a mapping, as a dict of its own."""
    if isinstance(value, dict):
        return dict(value)
    dumped: Json = value.model_dump(mode="json", exclude_none=True, warnings=False)
    return dumped


def _fields(thing: Any) -> Json:
    """All that an object has, declared or not, without touching its attribute protocol."""
    if isinstance(thing, dict):
        return thing
    declared: Json = thing.__dict__
    extra = getattr(thing, "__pydantic_extra__", None)
    return {**declared, **extra} if extra else declared


def _value(thing: Any, name: str) -> Any:
    return None if thing is None else _fields(thing).get(name)


def _count(thing: Any, name: str) -> int:
    value = _value(thing, name)
    return value if isinstance(value, int) else 0


def _is_plain(delta: Json) -> bool:
    if delta.get("provider_specific_fields"):
        return False
    return all(name in PLAIN or value is None for name, value in delta.items())


def _tool_delta(call: Any) -> ToolDelta:
    """A function's fragment; a custom tool's input stands where arguments would."""
    known = _fields(call)
    function = _fields(known.get("function") or known.get("custom") or {})
    return ToolDelta(
        index=known.get("index") or 0,
        id=known.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or function.get("input") or "",
    )


def _block(block: Any) -> Json:
    """Anthropic's block without its place in the stream, which some releases add."""
    known = plain(block)
    known.pop("index", None)
    return known


def _annotations(annotations: Iterable[Any]) -> Iterable[Json]:
    """Chat nests a citation under its type's name, Responses has it flat."""
    for annotation in map(plain, annotations):
        kind = annotation.get("type")
        nested = annotation.get(kind) if isinstance(kind, str) else None
        yield {"type": kind, **nested} if isinstance(nested, dict) else annotation


def _citations(delta: Json) -> Iterable[Json]:
    """Anthropic's citation of a chunk, where litellm leaves it; places in a file have no field."""
    citation = (delta.get("provider_specific_fields") or {}).get("citation")
    if not isinstance(citation, dict):
        return
    if url := citation.get("url"):
        yield {"type": "url_citation", "url": url, "title": citation.get("title") or url}
        return
    index = citation.get("document_index")
    yield {
        "type": "file_citation",
        "file_id": citation.get("file_id") or f"document_{index or 0}",
        "filename": citation.get("document_title") or "",
        "index": index or 0,
    }


def _images(images: Iterable[Any]) -> Iterable[str]:
    for image in map(plain, images):
        url = (image.get("image_url") or {}).get("url") or ""
        head, _, data = url.partition(",")
        if head.startswith("data:") and data:
            yield data


def _logprob(token: Any) -> Json:
    known = _fields(token)
    top = [_one_logprob(_fields(other)) for other in known.get("top_logprobs") or ()]
    return {**_one_logprob(known), "top_logprobs": top}


def _one_logprob(known: Json) -> Json:
    return {
        "token": known.get("token", ""),
        "bytes": known.get("bytes") or [],
        "logprob": known.get("logprob", 0.0),
    }
