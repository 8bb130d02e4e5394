"""How much a model on Bedrock is to think → the fields that say it (pure).

Rule 1: Claude with a budget writes more tokens than it thinks; it does not think where a tool is
forced, nor where it would go on from calls without its own thinking before them: the API refuses
both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.bedrock.messages import ConverseHistory
from ws_bridge.upstream.dialects.bedrock.models import ThinkingKind, thinking_of
from ws_bridge.upstream.dialects.options import effort_of
from ws_bridge.upstream.dialects.table import refused

LEAST_BUDGET = 1024  # tokens, the API's own limit
ANSWER = 8192  # tokens beside the budget, where the client sets no limit
BUDGETS = {
    "minimal": LEAST_BUDGET,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
_THREE = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
# The effort in the words of each kind of model.
EFFORTS = {
    ThinkingKind.ADAPTIVE: _THREE | {"xhigh": "max", "max": "max"},
    ThinkingKind.NOVA: _THREE,
    ThinkingKind.EFFORT: _THREE,
}
TOKENS_PATH = "/usage/output_tokens_details"  # of Claude's own answer: how much it thought


@dataclass(frozen=True, slots=True)
class ThinkingRequest:
    """What a request says of thinking."""

    fields: Json = field(default_factory=dict)  # `additionalModelRequestFields`
    max_tokens: int = 0  # the limit of the answer that a budget needs; 0: as the client says
    response_fields: tuple[str, ...] = ()


def thinking_of_request(
    options: Json, given: WriterInput, history: ConverseHistory, *, is_forced: bool
) -> ThinkingRequest:
    """The fields. Raises a 400 for an effort that the model does not take."""
    effort, how = effort_of(options, given), thinking_of(given.model)
    if how is ThinkingKind.NOVA and effort == "none":
        return ThinkingRequest({"reasoningConfig": {"type": "disabled"}})
    if effort in ("", "none"):
        return ThinkingRequest()
    if how is ThinkingKind.BUDGET:
        return _budget(effort, options, given, is_off=is_forced or history.goes_on_unsigned)
    word = EFFORTS.get(how, {}).get(effort)
    if word is not None:
        return _effort(word, how, is_forced=is_forced)
    if given.drop_params:
        return ThinkingRequest()
    raise refused("effort", effort, "reasoning.effort")


def _effort(word: str, how: ThinkingKind, *, is_forced: bool) -> ThinkingRequest:
    if how is ThinkingKind.NOVA:
        return ThinkingRequest({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}})
    if how is ThinkingKind.EFFORT:
        return ThinkingRequest({"reasoning_effort": word})
    fields: Json = {"output_config": {"effort": word}}
    if not is_forced:
        fields["thinking"] = {"type": "adaptive"}
    return ThinkingRequest(fields, response_fields=(TOKENS_PATH,))


def _budget(effort: str, options: Json, given: WriterInput, *, is_off: bool) -> ThinkingRequest:
    if effort not in BUDGETS:
        raise refused("effort", effort, "reasoning.effort")
    limit = options.get("max_output_tokens")
    if is_off or (limit is not None and limit <= LEAST_BUDGET):
        return ThinkingRequest()
    most = limit or given.max_output_tokens or BUDGETS[effort] + ANSWER
    budget = min(BUDGETS[effort], max(LEAST_BUDGET, most // 2))
    fields: Json = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    needed = 0 if limit else given.max_output_tokens or budget + ANSWER
    return ThinkingRequest(fields, needed, (TOKENS_PATH,))
