"""A Responses request → the body of a text completion (pure).

Rule 1: what has no answer of a model in it is the prompt as it is. A conversation is written with
the names of those who speak, and ends where the model goes on; there it stops before the user.
Rule 2: there are no tools: they are refused, and so are their calls in a history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.completions.table import TABLE
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    UserTurn,
    instructions_of,
    plain_entries_of,
)
from ws_bridge.upstream.dialects.options import check_includes, effort_of, text_format_of
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.tool_choice import is_hosted

Said = UserTurn | AnswerText
BETWEEN = "\n\n"
USER, MODEL = "User:", "Assistant:"
USUAL_MAX_TOKENS = 1024  # OpenAI's own is 16, which no client of Responses expects
# Others send the usage unasked, and may refuse a field that they do not know.
TAKE_STREAM_OPTIONS = frozenset({"text-completion-openai"})


def write(given: WriterInput) -> ProviderRequest:
    """The request. Raises ``UpstreamError`` or ``InvalidRequest`` (400)."""
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)
    _check(options, given)
    entries = [*instructions_of(options, TABLE), *plain_entries_of(given.items, given.tools, TABLE)]
    said = [entry for entry in entries if isinstance(entry, UserTurn | AnswerText)]
    if not said:
        raise InvalidRequest("There is no input for the model.", param="input")
    body: Json = {
        "model": given.model,
        **_prompt(said),
        "max_tokens": options.get("max_output_tokens") or _usual_limit(given),
        **{name: options[name] for name in ("temperature", "top_p") if name in options},
        "stream": given.streams,
    }
    if given.streams and given.provider in TAKE_STREAM_OPTIONS:
        body["stream_options"] = {"include_usage": True}
    return ProviderRequest(body)


def _check(options: Json, given: WriterInput) -> None:
    """Raises a 400 for a tool, a format or an effort."""
    check_includes(options, TABLE)
    for place, tool in enumerate(options.get("tools") or ()):
        if not (given.drop_params and is_hosted(tool)):
            TABLE.takes("tools", str(tool.get("type")), f"tools[{place}]")
    if (choice := options.get("tool_choice")) is not None:
        kind = choice.get("type") if isinstance(choice, dict) else choice
        TABLE.takes("choices", str(kind), "tool_choice")
    if wanted := text_format_of(options, drop=given.drop_params):
        raise refused("format", str(wanted.get("type")), "text.format")
    if effort_of(options, given) not in ("", "none") and not given.drop_params:
        raise refused("parameter", "reasoning", "reasoning.effort", "The model does not think.")


def _usual_limit(given: WriterInput) -> int:
    return min(USUAL_MAX_TOKENS, given.max_output_tokens or USUAL_MAX_TOKENS)


def _prompt(said: Sequence[Said]) -> Json:
    if not any(isinstance(entry, AnswerText) for entry in said):
        return {"prompt": BETWEEN.join(_words(entry) for entry in said)}
    prompt = BETWEEN.join([*_named(said), MODEL])
    return {"prompt": prompt, "stop": [BETWEEN + USER]}


def _named(said: Sequence[Said]) -> Iterator[str]:
    for entry in said:
        if isinstance(entry, AnswerText):
            yield f"{MODEL} {_words(entry)}"
        elif entry.role in SYSTEM:
            yield _words(entry)
        else:
            yield f"{USER} {_words(entry)}"


def _words(entry: Said) -> str:
    if isinstance(entry, AnswerText):
        return entry.text.strip()
    return "\n".join(part.text for part in entry.parts)
