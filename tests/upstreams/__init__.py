"""Loopback providers for tests: Responses, Chat Completions, Anthropic, Gemini and Ollama streams.

``with FakeProviders() as fake`` serves ``fake.base_url``. The scenario is the model name: a keyword
anywhere in it selects the behaviour ("gpt-rtools", "m-textools", "claude-thinking-tool"); the first
keyword of a list that matches wins.

Errors before the stream (all but Ollama): err401 err403 err404 err400ctx err400prev err400 err408
err409 err422 err429quota err429long (Retry-After: 60) err429 (Retry-After: 7) err500html err500
err503 err529.
``flakyN``: the first N requests answer 500. ``hang``: no headers at all.

Transport (all SSE; combine freely with the scenarios below): ``drop`` ends amid the 6th event,
``reset`` aborts there (which may overtake what was sent just before),
``pre1drop`` abort before the 1st, ``cleaneof`` clean end at the 6th, ``zerobytes`` 200 and nothing,
``badline`` odd SSE lines before the 5th, ``nontype`` an object without a type before the 5th,
``stall`` silence from the 6th on, ``keepalive`` nothing but comments from the 5th on, ``slow``
50 ms between events, ``hugeheaders`` a 3 kB header; ``gateN`` waits before event N (4) until
``fake.release(model)``. A model named ``...openai...`` gets no ``[DONE]``.

All three families: ``echo`` answers with what it got (JSON of the input, or of the messages);
``toolloop`` calls get_weather until it finds a tool's output, and then repeats that.

Those and Gemini: the names of `stories` are loops of several turns (`agent_loop`); a gate is one of
each turn, and is released by ``step_name(model, number)``.

Responses: hugeline (5 MB delta) bigN (N x "word") reasoning rawreasoning (adds reasoning_text)
tools (two calls) rtools (reasoning first) refusal annot (web search, citations) logprobs phase
image custom -ci (at the end: code interpreter) mcp unknownev errevent errnested failedearly
failed400 failed incomplete incompletecf queued cancelled; anything else is text. Without
``stream``: the final response as JSON, ``htmlok`` HTML with status 200. ``jsonstream``: JSON
although a stream was asked for. With ``background``: queued, then polled item by item to the end;
``gate`` holds it in progress, ``pollflaky`` answers one poll with 500, ``heldcreate`` waits for
``fake.release(model)`` before it is created.

Chat, alone: hugeline repN (N equal chunks) bigN. First, any of: reasoning or rtools (``rfield``:
in ``reasoning``) with interleave (text, then more reasoning) and both (one chunk with reasoning and
text); textools (text before the calls). Then one of: tools (two calls) noidtool oneshottool
noargtool refusal empty length cfilter logprobs annot images midmsgerr nofinish interleaveonly/both
emptychoices; anything else is text. ``nousage``: no usage chunk (bigN always sends one, otherwise
only on ``include_usage``).

Anthropic, all that match, in this order: redacted thinking texttool/text tool (two calls) noarg
interleave maxtok refusal miderr; ``cite`` adds a citation to each text block; ``bigN`` makes the
first text of N deltas.
Gemini: think tool safety. Ollama: think tool.
"""

from upstreams.server import FakeProviders

__all__ = ["FakeProviders"]
