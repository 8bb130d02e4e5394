"""How providers differ who all speak Chat Completions, as data (pure).

Rule 1: what is not said here is as OpenAI documents it; a provider without a line gets that form.
Rule 2: a cell of a variant replaces the family's cell of that name (``table.table_of``).
Rule 3: an option that a provider merely ignores is sent: only it knows which models obey.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.table import (
    SEND_DATA,
    TRANSLATE,
    Cells,
    Refuse,
    Translate,
)

USUAL_ID = re.compile(r".{1,64}", re.DOTALL)
OPENAI_ID = re.compile(r"(?:chatcmpl-tool-)?[A-Za-z0-9_-]{1,40}")  # with vLLM's own prefix
MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to speak Chat Completions."""

    max_tokens: str = "max_tokens"
    takes_developer: bool = False  # else such messages are of the system
    alternates: bool = False  # user and assistant take turns, after the words of the system
    takes_user_after_tool: bool = True
    takes_text_lists: bool = False  # else several texts are one
    takes_tool_parts: bool = False  # images in the messages of tools
    knows_original: bool = False  # else the most detail of an image is "high"
    nests_audio: bool = True  # else sound is bare base64
    takes_empty_turns: bool = True  # an assistant's message without text and calls
    reasoning: str = "reasoning_content"  # the field of thoughts in the history; "": none
    wants_reasoning: bool = False  # with each of the assistant's messages, where the model thinks
    effort: str = "reasoning_effort"  # how `reasoning.effort` is said: a key of `EFFORTS`
    required: str = "required"  # the word for a tool choice
    knows_none: bool = True  # else no tools are offered where the choice is "none"
    knows_allowed_tools: bool = False
    takes_strict: bool = True
    schemas: bool = True  # `text.format` with a JSON schema
    streams_formats: bool = True  # else an answer of a format comes whole
    stream_options: bool = True
    always_ends: bool = True  # else an answer may end with [DONE] and no finish reason
    verbosity: bool = False
    tiers: frozenset[str] = frozenset()  # of `service_tier`
    search: str = ""  # how the provider's web search is asked for: a key of `SEARCHES`
    remembers_files: bool = False  # the files that it has read are annotations of its answer
    files: str = ""  # the form of file parts: a key of `messages.FILES`
    call_ids: re.Pattern[str] = USUAL_ID
    cells: Mapping[str, Cells] = field(default_factory=dict)  # by the columns of the table


def _switch(effort: str) -> Json:
    return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}


def _effort(effort: str) -> Json:
    return {"reasoning_effort": effort}


def _two_steps(effort: str) -> Json:
    return _effort("none" if effort in ("none", "minimal") else "high")


# `reasoning.effort` → fields of the body.
EFFORTS: Mapping[str, Callable[[str], Json]] = {
    "reasoning_effort": _effort,
    "reasoning": lambda effort: {"reasoning": {"effort": effort}},
    "enable_thinking": lambda effort: {"enable_thinking": effort != "none"},
    "high_or_none": _two_steps,
    "thinking": _switch,
    "thinking_and_effort": lambda effort: (
        _switch(effort) | (_effort(effort) if effort != "none" else {})
    ),
    "effort_or_thinking": lambda effort: _effort(effort) if effort != "none" else _switch(effort),
}


_NO_LOGPROBS = Refuse("The provider tells no log probabilities.")
NO_LOGPROBS: Mapping[str, Cells] = {
    "options": {"top_logprobs": _NO_LOGPROBS},
    "includes": {"message.output_text.logprobs": _NO_LOGPROBS},
}
_AUTO_ONLY = Refuse("The provider's models choose tools by themselves only.")
_NO_IMAGES = Refuse("The provider's models read text only.")
TEXT_ONLY: Cells = dict.fromkeys(
    ("input_image.data", "input_image.url", "image_url.data", "image_url.url"), _NO_IMAGES
)
NO_LINKS: Cells = {"input_image.url": SEND_DATA, "image_url.url": SEND_DATA}
AUDIO: Cells = {"input_audio": TRANSLATE}
FILE_DATA: Cells = {"input_file.data": TRANSLATE}
FILE_LINKS: Cells = {"input_file.data": TRANSLATE, "input_file.url": TRANSLATE}
SEARCH: Cells = {
    name: Translate("The provider's own web search.")
    for name in (
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    )
}

OPENAI = Variant(
    max_tokens="max_completion_tokens",
    takes_developer=True,
    takes_text_lists=True,
    reasoning="",  # it has none; what servers behind its name write is sealed with its field
    knows_allowed_tools=True,
    verbosity=True,
    knows_original=True,
    tiers=frozenset({"auto", "default", "flex", "priority", "scale"}),
    search="web_search_options",
    files="file",
    call_ids=OPENAI_ID,
    cells={
        "parts": {**FILE_DATA, "input_file.id": TRANSLATE, **AUDIO},
        "tools": SEARCH,
    },
)
PLAIN = Variant()
VARIANTS: Mapping[str, Variant] = {
    "openai": OPENAI,
    "azure": OPENAI,
    "groq": Variant(
        max_tokens="max_completion_tokens",
        reasoning="reasoning",
        streams_formats=False,
        tiers=frozenset({"auto", "on_demand", "flex", "performance"}),
        search="browser_search",
        cells={
            **NO_LOGPROBS,
            "tools": {**SEARCH, "code_interpreter": Translate("Groq's own code execution.")},
        },
    ),
    "deepseek": Variant(
        wants_reasoning=True,
        effort="thinking_and_effort",
        takes_strict=False,
        schemas=False,
        cells={"parts": NO_LINKS},
    ),
    "mistral": Variant(
        takes_user_after_tool=False,
        takes_text_lists=True,
        takes_tool_parts=True,
        nests_audio=False,
        takes_empty_turns=False,
        reasoning="thinking",
        effort="high_or_none",
        required="any",
        stream_options=False,
        files="document_url",
        call_ids=MISTRAL_ID,
        cells={**NO_LOGPROBS, "parts": {**FILE_LINKS, **AUDIO}},
    ),
    "xai": Variant(max_tokens="max_completion_tokens", takes_developer=True),
    "dashscope": Variant(effort="enable_thinking", search="enable_search", cells={"tools": SEARCH}),
    "moonshot": Variant(
        takes_empty_turns=False,
        wants_reasoning=True,
        effort="effort_or_thinking",
        cells={**NO_LOGPROBS, "parts": NO_LINKS, "choices": {"required": _AUTO_ONLY}},
    ),
    "zai": Variant(
        effort="thinking",
        knows_none=False,
        takes_strict=False,
        schemas=False,
        search="zai",
        cells={
            **NO_LOGPROBS,
            "tools": SEARCH,
            "choices": dict.fromkeys(
                ("required", "function", "custom", "apply_patch", "shell", "local_shell"),
                _AUTO_ONLY,
            ),
        },
    ),
    "openrouter": Variant(
        remembers_files=True,
        takes_developer=True,
        takes_text_lists=True,
        reasoning="reasoning",
        effort="reasoning",
        verbosity=True,
        search="plugin",
        files="file",
        cells={
            "parts": {**FILE_LINKS, **AUDIO},
            "tools": SEARCH,
            "options": {"truncation": Translate("Its transform 'middle-out'.")},
        },
    ),
    "perplexity": Variant(
        alternates=True,
        takes_empty_turns=False,
        reasoning="",
        takes_strict=False,
        stream_options=False,
        search="web_search_options",
        files="file_url",
        cells={**NO_LOGPROBS, "parts": FILE_LINKS, "tools": SEARCH},
    ),
    "snowflake": Variant(
        max_tokens="max_completion_tokens",
        reasoning="reasoning",
        takes_strict=False,
        always_ends=False,
        cells={**NO_LOGPROBS, "parts": NO_LINKS},
    ),
    "cerebras": Variant(
        max_tokens="max_completion_tokens", reasoning="reasoning", cells={"parts": TEXT_ONLY}
    ),
    "together_ai": Variant(reasoning="reasoning"),
    "huggingface": Variant(reasoning="reasoning"),
    "hosted_vllm": Variant(reasoning="reasoning", cells={"parts": AUDIO}),
    "lm_studio": Variant(reasoning="reasoning", cells={"parts": NO_LINKS}),
    "sambanova": Variant(cells={**NO_LOGPROBS, "parts": NO_LINKS}),
    "fireworks_ai": Variant(required="any", takes_strict=False),
    "nebius": PLAIN,
    "nvidia_nim": PLAIN,
    "deepinfra": PLAIN,
}
SAME = {"fireworks": "fireworks_ai", "together": "together_ai", "vllm": "hosted_vllm"}


def known_as(provider: str) -> str:
    """The name under which a provider stands in the tables."""
    return SAME.get(provider, provider)


def variant_of(provider: str) -> Variant:
    """How a provider speaks."""
    return VARIANTS.get(known_as(provider), PLAIN)
