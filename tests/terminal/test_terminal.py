"""`ws-bridge chat` against a scripted bridge: real sockets, real processes, a real terminal."""

import asyncio
import fcntl
import io
import json
import os
import pty
import signal
import sys
import termios

import pytest
from aiohttp import WSMsgType, web

from ws_bridge.terminal.endpoint import Endpoint, EndpointError
from ws_bridge.terminal.screen import Screen
from ws_bridge.terminal.session import MAX_FAILED_POLLS, Session
from ws_bridge.terminal.turn import ShownPart

READY = "\x1b[?2004h"  # the line editor switches bracketed paste on: it reads keys now
PROGRAM = "import sys; from ws_bridge.terminal import run; sys.exit(run(*sys.argv[1:4]))"


# The scripted bridge


class Answer:
    """The frames of one response, in the order of docs/protocol.md §3.1."""

    def __init__(self, response_id):
        self.response = {
            "id": response_id,
            "object": "response",
            "created_at": 1795200000,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": "demo",
            "output": [],
            "usage": None,
        }
        self.number = -1

    def event(self, kind, **fields):
        self.number += 1
        return {"type": f"response.{kind}", "sequence_number": self.number, **fields}

    def opening(self):
        return [self.event(kind, response=self.response) for kind in ("created", "in_progress")]

    def message(self, text, *, refusal=False):
        """Begin a message; `text` is its first deltas, a word each."""
        kind = "refusal" if refusal else "text"
        part = (
            {"type": "refusal", "refusal": ""} if refusal else {"type": "output_text", "text": ""}
        )
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [{**part}]}
        self.response["output"].append(item)
        index = len(self.response["output"]) - 1
        place = {"item_id": "msg_1", "output_index": index, "content_index": 0}
        yield self.event("output_item.added", output_index=index, item={**item, "content": []})
        yield self.event("content_part.added", part=part, **place)
        yield from self.more(text, kind)

    def more(self, text, kind="text"):
        item = self.response["output"][-1]
        field, event = ("text", "output_text") if kind == "text" else ("refusal", "refusal")
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        for word in text.split(" "):
            item["content"][0][field] += word + " "
            yield self.event(f"{event}.delta", delta=word + " ", **place)

    def item(self, item):
        self.response["output"].append(item)
        index = len(self.response["output"]) - 1
        yield self.event("output_item.added", output_index=index, item=item)
        yield self.event("output_item.done", output_index=index, item=item)

    def end(self, status="completed", **fields):
        self.response |= {"status": status, **fields}
        kind = "failed" if status == "cancelled" else status
        return [self.event(kind, response=self.response)]


class Talk:
    """One socket's turn, as a script sees it."""

    def __init__(self, bridge, socket, create):
        self.bridge, self.socket, self.create = bridge, socket, create
        self.answer = Answer(f"resp_{len(bridge.creates)}")

    async def send(self, frames):
        for frame in frames:
            await self.socket.send_json(frame)

    async def say(self, text):
        await self.send(self.answer.opening())
        await self.send(self.answer.message(text))
        await self.send(self.answer.end())


class Bridge:
    """Follows one script a create; keeps what it was sent."""

    def __init__(self):
        self.scripts = []
        self.creates, self.cancels, self.posts, self.polls = [], [], [], []
        self.cancelled = asyncio.Event()
        self.snapshots = []  # what the polls are answered; the last one stays
        self.sockets = 0
        self.refusal = None

    def app(self):
        app = web.Application()
        app.router.add_get("/v1/responses", self.upgrade)
        app.router.add_get("/v1/responses/{id}", self.poll)
        app.router.add_post("/v1/responses/{id}/cancel", self.post_cancel)
        app.router.add_get("/v1/models", self.models)
        return app

    async def upgrade(self, request):
        if self.refusal:
            return web.json_response({"error": self.refusal}, status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets += 1
        running = set()
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            frame = json.loads(message.data)
            if frame["type"] == "response.cancel":
                self.cancels.append(frame)
                self.cancelled.set()
                continue
            self.creates.append(frame)
            script = self.scripts.pop(0) if self.scripts else hello
            running.add(asyncio.create_task(script(Talk(self, socket, frame))))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return socket

    async def poll(self, request):
        self.polls.append(request.match_info["id"])
        if not self.snapshots:
            error = {"message": "Response not found.", "type": "invalid_request_error"}
            return web.json_response({"error": error | {"code": None, "param": None}}, status=404)
        snapshot = self.snapshots[0]
        if len(self.snapshots) > 1:
            self.snapshots.pop(0)
        return web.json_response(snapshot)

    async def post_cancel(self, request):
        self.posts.append(request.match_info["id"])
        self.snapshots = [self.snapshots[-1] | {"status": "cancelled", "output": []}]
        return web.json_response(self.snapshots[-1])

    async def models(self, request):
        assert request.headers.get("authorization", "Bearer secret") == "Bearer secret"
        names = ["claude-*", "demo", "gpt"]
        data = [{"id": n, "object": "model", "created": 0, "owned_by": "x"} for n in names]
        return web.json_response({"object": "list", "data": data})


async def hello(talk):
    await talk.say("Hello there.")


async def until_cancelled(talk):
    """Say one thing, go on only to end when the client cancels."""
    await talk.send(talk.answer.opening())
    await talk.send(talk.answer.message("one two"))
    await talk.bridge.cancelled.wait()
    talk.bridge.cancelled.clear()
    await talk.send(talk.answer.end("cancelled", output=[]))


async def deaf(talk):
    """Begin an answer and never end it."""
    await talk.send(talk.answer.opening())
    await talk.send(talk.answer.message("one"))
    await asyncio.Event().wait()


async def lost(talk):
    """The connection breaks in the middle of an answer."""
    await talk.send(talk.answer.opening())
    await talk.send(talk.answer.message("one two"))
    talk.socket._req.transport.abort()


def snapshot(text, status="completed", response_id="resp_1"):
    answer = Answer(response_id)
    list(answer.message(text))
    return {**answer.response, "status": status}


@pytest.fixture
async def bridge(aiohttp_server):
    bridge = Bridge()
    server = await aiohttp_server(bridge.app())
    bridge.url = str(server.make_url("/"))
    bridge.server = server
    return bridge


class Seen(list):
    """The parts that were shown."""

    def __init__(self):
        super().__init__()
        self._changed = asyncio.Event()

    def show(self, part):
        self.append(part)
        self._changed.set()

    async def until(self, text):
        while self.text != text:
            self._changed.clear()
            await self._changed.wait()

    def texts(self, kind):
        return [part.text for part in self if part.kind == kind]

    @property
    def text(self):
        return "".join(self.texts("text"))


@pytest.fixture
async def chat(bridge):
    seen = Seen()

    async def at_once(_seconds):
        await asyncio.sleep(0)

    session = Session(Endpoint.of(bridge.url), "demo", seen.show, at_once)
    session.seen = seen
    yield session
    await session.close()


# Turns


async def test_an_answer_is_shown_piece_by_piece(bridge, chat):
    await chat.ask("hi")
    assert chat.seen == [ShownPart("text", "Hello "), ShownPart("text", "there. ")]
    message = {"type": "message", "role": "user", "content": "hi"}
    assert bridge.creates == [{"type": "response.create", "model": "demo", "input": [message]}]


async def test_turns_build_on_each_other_until_the_user_begins_anew(bridge, chat):
    for _ in range(3):
        await chat.ask("hi")
    chat.reset()
    await chat.ask("hi")
    ids = [create.get("previous_response_id") for create in bridge.creates]
    assert ids == [None, "resp_1", "resp_2", None]
    assert bridge.sockets == 1


async def test_reasoning_refusals_and_calls_are_told_apart(bridge, chat):
    async def script(talk):
        await talk.send(talk.answer.opening())
        for kind in ("reasoning_text", "reasoning_summary_text"):
            await talk.send([talk.answer.event(f"{kind}.delta", delta="hm", item_id="rs_1")])
        call = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
        await talk.send(talk.answer.item(call))
        await talk.send(talk.answer.message("I cannot", refusal=True))
        await talk.send([{"type": "response.unheard_of", "sequence_number": 99}])
        await talk.send(talk.answer.end())

    bridge.scripts = [script]
    await chat.ask("hi")
    assert chat.seen.texts("reasoning") == ["hm", "hm"]
    assert chat.seen.texts("call") == ["web_search_call()"]
    assert chat.seen.text == "I cannot "


async def test_a_call_that_waits_for_an_output_does_not_block_the_conversation(bridge, chat):
    async def script(talk):
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
        await talk.send(talk.answer.opening())
        await talk.send(talk.answer.item(call | {"arguments": '{"a":1}', "status": "completed"}))
        await talk.send(talk.answer.end())

    bridge.scripts = [script]
    await chat.ask("hi")
    await chat.ask("go on")
    assert chat.seen.texts("call") == ['f({"a":1})']
    first, second = bridge.creates[1]["input"]
    assert (first["type"], first["call_id"]) == ("function_call_output", "call_1")
    assert second["content"] == "go on"


async def test_a_failure_is_one_line_and_the_next_turn_skips_it(bridge, chat):
    async def fails(talk):
        error = {"code": "server_error", "message": "The model provider failed."}
        await talk.send([*talk.answer.opening(), *talk.answer.end("failed", error=error)])

    async def refuses(talk):
        error = {"type": "invalid_request_error", "code": "model_not_found", "message": "No such."}
        await talk.send([{"type": "error", "status": 404, "error": error}])

    bridge.scripts = [hello, fails, refuses]
    for _ in range(4):
        await chat.ask("hi")
    lines = ["server_error The model provider failed.", "404 model_not_found No such."]
    assert chat.seen.texts("error") == lines
    ids = [create.get("previous_response_id") for create in bridge.creates]
    assert ids == [None, "resp_1", "resp_1", "resp_1"]


async def test_an_answer_cut_short_says_why_and_can_be_continued(bridge, chat):
    async def script(talk):
        details = {"reason": "max_output_tokens"}
        await talk.send(talk.answer.opening())
        await talk.send(talk.answer.end("incomplete", incomplete_details=details))

    bridge.scripts = [script]
    await chat.ask("hi")
    await chat.ask("go on")
    assert chat.seen.texts("note") == ["cut short: max_output_tokens"]
    assert bridge.creates[1]["previous_response_id"] == "resp_1"


async def test_a_frame_that_is_no_event_ends_the_turn_only(bridge, chat):
    async def script(talk):
        await talk.socket.send_str("not json")
        await talk.send([{"type": "response.created"}])

    bridge.scripts = [script]
    await chat.ask("hi")
    await chat.ask("hi")
    assert len(chat.seen.texts("error")) == 1
    assert chat.seen.text == "Hello there. "


# Stopping


async def test_cancel_names_the_response_and_its_end_is_shown(bridge, chat):
    bridge.scripts = [until_cancelled]
    asking = asyncio.create_task(chat.ask("hi"))
    await chat.seen.until("one two ")
    await chat.cancel()
    await asking
    assert bridge.cancels == [{"type": "response.cancel", "response_id": "resp_1"}]
    assert chat.seen[-1] == ShownPart("note", "cancelled")


async def test_an_abandoned_answer_never_meets_the_next_one(bridge, chat):
    bridge.scripts = [deaf]
    asking = asyncio.create_task(chat.ask("hi"))
    await chat.seen.until("one ")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await chat.ask("hi")
    assert chat.seen.text == "one Hello there. "
    assert bridge.sockets == 2


# Lost sockets


async def test_a_socket_lost_between_turns_is_replaced_without_a_word(bridge, chat):
    async def leave(talk):
        await talk.say("Bye.")
        await talk.socket.close(code=1012)

    bridge.scripts = [leave]
    await chat.ask("hi")
    await chat._socket.wait_closed()
    await chat.ask("hi")
    assert chat.seen.text == "Bye. Hello there. "
    assert chat.seen.texts("error") == []
    assert bridge.creates[1]["previous_response_id"] == "resp_1"


async def test_the_rest_of_a_lost_answer_is_fetched_without_gap_or_repeat(bridge, chat):
    bridge.scripts = [lost]
    bridge.snapshots = [
        snapshot("one two", "in_progress"),
        snapshot("one two three", "in_progress"),
        snapshot("one two three four"),
    ]
    await chat.ask("hi")
    assert chat.seen.text == "one two three four "
    assert set(bridge.polls) == {"resp_1"}
    await chat.ask("go on")
    assert bridge.creates[1]["previous_response_id"] == "resp_1"
    assert len(bridge.creates) == 2


async def test_a_lost_answer_that_the_server_does_not_know_is_an_error(bridge, chat):
    bridge.scripts = [lost]
    await chat.ask("hi")
    assert chat.seen.texts("error") == ["404 Response not found."]
    assert len(bridge.polls) == 1


async def test_a_lost_answer_is_cancelled_over_http(bridge, chat):
    async def cancel_while_it_polls(_seconds):
        await chat.cancel()

    chat._pause = cancel_while_it_polls
    bridge.scripts = [lost]
    bridge.snapshots = [snapshot("one two", "in_progress")]
    await chat.ask("hi")
    assert bridge.posts == ["resp_1"]
    assert chat.seen[-1] == ShownPart("note", "cancelled")


async def test_a_server_that_is_gone_is_given_up_after_some_patience(bridge, chat):
    pauses = []

    async def counted(seconds):
        pauses.append(seconds)

    async def vanish(talk):
        for site in list(bridge.server.runner.sites):
            await site.stop()
        await lost(talk)

    chat._pause = counted
    bridge.scripts = [vanish]
    await chat.ask("hi")
    assert len(pauses) == MAX_FAILED_POLLS - 1
    (error,) = chat.seen.texts("error")
    assert error.startswith("no answer from http://127.0.0.1:")
    await chat.ask("hi")  # the session lives
    assert len(chat.seen.texts("error")) == 2


async def test_a_socket_lost_before_the_answer_began_asks_nothing_twice(bridge, chat):
    async def script(talk):
        talk.socket._req.transport.abort()

    bridge.scripts = [script]
    await chat.ask("hi")
    assert chat.seen.texts("error") == ["the connection was lost before the answer began"]
    assert len(bridge.creates) == 1


# The endpoint


@pytest.mark.parametrize(
    "url",
    ["h:1", "http://h:1", "ws://h:1/", "http://h:1/v1/", "ws://h:1/v1/responses", "http://h:1/v1"],
)
def test_an_address_may_be_written_in_many_ways(url):
    endpoint = Endpoint.of(url)
    assert endpoint.base == "http://h:1/v1"
    assert endpoint.socket == "ws://h:1/v1/responses"


def test_a_secure_address_and_another_path_are_kept():
    endpoint = Endpoint.of("wss://h/api/v1/responses")
    assert (endpoint.base, endpoint.socket) == ("https://h/api/v1", "wss://h/api/v1/responses")


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "http://h:port", "http://h:0"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(EndpointError, match="no address"):
        Endpoint.of(url)


def test_the_key_does_not_print():
    assert "secret" not in repr(Endpoint.of("h:1", "secret"))


async def test_the_models_are_asked_for_with_the_key(bridge):
    session = Session(Endpoint.of(bridge.url, "secret"), "", lambda _part: None)
    assert await session.models() == ["claude-*", "demo", "gpt"]


async def test_a_refused_handshake_is_told_in_the_servers_words(bridge, chat):
    bridge.refusal = {"message": "Incorrect or missing API key.", "code": "invalid_api_key"}
    await chat.ask("hi")
    assert chat.seen == [ShownPart("error", "401 invalid_api_key Incorrect or missing API key.")]


# The screen


def shown(*parts, colours=False):
    out = io.StringIO()
    screen = Screen(out, colours=colours)
    for part in parts:
        screen.show(part)
    screen.end_line()
    return out.getvalue()


def test_running_text_stays_in_its_line_and_other_kinds_begin_one():
    parts = (
        ShownPart("reasoning", "a"),
        ShownPart("reasoning", "b"),
        ShownPart("text", "c"),
        ShownPart("note", "d"),
    )
    assert (
        shown(*parts, ShownPart("error", "e"), ShownPart("text", "f")) == "ab\nc\nd\nerror: e\nf\n"
    )


def test_colours_are_for_terminals():
    assert shown(ShownPart("reasoning", "a"), colours=True) == "\x1b[2ma\x1b[0m\n"


def test_a_model_cannot_steer_the_terminal():
    assert shown(ShownPart("text", "a\x1b]0;title\x07\x9b2J\r\tb\nc")) == "a]0;title2J\tb\nc\n"


# The program, with lines from a pipe


async def piped(url, lines, model="demo", key=""):
    """Run the program on some lines; its exit code and what it wrote."""
    program = await start(url, model, key, stdin=asyncio.subprocess.PIPE)
    out, err = await program.communicate(lines.encode())
    return program.returncode, out.decode(), err.decode()


async def start(url, model="demo", key="", **streams):
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, url, model, key, env=ENVIRON, **pipes
    )


ENVIRON = os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PYTHONUNBUFFERED": "1"}


async def test_lines_of_a_pipe_are_answered_in_plain_text(bridge):
    code, out, err = await piped(bridge.url, "hi\nagain")
    assert (code, out, err) == (0, "Hello there. \nHello there. \n", "")
    assert bridge.creates[1]["previous_response_id"] == "resp_1"


async def test_commands_choose_list_begin_anew_and_leave(bridge):
    lines = "/model gpt\n/model\nhi\n/new\nhi\n/nope\n/help\n/quit\nnever asked\n"
    code, out, _ = await piped(bridge.url, lines)
    assert code == 0
    assert "* gpt\n" in out
    assert "  demo\n" in out
    assert "There is no /nope." in out
    assert "/model [NAME]" in out
    assert [create["model"] for create in bridge.creates] == ["gpt", "gpt"]
    assert "previous_response_id" not in bridge.creates[1]


async def test_without_a_model_the_first_one_of_the_server_is_taken(bridge):
    await piped(bridge.url, "hi\n", model="")
    assert bridge.creates[0]["model"] == "demo"


async def test_an_error_shows_in_the_exit_code_of_a_pipe(bridge):
    bridge.refusal = {"message": "Incorrect or missing API key.", "code": "invalid_api_key"}
    code, out, err = await piped(bridge.url, "hi\n", key="secret")
    assert code == 1
    assert out.count("error: 401 invalid_api_key") == 2
    assert "secret" not in out + err


async def test_an_address_that_cannot_be_used_is_told_at_once():
    code, out, err = await piped("ftp://x", "")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'ftp://x' is no address")


async def test_sigint_stops_the_answer_then_leaves_at_the_prompt(bridge):
    bridge.scripts = [until_cancelled]
    program = await start(bridge.url, stdin=asyncio.subprocess.PIPE)
    program.stdin.write(b"hi\n")
    assert await program.stdout.readuntil(b"two ")
    program.send_signal(signal.SIGINT)
    assert await program.stdout.readuntil(b"cancelled\n")
    program.stdin.write(b"hi\n")
    assert await program.stdout.readuntil(b"Hello there. \n")
    program.send_signal(signal.SIGINT)
    assert await program.stdout.readuntil(b"leaves.\n")
    program.send_signal(signal.SIGINT)
    assert await program.wait() == 0


# The program, in a terminal


class Terminal:
    """A pseudo-terminal with the program in it; Ctrl-C is the byte that a keyboard sends."""

    def __init__(self, master, program, screen):
        self.master, self.program, self.screen = master, program, screen
        self.seen = b""

    @classmethod
    async def open(cls, url):
        master, slave = pty.openpty()

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        program = await start(
            url,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,  # no thread of ours holds a lock here
        )
        os.close(slave)
        screen = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(screen)
        await loop.connect_read_pipe(lambda: protocol, os.fdopen(os.dup(master), "rb"))
        return cls(master, program, screen)

    def type(self, keys):
        os.write(self.master, keys.encode())

    async def until(self, words):
        """Read the screen until the words stand on it; forget what came before them."""
        while (at := self.seen.find(words.encode())) < 0:
            block = await self.screen.read(65536)
            assert block, self.seen
            self.seen += block
        self.seen = self.seen[at + len(words) :]

    async def close(self):
        if self.program.returncode is None:
            self.program.kill()
            await self.program.wait()
        os.close(self.master)


@pytest.fixture
async def terminal(bridge):
    terminal = await Terminal.open(bridge.url)
    await terminal.until("/help lists the commands")
    await terminal.until(READY)
    yield terminal
    await terminal.close()


async def test_a_terminal_shows_the_answer_and_ctrl_d_leaves(terminal):
    terminal.type("hi\r")
    await terminal.until("Hello there. ")
    await terminal.until(READY)
    terminal.type("\x04")
    assert await terminal.program.wait() == 0


async def test_ctrl_c_stops_the_answer_and_the_program_lives(bridge, terminal):
    bridge.scripts = [until_cancelled]
    terminal.type("hi\r")
    await terminal.until("two ")
    terminal.type("\x03")
    await terminal.until("cancelled")
    await terminal.until(READY)
    terminal.type("hi\r")
    await terminal.until("Hello there. ")
    assert bridge.cancels == [{"type": "response.cancel", "response_id": "resp_1"}]
    assert "previous_response_id" not in bridge.creates[1]


async def test_a_second_ctrl_c_does_not_wait_for_a_deaf_server(bridge, terminal):
    bridge.scripts = [deaf]
    terminal.type("hi\r")
    await terminal.until("one ")
    terminal.type("\x03")
    await bridge.cancelled.wait()
    terminal.type("\x03")
    await terminal.until("stopped without waiting")
    await terminal.until(READY)
    terminal.type("hi\r")
    await terminal.until("Hello there. ")


async def test_ctrl_c_at_an_empty_prompt_leaves_at_the_second_time(terminal):
    terminal.type("\x03")
    await terminal.until("Ctrl-C again, or Ctrl-D, leaves.")
    await terminal.until(READY)
    terminal.type("\x03")
    assert await terminal.program.wait() == 0


async def test_ctrl_c_at_a_line_only_discards_it(bridge, terminal):
    for _ in range(2):
        terminal.type("draft")
        await terminal.until("draft")
        terminal.type("\x03")
        await terminal.until(READY)
    terminal.type("hi\r")
    await terminal.until("Hello there. ")
    assert [create["input"][0]["content"] for create in bridge.creates] == ["hi"]
