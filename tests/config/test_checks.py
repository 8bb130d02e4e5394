"""What holds between keys: each mistake is one line with the remedy, and all are told at once."""

import pytest
from support.refused_config import MODEL, refusal, refusals

from ws_bridge.config import load
from ws_bridge.config.addresses import is_loopback
from ws_bridge.errors import ConfigError


@pytest.mark.parametrize("value", [None, "", " , ,"])
def test_a_key_variable_that_is_not_set_is_refused(write, value):
    path = write('[auth]\nkeys_env = ["CLIENT_KEYS"]\n')
    message = refusal(path, {} if value is None else {"CLIENT_KEYS": value})
    assert "'auth.keys_env'" in message
    assert "CLIENT_KEYS is not set: set it" in message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "bridge.example"])  # noqa: S104 - the point of it
def test_a_public_address_without_keys_is_refused(write, host):
    assert "'server.host'" in refusal(write(f'[server]\nhost = "{host}"\n'))
    assert "listen on 127.0.0.1" in refusal(write(MODEL), host=host)
    path = write(f'[server]\nhost = "{host}"\n[auth]\nkeys_env = ["CLIENT_KEYS"]\n')
    assert load(path, {"CLIENT_KEYS": "a"}).config.server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_keys(write, host):
    assert is_loopback(host)
    assert load(write(f'[server]\nhost = "{host}"\n'), {}).config.server.host == host


def test_every_address_of_a_list_is_public_or_local(write):
    local = '[server]\nlisten = ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/x"]\n'
    assert load(write(local), {})
    message = refusal(write(local.replace('"[::1]:1"', '"[::]:1"')))
    assert "key 'server.listen': :: is a public address" in message


SECRETS = ["auth.secret_env", "store.encrypt_with_env"]


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("value", [None, "", " , ", "too short", f"{'a' * 32},short", "plain"])
def test_a_secret_that_is_missing_or_could_be_guessed_is_refused_and_not_repeated(
    write, key, value
):
    section, _, name = key.partition(".")
    path = write(f'[{section}]\n{name} = "SECRET"\n')
    message = refusal(path, {} if value is None else {"SECRET": value})
    assert f"key '{key}': the environment variable SECRET must hold" in message
    assert "short" not in message


@pytest.mark.parametrize("key", SECRETS)
def test_good_secrets_are_taken(write, key):
    section, _, name = key.partition(".")
    path = write(f'[{section}]\n{name} = "SECRET"\n')
    for value in ("a" * 32, f"{'a' * 32}, {'b' * 32}", f"plain,{'a' * 32}"):
        config = load(path, {"SECRET": value}).config
        assert getattr(getattr(config, section), name) == "SECRET"


def test_two_entries_of_one_name_share_its_load(write):
    assert [entry.name for entry in load(write(MODEL + MODEL), {}).config.models] == ["m", "m"]


@pytest.mark.parametrize("mode", ["auto", "managed", "native"])
def test_an_entry_has_one_of_three_modes(write, mode):
    assert load(write(MODEL + f'mode = "{mode}"\n'), {}).config.models[0].mode == mode


WILD = '[[models]]\nname = "w-*"\nmodel = "openai/*"\n'


@pytest.mark.parametrize(
    ("entry", "fallbacks"),
    [
        (MODEL, ["m"]),  # a cycle is no mistake
        (MODEL, ["w-1", "m"]),
        (WILD, ["w-*", "m", "w-1"]),
    ],
)
def test_a_fallback_is_a_name_that_some_entry_serves(write, entry, fallbacks):
    other = WILD if entry is MODEL else MODEL
    config = load(write(f"{entry}fallbacks = {fallbacks}\n{other}"), {}).config
    assert config.models[0].fallbacks == tuple(fallbacks)


@pytest.mark.parametrize(
    ("entry", "fallback", "part"),
    [
        (MODEL, "n", "no entry serves 'n'"),
        (MODEL, "w-", "no entry serves 'w-'"),
        (MODEL, "w-*", "the entry's name has none"),
        (WILD, "x-*", "no entry serves 'x-*'"),
    ],
)
def test_a_fallback_that_leads_nowhere_is_refused(write, entry, fallback, part):
    other = WILD if entry is MODEL else MODEL
    message = refusal(write(f'{entry}fallbacks = ["{fallback}"]\n{other}'))
    assert "key 'models.fallbacks' of " in message
    assert part in message


@pytest.mark.parametrize(
    ("name", "model"),
    [("a*b*", "openai/a*b"), ("m", "openai/*"), ("*", "openai/*-*")],
)
def test_a_star_the_name_does_not_have_is_refused(write, name, model):
    message = refusal(write(f'[[models]]\nname = "{name}"\nmodel = "{model}"\n'))
    assert "'models.name'" in message
    assert "use at most one *" in message


def test_half_of_tls_is_refused(write):
    message = refusal(write('[server]\ntls_cert = "cert.pem"\n'))
    assert "set both" in message


@pytest.mark.parametrize("url", ["", "redis", "http://x", "redis:/x", "unix:///tmp/x"])
def test_a_store_of_another_kind_is_refused(write, url):
    assert "'store.url'" in refusal(write(f'[store]\nurl = "{url}"\n'))


def test_a_store_password_that_is_not_set_is_refused(write):
    text = '[store]\nurl = "redis://localhost"\npassword_env = "NO_SUCH_VARIABLE"\n'
    assert "NO_SUCH_VARIABLE" in refusal(write(text))


# Names that lead nowhere


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("models = []\n", "there is no [[models]] entry, so that no client can be served: add one"),
        (MODEL.replace("openai/", "opneai/"), "no provider 'opneai': is it 'openai'? Else "),
        (MODEL.replace("openai/", "zzzz/"), "no provider 'zzzz': docs.litellm.ai"),
        ('[background]\npolling = ["openia"]\n', "'background.polling': there is no provider"),
        ('[background]\nnative_models = ["n"]\n', "no entry has the name 'n'"),
        ('[server]\nallowed_origins = ["app.example"]\n', "'server.allowed_origins[1]': use an"),
        ('[server]\nallowed_origins = ["*"]\n', "such as https://app.example"),
        ('[store]\nurl = "redis://a"\ntls_ca = "/ca.pem"\n', "is without TLS: use rediss://"),
        ('[store]\nurl = "rediss://a"\ntls_cert = "/c.pem"\n', "'store.tls_cert' and"),
        ('[store]\nprefix = "{a}"\n', "key 'store.prefix'"),
        ("[server]\nworkers = 2\n", "2 processes cannot share the store memory://"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(write, text, part):
    assert part in refusal(write(text))


@pytest.mark.parametrize(
    "address", ["http://[", "127.0.0.1:1/v1", "ftp://a", "https:///v1", "http://a:b", "sk-a-key"]
)
def test_an_address_that_cannot_be_asked_is_one_line_that_does_not_repeat_it(write, address):
    """Also for a reload: an address that is found to be none later could not be taken back."""
    line = refusal(write(f'{MODEL}api_base = "{address}"\n'))
    assert "key 'models[1].api_base': it is no address" in line
    assert address not in line


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:1/v1", "https://[::1]:8/", "HTTPS://a"])
def test_good_addresses_are_taken(write, address):
    assert load(write(f'{MODEL}api_base = "{address}"\n'), {}).config.models[0].api_base == address


def test_good_names_are_taken(write):
    text = '[background]\npolling = ["openai"]\nnative_models = ["m"]\n[server]\nallowed_origins = '
    assert load(write(text + '["https://a.example", "tauri://localhost", "http://a:1/"]\n' + MODEL))


# Secrets in wrong places

PASTED = [
    "sk-proj-0123456789abcdef",
    "gsk_0123456789abcdefABCD",
    "hf_abcdefghij",
    "AIzaSyA1234567",
    "0123456789abcdef0123456789abcdef",
    "abcDEF0123456789abcDEF0123456789",
    "a secret with blanks",
    "lowercaseonlysecretofmine",
]
PLACES = {
    "auth.keys_env[1]": '[auth]\nkeys_env = ["{}"]\n',
    "auth.secret_env": '[auth]\nsecret_env = "{}"\n',
    "store.password_env": '[store]\npassword_env = "{}"\n',
    "store.encrypt_with_env": '[store]\nencrypt_with_env = "{}"\n',
    "models[1].api_key_env": MODEL + 'api_key_env = "{}"\n',
    "auth.keys_files": '[auth]\nkeys_files = ["{}"]\n',
    "store.password_file": '[store]\npassword_file = "{}"\n',
    "models[1].api_key_file": MODEL + 'api_key_file = "{}"\n',
}


@pytest.mark.parametrize(("key", "text"), PLACES.items(), ids=PLACES)
@pytest.mark.parametrize("secret", PASTED)
def test_a_secret_in_place_of_its_name_is_repeated_nowhere(write, key, text, secret):
    """Most are refused as no name. One that could be a name is one that is not set."""
    try:
        settings = load(write(text.format(secret)), {})
    except ConfigError as refused:
        (line,) = refused.problems
        assert secret not in line
        assert key.removesuffix("[1]") in line
    else:  # a model without its key is off
        (entry,) = settings.config.models
        assert entry.off_reason({}) == "its variable is not set"


@pytest.mark.parametrize("name", ["SERVER__PORT", "SERVER__LISTEN", "MODELS", "NOT__THERE"])
def test_a_secret_in_a_variable_of_a_key_is_repeated_nowhere(write, name):
    variable = f"WS_BRIDGE__{name}"
    (line,) = refusals(write(""), {variable: "canary-of-a-secret"})
    assert line.startswith(f"{variable}: ")
    assert "canary" not in line


# The page of metrics, and callbacks


PAGE = '[metrics]\nlisten = "{}"\n'


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "[::1]:9464", "localhost:0", ""])
def test_a_page_for_this_machine_needs_no_key(write, listen):
    assert load(write(PAGE.format(listen)), {}).config.metrics.listen == listen


@pytest.mark.parametrize("listen", ["9464", ":9464", "unix:/x", "127.0.0.1", "a:b", "a:99999"])
def test_what_is_no_address_of_a_page_is_refused(write, listen):
    assert "key 'metrics.listen': " in refusal(write(PAGE.format(listen)))


def test_a_page_for_others_needs_a_key(write, tmp_path):
    public = PAGE.format("0.0.0.0:9464")
    message = refusal(write(public))
    assert "key 'metrics.listen': 0.0.0.0 is a public address: name the page's key in" in message
    named = public + 'key_env = "PAGE_KEY"\n'
    assert "PAGE_KEY is not set: set it to the key of the page" in refusal(write(named))
    assert load(write(named), {"PAGE_KEY": "x"}).secrets == {"PAGE_KEY": "x"}
    (tmp_path / "key").write_text("from a file\n")
    settings = load(write(public + f'key_file = "{tmp_path}/key"\n'), {})
    assert settings.secrets[settings.config.metrics.key] == "from a file"


def test_callbacks_are_those_that_litellm_has_under_their_names(write):
    form = '[telemetry]\nlitellm_callbacks = ["{}", "otel"]\n'
    assert load(write(form.format("langfuse")), {}).config.telemetry.litellm_callbacks
    message = refusal(write(form.format("langfus")))
    assert "key 'telemetry.litellm_callbacks': litellm has no callback 'langfus'" in message
    assert "is it 'langfuse'?" in message


COLLECTOR = '[telemetry]\notlp_endpoint = "{}"\n'


@pytest.mark.parametrize(
    "endpoint",
    ["", "http://127.0.0.1:4318", "https://c.example/otlp", "http://[::1]:4318/v1/traces"],
)
def test_a_collector_has_an_address(write, endpoint):
    assert load(write(COLLECTOR.format(endpoint)), {}).config.telemetry.otlp_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "c.example:4318",
        "grpc://c",
        "http://",
        "http://u:sk-pass@c",
        "http://c?key=sk-pass",
        "http://c d",
    ],
)
def test_what_is_no_address_of_a_collector_is_refused_and_not_repeated(write, endpoint):
    message = refusal(write(COLLECTOR.format(endpoint)))
    assert "key 'telemetry.otlp_endpoint': use the collector's address" in message
    assert "sk-pass" not in message


def test_a_trace_is_not_passed_on_over_a_providers_socket(write):
    entry = '[[models]]\nname = "m"\nmodel = "openai/m"\npass_traceparent = true\nmode = "{}"\n'
    for mode in ("auto", "managed"):
        assert load(write(entry.format(mode)), {}).config.models[0].pass_traceparent
    message = refusal(write(entry.format("native")))
    assert "key 'models[1].pass_traceparent': a provider's WebSocket has one head" in message
