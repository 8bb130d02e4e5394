"""What is known of each provider, in one place (pure): one `Profile` a name, else the defaults.

Rule 1: a fact about one provider stands here and nowhere else; every module asks its profile.
Rule 2: a profile holds facts, not settings: what an operator chooses stands in `Target`.
Rule 3: a provider without a profile is a chat provider that litellm reaches with a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

OPENAI = "https://api.openai.com/v1"
# A model's name that begins so is asked in Chat Completions, at a provider of Responses too.
CHAT_ONLY = "chat_completions/"
# Headers that say for whom OpenAI counts a request, and the variables that litellm and OpenAI's own
# client read them from.
OPENAI_ACCOUNT = (
    ("openai-organization", ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID")),
    ("openai-project", ("OPENAI_PROJECT", "OPENAI_PROJECT_ID")),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The facts about one provider."""

    # Where calls go if the operator names no address: litellm would look into the environment.
    address: str = ""
    host: str = ""  # of the provider's own API; other servers may stand behind the same name
    account: tuple[tuple[str, tuple[str, ...]], ...] = ()  # headers, and their variables
    # Its Responses WebSocket.
    has_socket: bool = False
    socket_address: str = ""  # where connections go if the operator names no address
    socket_path: str = ""  # of an address that has none
    lanes: int = 1  # responses at once on one connection to `host`, told apart by `stream_id`
    # What its API does.
    compacts: bool = False  # its `host` shortens long chains by itself: `context_management`
    # How litellm reaches it.
    # Its Responses API takes what OpenAI's takes; of the others litellm changes the requests.
    speaks_plain_responses: bool = False
    # The family of its API where it is asked in no Responses API; "": only litellm speaks it.
    dialect: str = ""
    names: str = ".+"  # a pattern: models whose names it does not match are left to litellm
    routes: tuple[str, ...] = ()  # litellm's words before a model's name that say how it is asked
    address_model: str = ""  # the name by which litellm knows the address that takes every model
    signs_itself: bool = False  # with the machine's own identity: a made-up key is in the way
    takes_client: bool = False  # of litellm's own kind; most others go through OpenAI's SDK
    names_itself_in_chat: bool = False  # `aresponses` adds its word to a name that is asked in chat
    is_asked_for_models: bool = False  # a model without a price is looked up there, blocking


UNKNOWN = Profile()
CHAT = Profile(dialect="openai_chat")
PLAIN_RESPONSES = Profile(speaks_plain_responses=True, dialect="openai_chat")
COHERE = Profile(dialect="cohere", names="(?!v1/).+", routes=("v2/",))
OLLAMA = Profile(takes_client=True, is_asked_for_models=True)
SIGNING = Profile(signs_itself=True)

PROFILES: Mapping[str, Profile] = {
    "openai": Profile(
        address=OPENAI,
        host="api.openai.com",
        account=OPENAI_ACCOUNT,
        has_socket=True,
        socket_address=OPENAI,
        lanes=16,
        compacts=True,
        speaks_plain_responses=True,
        dialect="openai_chat",
    ),
    # A resource's bare address lacks the path. litellm refuses to pass `context_management` on.
    "azure": Profile(has_socket=True, socket_path="/openai/v1"),
    "xai": Profile(
        has_socket=True,
        socket_address="https://api.x.ai/v1",
        speaks_plain_responses=True,
        dialect="openai_chat",
    ),
    "anthropic": Profile(
        address="https://api.anthropic.com",
        dialect="anthropic",
        takes_client=True,
    ),
    "gemini": Profile(dialect="gemini", takes_client=True),
    "cohere": COHERE,
    "cohere_chat": COHERE,
    "ollama": OLLAMA,
    "ollama_chat": OLLAMA,
    "text-completion-openai": Profile(
        address=OPENAI, account=OPENAI_ACCOUNT, dialect="completions"
    ),
    "text-completion-codestral": Profile(
        address="https://codestral.mistral.ai/v1/fim", dialect="completions"
    ),
    "deepseek": CHAT,
    "groq": CHAT,
    "mistral": CHAT,
    "together_ai": CHAT,
    "cerebras": CHAT,
    "dashscope": CHAT,
    "deepinfra": CHAT,
    "lm_studio": CHAT,
    "moonshot": CHAT,
    "nebius": CHAT,
    "nvidia_nim": CHAT,
    "sambanova": CHAT,
    "zai": CHAT,
    # litellm completes the short names of its models.
    "fireworks_ai": Profile(dialect="openai_chat", names="accounts/.+"),
    "hosted_vllm": PLAIN_RESPONSES,
    "openrouter": replace(PLAIN_RESPONSES, names_itself_in_chat=True),
    "litellm_proxy": PLAIN_RESPONSES,
    "perplexity": CHAT,
    # litellm would ask Claude in Anthropic's dialect there.
    "snowflake": Profile(dialect="openai_chat", address_model="any"),
    # An inference provider's own name for a model is looked up, blocking.
    "huggingface": Profile(dialect="openai_chat", names="[^/]+/[^/]+", is_asked_for_models=True),
    # Names with a region or of a resource say more than a name.
    "bedrock": Profile(dialect="bedrock", names="[^/]+", routes=("converse/",), signs_itself=True),
    "bedrock_mantle": SIGNING,
    "chatgpt": SIGNING,
    "github_copilot": SIGNING,
    "oci": SIGNING,
    "sagemaker": SIGNING,
    "sagemaker_chat": SIGNING,
    "vertex_ai": SIGNING,
    "vertex_ai_beta": SIGNING,
}
LANES = {profile.host: profile.lanes for profile in PROFILES.values() if profile.host}


def profile_of(provider: str) -> Profile:
    """The provider's profile; the defaults for a provider without one."""
    return PROFILES.get(provider, UNKNOWN)


def account_headers(provider: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that say for whom a request to the provider is, as the environment has them."""
    found = {
        header: next(filter(None, map(environ.get, variables)), "")
        for header, variables in profile_of(provider).account
    }
    return {header: value for header, value in found.items() if value}


def lanes_at(host: str) -> int:
    """How many responses a host runs at once on one connection, by whichever name it is reached."""
    return LANES.get(host, 1)
