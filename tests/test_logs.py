"""The log: no secret, no content, one line a record."""

import io
import json
import logging
from datetime import datetime, timedelta

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


# One JSON object a line


def form(written, formatter):
    """Have lines written in this form."""
    for handler in logging.getLogger().handlers:
        if getattr(handler, "stream", None) is written:
            handler.setFormatter(formatter)


@pytest.fixture
def objects(written):
    """The objects that were written so far."""
    (handler,) = [
        one for one in logging.getLogger().handlers if getattr(one, "stream", None) is written
    ]
    handler.setFormatter(logs.JsonFormatter())
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_record_of_ours_is_its_word_and_its_fields(objects):
    """Numbers are numbers; what has no value is left out; secrets are."""
    log = logging.getLogger("ws_bridge.jobs.job")
    form = "response id=%s events=%d seconds=%.3f share=%g error=%s model=%s"
    log.info(form, "resp_1", 7, 0.12345, 0.5, logs.UNKNOWN, f"the {SHAPELESS}")
    (found,) = objects()
    assert datetime.fromisoformat(found.pop("time")).utcoffset() == timedelta()
    fields = {"id": "resp_1", "events": 7, "seconds": 0.123, "share": 0.5}
    assert found == {
        "level": "info",
        "logger": "ws_bridge.jobs.job",
        "word": "response",
        "fields": fields | {"model": "the [redacted]"},
    }


def test_a_record_that_explains_itself_has_its_text_too(objects):
    log = logging.getLogger("ws_bridge")
    log.warning("warm_up_slow seconds=%g: ready without it", 10.0)
    log.error("store_unfit %s", f"it is {SHAPELESS}")
    log.info("ready")
    slow, unfit, ready = objects()
    assert (slow["word"], slow["fields"]) == ("warm_up_slow", {"seconds": 10.0})
    assert slow["text"] == "warm_up_slow seconds=10: ready without it"
    assert unfit["text"] == "store_unfit it is [redacted]"
    assert (ready["word"], ready["fields"], "text" in ready) == ("ready", {}, False)


def test_a_record_of_a_library_is_a_text(objects):
    logging.getLogger("any.library").warning("%s of %s", SHAPELESS, "model=1")
    (found,) = objects()
    assert found["text"] == "[redacted] of model=1"
    assert not {"word", "fields"} & set(found)


def test_a_traceback_is_one_field_without_the_content_it_quotes(objects):
    try:
        int("the client's own words")
    except ValueError:
        logging.getLogger("ws_bridge").exception("job_crashed id=%s", "resp_1")
    (found,) = objects()
    assert found["word"] == "job_crashed"
    assert "builtins.ValueError" in found["traceback"]
    assert "invalid literal" not in json.dumps(found)


@pytest.mark.parametrize(("value", "_"), FORGED.values(), ids=FORGED)
def test_no_value_breaks_the_object(objects, value, _):
    logging.getLogger("ws_bridge").info("response model=%s n=%d", value, 1)
    (found,) = objects()
    assert found["fields"]["n"] == 1
    assert set(found["fields"]) == {"model", "n"}


# Whose request it is


@pytest.fixture
def caller():
    token = logs.CALLER.set(logs.Caller("req_1", "192.0.2.1"))
    yield logs.CALLER.get()
    logs.CALLER.reset(token)


def test_a_line_ends_with_the_caller_and_a_traceback_comes_after_it(written, caller):
    (handler,) = [
        one for one in logging.getLogger().handlers if getattr(one, "stream", None) is written
    ]
    handler.setFormatter(logs.TextFormatter("%(message)s"))
    log = logging.getLogger("ws_bridge")
    log.info("before")
    caller.known_as("TEAM_A")
    log.info("after x=%s", "1")
    log.error("broken", exc_info=RuntimeError("x"))
    logging.getLogger("any.library").warning("not ours")
    lines = written.getvalue().splitlines()
    assert lines[:3] == [
        "before request_id=req_1 peer=192.0.2.1",
        "after x=1 request_id=req_1 key=TEAM_A peer=192.0.2.1",
        "broken request_id=req_1 key=TEAM_A peer=192.0.2.1",
    ]
    assert lines[-1] == "not ours"


def test_an_object_has_the_caller_among_its_fields(objects, caller):
    caller.known_as("TEAM_A")
    logging.getLogger("ws_bridge").info("ready")
    (found,) = objects()
    assert found["fields"] == {"request_id": "req_1", "key": "TEAM_A", "peer": "192.0.2.1"}


def test_a_callers_own_id_may_be_a_secret(objects):
    token = logs.CALLER.set(logs.Caller("sk-proj-abc_DEF123", SHAPELESS))
    logging.getLogger("ws_bridge").info("ready")
    logs.CALLER.reset(token)
    (found,) = objects()
    assert found["fields"] == {"request_id": "[redacted]", "peer": "[redacted]"}
