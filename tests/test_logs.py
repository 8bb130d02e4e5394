"""The log: no secret, no content, one line a record."""

import io
import logging

import pytest

from ws_bridge import logs
from ws_bridge.config import Config, Settings

SHAPELESS = "correct horse battery"


@pytest.fixture
def written():
    """The text of a handler of all libraries' log lines, while the records are the bridge's."""
    root, ours, text = logging.getLogger(), logging.getLogger(logs.OURS), io.StringIO()
    handler = logging.StreamHandler(text)
    factory, level, own = logging.getLogRecordFactory(), root.level, ours.level
    quiet = {name: logging.getLogger(name).level for name in logs.SILENT}
    logs.set_up("debug", [SHAPELESS, "op"])
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    logging.setLogRecordFactory(factory)
    root.setLevel(level)
    ours.setLevel(own)
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(
    ("message", "written_as"),
    [
        ("key sk-proj-abc_DEF123 refused", "key [redacted] refused"),
        ("{'Authorization': 'Bearer abc.d-ef'}", "{'Authorization': 'Bearer [redacted]'}"),
        ("authorization: Basic dXNlcjpwdw==", "authorization: Basic [redacted]"),
        ("x-goog-api-key: AIzaSyD", "x-goog-api-key: [redacted]"),
        ("responses, openai-insecure-api-key.abc", "responses, openai-insecure-api-key.[redacted]"),
        ("GET /v1/models?api_key=abc HTTP/1.1", "GET /v1/models?[redacted] HTTP/1.1"),
        ("redis://me:secret@host:6379/0", "redis://[redacted]@host:6379/0"),
        (f"a key of no shape: {SHAPELESS}!", "a key of no shape: [redacted]!"),
        ("opportunity?", "opportunity?"),
        ("id=resp_1 model=gpt-5 seconds=0.123", "id=resp_1 model=gpt-5 seconds=0.123"),
    ],
)
@pytest.mark.catalogue("S9")
def test_a_secret_is_taken_out_and_nothing_else(written, message, written_as):
    logging.getLogger("any.library").warning("%s", message)
    assert written.getvalue() == written_as + "\n"


@pytest.mark.parametrize("forged", ["m\n2026 ERROR all is lost", "m\r\x1b[2J", "m\x85", "m\u2028x"])
@pytest.mark.catalogue("B18")
def test_a_client_cannot_write_lines_of_its_own(written, forged):
    logging.getLogger("ws_bridge.jobs.spec").info("response model=%s", forged)
    line = written.getvalue()
    assert line.splitlines() == [line.removesuffix("\n")]
    assert line.removesuffix("\n").isprintable()


FORGED = {
    "a space": ("m outcome=completed", '"m outcome=completed"'),
    "a line": ("m\noutcome=completed", '"m\\noutcome=completed"'),
    "a quote": ('m" outcome="x', '"m\\" outcome=\\"x"'),
    "a wide space": ("m\u2003outcome=x", '"m\\u2003outcome=x"'),
    "a turn": ("m\u202eoutcome", '"m\\u202eoutcome"'),
    "a backslash": ("m\\n", '"m\\\\n"'),
    "nothing": ("", '""'),
    "half a character": ("m\ud800", '"m\\ud800"'),
    "a secret with a quote": (f"the {SHAPELESS}", '"the [redacted]"'),
    "a plain name": ("openai/gpt-5:x@1", "openai/gpt-5:x@1"),
    "another script": ("модель", "модель"),
}


@pytest.mark.parametrize(("value", "written_as"), FORGED.values(), ids=FORGED)
@pytest.mark.catalogue("A13")
def test_a_value_is_one_value_whatever_it_holds(written, value, written_as):
    logging.getLogger("ws_bridge.jobs.spec").info(
        "response id=%s n=%d model=%s", "resp_1", 7, value
    )
    assert written.getvalue() == f"response id=resp_1 n=7 model={written_as}\n"


def test_what_is_no_field_is_written_as_it_is(written):
    log = logging.getLogger("ws_bridge")
    log.info("store_unfit %s", "it says why, in words")
    log.info("done 100%% of=%s", 5)
    log.info("nothing of 100%")
    logging.getLogger("another.library").warning("model=%s", "a b")
    expected = "store_unfit it says why, in words\ndone 100% of=5\nnothing of 100%\nmodel=a b\n"
    assert written.getvalue() == expected


def test_an_exception_has_its_place_and_class_and_not_the_content_it_quotes(written):
    try:
        try:
            int("the client's own words")
        except ValueError as inner:
            raise ExceptionGroup("the client's own words", [inner]) from inner
    except ExceptionGroup:
        logging.getLogger("ws_bridge").exception("crashed")
    text = written.getvalue()
    assert "builtins.ValueError" in text
    assert "builtins.ExceptionGroup" in text
    assert "test_logs.py" in text
    assert 'int("' in text, "a line of the source"
    assert "invalid literal" not in text


def test_the_message_of_an_exception_about_code_or_files_stays_without_secrets(written):
    failure = ConnectionError(f"no answer of\nredis://me:pass@host to sk-{'abcdef' * 2}")
    logging.getLogger("ws_bridge").error("away", exc_info=failure, stack_info=True)
    text = written.getvalue()
    line = r"ConnectionError: no answer of\x0aredis://[redacted]@host to [redacted]"
    assert f"builtins.{line}\n" in text


def test_a_chain_that_never_ends_is_cut(written):
    first, second = RuntimeError("one"), RuntimeError("two")
    first.__context__, second.__context__ = second, first
    logging.getLogger("ws_bridge").error("loop", exc_info=first)
    assert written.getvalue().count("RuntimeError") == logs.CHAIN


def test_other_libraries_log_from_warning_on_and_aiohttp_not_at_all(written):
    logging.getLogger("openai._base_client").info("Request options: %s", {"input": "content"})
    logging.getLogger("websockets.client").debug("> TEXT content")
    logging.getLogger("aiohttp.server").error("bad header content")
    assert written.getvalue() == ""
    logging.getLogger("ws_bridge.jobs.job").debug("heard")
    assert written.getvalue() == "heard\n"


def test_all_secrets_that_the_configuration_names_are_known():
    config = Config.model_validate(
        {
            "auth": {"keys_env": ["KEYS"], "secret_env": "SECRET"},
            "store": {"password_env": "PASSWORD", "encrypt_with_env": "ENCRYPT"},
            "models": [{"name": "m", "model": "openai/m", "api_key_env": "KEY"}],
        },
        strict=False,
    )
    environ = {"KEYS": "first-one, second", "PASSWORD": "pass,word", "KEY": "provider's"}
    environ |= {"SECRET": "new-secret,old-secret", "ENCRYPT": "plain,another"}
    expected = {"first-one", "second", "pass,word", "provider's", "old-secret", "another"}
    assert expected <= set(logs.secrets_of(Settings(config, environ)))
