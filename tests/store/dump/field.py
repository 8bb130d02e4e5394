"""What a dump is made and read with: providers of every family, a server's configuration."""

from collections.abc import Iterator
from typing import Any

from upstreams.sockets import FakeSockets

Json = dict[str, Any]

KEY, OTHER_KEY = "client-key-one", "client-key-two"
ENVIRON = {"CLIENT_KEYS": f"{KEY},{OTHER_KEY}", "KEY": "sk-operators-own-key"}

# family: what litellm is asked for, the path of the provider's address, and more of the entry.
FAMILIES: dict[str, tuple[str, str, Json]] = {
    "native": ("openai/gpt-*", "/v1", {"mode": "managed"}),
    "socket": ("openai/gpt-*", "/v1", {"mode": "native"}),
    "vllm": ("hosted_vllm/gpt-*", "/v1", {"mode": "managed"}),
    "chat": ("groq/m-*", "/v1", {}),
    "sdk": ("openai/chat_completions/m-*", "/v1", {}),
    "anthropic": ("anthropic/claude-*", "", {}),
    "gemini": ("gemini/gemini-*", "", {}),
    "ollama": ("ollama_chat/o-*", "", {}),
    "own": ("openai/gpt-*", "/v1", {"mode": "managed"}),  # the provider's own background mode
    "falls": ("openai/gpt-*", "/v1", {"mode": "managed", "fallbacks": ["anthropic-thinking"]}),
}
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}
    for name in ("get_weather", "get_time")
]


def config_of(base_url: str, store_url: str, lease_seconds: int) -> Json:
    """All families at the loopback providers, and the demo."""
    models = [
        {
            "name": f"{family}-*",
            "model": model,
            "api_base": base_url + path,
            "api_key_env": "KEY",
            "retries": 0,
            **more,
        }
        for family, (model, path, more) in FAMILIES.items()
    ]
    return {
        "server": {"drain_seconds": 0.2},
        "auth": {"keys_env": ["CLIENT_KEYS"]},
        "store": {"url": store_url, "lease_seconds": lease_seconds, "backlog_mib": 1},
        "background": {"native_models": ["own-*"]},
        "limits": {"creates_per_minute": 0, "running_per_key": 0},
        "models": [*models, {"name": "demo", "model": "demo/demo", "drop_params": True}],
    }


def at_provider(model: str) -> str:
    """The provider's name of one of our clients' models: where its gate is."""
    family, _, scenario = model.partition("-")
    return FAMILIES[family][0].rpartition("/")[2].replace("*", scenario)


def asked(fake: FakeSockets, model: str) -> list[Json]:
    """What the provider was asked for one of our clients' models, in order, on any transport."""
    name = at_provider(model)
    frames = [frame for frame in fake.creates() if frame["model"] == name]
    posts = [
        entry["body"]
        for entry in fake.log
        if isinstance(entry["body"], dict)
        and (entry["body"].get("model") == name or f"/models/{name}:" in entry["path"])
    ]
    return frames + posts


def texts(value: Any) -> Iterator[str]:
    """Every string of a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)


def in_order(words: list[str], request: Any) -> bool:
    """Whether a provider was sent all the words, one after the other."""
    sent = texts(request)
    return all(any(word in text for text in sent) for word in words)
