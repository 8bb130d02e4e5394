"""Profiles: each fact about each provider is what the bridge does."""

import ast
import dataclasses
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

import ws_bridge.upstream
from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.compaction import compacts_natively
from ws_bridge.upstream.dialects.base import ProviderRequest
from ws_bridge.upstream.errors import NeverBegan
from ws_bridge.upstream.litellm import client, models
from ws_bridge.upstream.litellm.access import _found as access_of
from ws_bridge.upstream.litellm.call import NO_KEY, Call, access
from ws_bridge.upstream.model_table import build
from ws_bridge.upstream.prefer_websocket import has_socket
from ws_bridge.upstream.profiles import PROFILES, Profile, account_headers, profile_of
from ws_bridge.upstream.websocket.connection import ProviderAddress

OTHER = "https://elsewhere.example"
ALL = {**PROFILES, "nosuch": Profile()}


def target(name, **more):
    return Target("m", f"{name}/of-its-own", **more)


def lanes(name, host):
    return ProviderAddress.of(target(name, api_base=f"https://{host}/v1")).lanes


def address(name, profile):
    assert access(target(name)).get("api_base", "") == profile.address
    assert access(target(name, api_base=OTHER))["api_base"] == OTHER


def host(name, profile):
    """Lanes and compaction belong to it, and not to other servers behind the provider's name."""
    assert lanes(name, "elsewhere.example") == 1
    assert not compacts_natively(target(name, api_base=OTHER))
    assert profile.host or (profile.lanes, profile.compacts) == (1, False)


def account(name, profile):
    environ = {variable: variable for _, variables in profile.account for variable in variables}
    first = {header: variables[0] for header, variables in profile.account}
    assert account_headers(name, environ) == first
    last = {variables[-1]: "x" for _, variables in profile.account}
    assert account_headers(name, last) == dict.fromkeys(first, "x")
    assert account_headers(name, {}) == {}


def has_socket_(name, profile):
    assert has_socket(target(name)) is profile.has_socket
    assert not has_socket(Target("m", f"{name}/chat_completions/x"))


def socket_address(name, profile):
    if not profile.socket_address:
        with pytest.raises(NeverBegan):
            ProviderAddress.of(target(name))
        return
    url = "wss" + profile.socket_address.removeprefix("https") + "/responses"
    assert ProviderAddress.of(target(name)).url == url


def socket_path(name, profile):
    url = f"wss://elsewhere.example{profile.socket_path}/responses"
    assert ProviderAddress.of(target(name, api_base=OTHER)).url == url
    assert ProviderAddress.of(target(name, api_base=OTHER + "/x")).url.endswith(
        "example/x/responses"
    )


def lanes_(name, profile):
    assert not profile.host or lanes(name, profile.host) == profile.lanes
    assert not profile.host or lanes("nosuch", profile.host) == profile.lanes


def compacts(name, profile):
    assert compacts_natively(target(name)) is profile.compacts
    if profile.host:
        there = target(name, api_base=f"https://eu.{profile.host}/v1")
        assert compacts_natively(there) is profile.compacts


def speaks_plain_responses(name, profile):
    if profile.speaks_plain_responses:
        plain = Target("m", f"{name}/of-its-own", f"{OTHER}/v1")
        assert access_of(plain).url == f"{OTHER}/v1/responses"


def dialect(name, profile):
    like = ("of-its-own", "org/model", "accounts/a/models/x")
    fits = next(fit for fit in like if re.fullmatch(profile.names, fit))
    route = next(iter(profile.routes), "")  # releases of litellm send names without one elsewhere
    asked = Target("m", f"{name}/{route}{fits}")
    plain = profile.speaks_plain_responses and models.is_native(asked.model)
    assert models.family_of(asked) == (models.RESPONSES if plain else profile.dialect)
    assert models.family_of(dataclasses.replace(asked, via="litellm")) == ""
    assert not models.is_native(f"{name}/chat_completions/x")


def names(name, profile):
    if profile.names != Profile().names:
        odd = Target("m", f"{name}/v1/to/it")
        assert models.family_of(odd) == ""


def routes(name, profile):
    for word in (*profile.routes, "chat_completions/"):
        assert models.name_of(f"{name}/{word}x") == ("x", models.split(f"{name}/x")[1])


def address_model(name, profile):
    if profile.address_model:
        claude, other = (
            access_of(Target("m", f"{name}/{model}", f"{OTHER}/v1")) for model in ("claude-x", "x")
        )
        assert claude.url == other.url


def signs_itself(name, profile):
    assert access(target(name)).get("api_key") == (None if profile.signs_itself else NO_KEY)
    assert access(target(name, api_key="sk-x"))["api_key"] == "sk-x"


def takes_client(name, profile):
    call = Call(target(name), ProviderRequest({}), is_native=False)
    assert ("client" in client._client_of(call)) is profile.takes_client
    assert "client" in client._client_of(dataclasses.replace(call, is_native=True))


def names_itself_in_chat(name, profile):
    entry = {"name": "m", "model": f"{name}/chat_completions/x", "via": "litellm"}
    config = Config.model_validate({"models": (entry,)})
    with pytest.raises(ConfigError) if profile.names_itself_in_chat else nullcontext():
        build(config, {})


def is_asked_for_models(name, profile):
    models.register([target(name)])
    entry = models.litellm.model_cost.get(f"{name}/of-its-own", {})
    assert (entry.get("mode") == "chat") is profile.is_asked_for_models


FACTS = {
    check.__name__.removesuffix("_"): check
    for check in (
        address,
        host,
        account,
        has_socket_,
        socket_address,
        socket_path,
        lanes_,
        compacts,
        speaks_plain_responses,
        dialect,
        names,
        routes,
        address_model,
        signs_itself,
        takes_client,
        names_itself_in_chat,
        is_asked_for_models,
    )
}


def test_every_fact_has_its_check():
    assert list(FACTS) == [field.name for field in dataclasses.fields(Profile)]


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("fake")  # closes the client of each test's loop
async def test_a_fact_is_what_the_bridge_does(name, fact):
    FACTS[fact](name, ALL[name])


def test_a_provider_without_a_profile_has_the_defaults():
    assert profile_of("nosuch") == Profile()


# The names of families; they are no providers.
FAMILIES = {
    ("litellm/models.py", "bedrock"),
    *(("litellm/access.py", family) for family in ("anthropic", "bedrock", "cohere", "gemini")),
}


def test_no_module_but_a_dialect_names_a_provider():
    home = Path(ws_bridge.upstream.__file__).parent
    named = {
        (path.relative_to(home).as_posix(), node.value)
        for path in home.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in PROFILES
    }
    known = ("profiles.py", "dialects/")  # a dialect has the facts of its own family
    assert {one for one in named if not one[0].startswith(known)} == FAMILIES
