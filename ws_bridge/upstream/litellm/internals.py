"""The parts of litellm that its documentation does not promise, each named once.

Rule 1: no other module spells one of these names, so that a new release is checked in one place:
`tests/upstream/litellm/test_internals.py` plays a stream through each part and fails with its name.
Rule 2: ``of`` raises where the bridge cannot do without a part; ``find`` returns None.
Rule 3: this module does not import litellm when it is imported; `load` does.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LitellmPart:
    """An attribute of one of litellm's objects or modules."""

    name: str
    use: str

    def find(self, holder: Any) -> Any:
        """The attribute; None where it is missing."""
        return getattr(holder, self.name, None)

    def of(self, holder: Any) -> Any:
        """The attribute. Raises ``MissingPart``."""
        found = self.find(holder)
        if found is None:
            raise MissingPart(self.name)
        return found


class MissingPart(AttributeError):
    """This release of litellm lacks a part that the bridge needs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"litellm lacks {name}: install a release that pyproject.toml allows")


def load(path: str) -> Any:
    """A module of litellm, or what one holds, by its dotted path. Raises ``MissingPart``."""
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        raise MissingPart(path) from None


# The object that `aresponses` returns, and the stream of chat chunks inside of a bridged answer.
CHAT_STREAM = LitellmPart(
    "litellm_custom_stream_wrapper", "an answer's chat chunks; its own events are lossy"
)
FINISH_REASON = LitellmPart(
    "received_finish_reason", "whether the provider has ended a stream of chunks"
)
EARLY_FINISH_REASON = LitellmPart("intermittent_finish_reason", "the same, before the last chunk")
LOGGER = LitellmPart("logging_obj", "logs and costs of one call")
BOOKED_LATER = LitellmPart(
    "_on_deferred_stream_complete", "a set slot keeps litellm from logging a stream's end"
)
PRETENDED = "Mock"  # the class of an answer that litellm only pretends to stream begins so

# For every call.
CLIENT = LitellmPart("client", "the httpx client inside of litellm's own")
SDK_CLIENT = LitellmPart("aclient_session", "the httpx client of providers behind OpenAI's SDK")
NEW_CLIENT = LitellmPart("create_client", "makes the httpx client inside of litellm's own")
CHAT_ONLY = "use_chat_completions_api"  # an argument: a provider of Responses is asked in chat
NO_MCP = "_skip_mcp_handler"  # an argument: litellm runs no MCP tool by itself

# The way to a provider, where litellm's own code for it is asked for one part.
CHAT_CONFIG = LitellmPart("get_provider_chat_config", "what litellm knows of a chat provider")
RESPONSES_CONFIG = LitellmPart(
    "get_provider_responses_api_config", "what litellm knows of a provider with a Responses API"
)
CHAT_URL = LitellmPart("get_complete_url", "where a provider is asked")
CREDENTIALS = LitellmPart("validate_environment", "the headers that prove who asks")
AWS_REGION = LitellmPart("_get_aws_region_name", "the region of the machine's own settings")
AWS_CREDENTIALS = LitellmPart("get_credentials", "the machine's own identity")
AWS_ENDPOINT = LitellmPart("get_runtime_endpoint", "where a region's models are asked")
AWS_HEADERS = LitellmPart("get_request_headers", "the signature of one request")

# The lists of litellm's callbacks.
LISTENERS = (
    LitellmPart("callbacks", "for everything"),
    LitellmPart("success_callback", "for answers"),
    LitellmPart("failure_callback", "for failures"),
    LitellmPart("_async_success_callback", "for answers, awaited"),
    LitellmPart("_async_failure_callback", "for failures, awaited"),
)

MAKE_CALLBACK = "litellm.litellm_core_utils.litellm_logging._init_custom_logger_compatible_class"

# How litellm guesses the properties of unknown models: by the patterns of its price map.
GUESSES = "litellm.litellm_core_utils.fallback_generalizations"
RULES = LitellmPart("_registry", "holds the patterns")
GUESSERS = (
    LitellmPart("match_capabilities", "the capabilities of a model"),
    LitellmPart("match_routing", "the provider of a model"),
    LitellmPart("match_fill_missing", "the missing fields of a model's entry"),
)

# Classes, by the path of their import.
HTTP_HANDLER = "litellm.llms.custom_httpx.http_handler.AsyncHTTPHandler"
CHAT_BRIDGE = (
    "litellm.responses.litellm_completion_transformation.transformation"
    ".LiteLLMCompletionResponsesConfig"
)
RESPONSE_IDS = "litellm.responses.utils.ResponsesAPIRequestUtils"
BEDROCK = "litellm.llms.bedrock.chat.converse_handler.BedrockConverseLLM"
BEDROCK_MODELS = "litellm.llms.bedrock.common_utils.BedrockModelInfo"
BEARER_OF = "litellm.llms.bedrock.base_aws_llm.bedrock_bearer_token"
GEMINI_URL = "litellm.llms.vertex_ai.common_utils.get_gemini_url"
TLS = "litellm.llms.custom_httpx.http_handler.get_ssl_configuration"
PROVIDER_NAMES = "litellm.types.utils.LlmProviders"
LITELLM_PARAMS = "litellm.types.router.GenericLiteLLMParams"
PROVIDER_CONFIGS = "litellm.utils.ProviderConfigManager"
