"""A create becomes a spec: values in, a value out."""

from dataclasses import replace

import pytest
from support.fake_clock import ScriptedResponse

from ws_bridge.errors import InvalidRequest
from ws_bridge.jobs.spec import Create, JobSpec, build_spec
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.request import parse_create
from ws_bridge.store.base import MAX_ANCESTORS, Claim, Lease
from ws_bridge.upstream.base import Target

TARGET = Target("m", "openai/m")
NATIVE = Target("n", "openai/n", native_background=True)
ITEM = {"type": "message", "role": "user", "content": "hi"}


def create(transport="http", **fields):
    return Create(parse_create({"model": "m", "input": "hi", **fields}), "alice", transport)


def spec_of(one, target=TARGET, parent=None, claim=None) -> JobSpec:
    chain = Chain(parent, one.request.items())
    return build_spec(one, target, chain, response_id="resp_1", created_at=7, claim=claim)


def chain_of(count):
    turn = None
    for number in range(count):
        turn = Turn(f"resp_{number}", (ITEM,), (), "openai|", turn)
    return turn


def test_the_same_create_is_the_same_spec():
    assert spec_of(create(temperature=0.5)) == spec_of(create(temperature=0.5))


def test_a_record_has_what_a_reader_needs_and_no_more():
    record = spec_of(create()).record
    assert (record.id, record.owner, record.input) == ("resp_1", "alice", (ITEM,))
    assert (record.maker, record.background, record.request) == ("openai|", False, None)
    assert not record.may_run_again


@pytest.mark.parametrize(
    ("fields", "may_run_again"), [({}, True), ({"stream": True}, False)], ids=["polled", "streamed"]
)
def test_a_background_response_may_run_again_unless_its_client_reads_along(fields, may_run_again):
    record = spec_of(create("background", background=True, temperature=0.5, **fields)).record
    assert record.may_run_again is may_run_again
    assert record.request["temperature"] == 0.5
    assert "input" not in record.request


def test_a_record_names_its_nearest_ancestors_first():
    record = spec_of(create(), parent=chain_of(MAX_ANCESTORS + 3)).record
    newest = MAX_ANCESTORS + 2
    assert record.ancestors == tuple(f"resp_{newest - age}" for age in range(MAX_ANCESTORS))


def test_the_provider_is_asked_with_what_it_may_know():
    spec = spec_of(create(temperature=0.5, store=False), parent=chain_of(1))
    request = spec.request()
    assert request.options == {"temperature": 0.5}
    assert (request.target, request.chain, request.store) == (TARGET, spec.chain, False)
    assert (request.background, request.background_id, request.response_id) == (False, "", "resp_1")
    assert spec.parent.id == "resp_0"


def test_a_provider_runs_in_its_own_background_only_where_it_can_and_is_to():
    assert spec_of(create("background", background=True), NATIVE).is_provider_run
    assert not spec_of(create("background", background=True), TARGET).is_provider_run
    assert not spec_of(create(), NATIVE).is_provider_run


def test_another_target_that_answers_is_the_one_of_the_record():
    other = Target("m", "anthropic/c")
    spec = spec_of(create("background", background=True), NATIVE).answered_by(other)
    assert (spec.target, spec.record.maker, spec.is_provider_run) == (other, "anthropic|", False)
    assert spec.answered_by(other) == spec


def test_a_claim_continues_the_record_and_the_time_it_began_at():
    begun = ScriptedResponse(background=True)
    asked = {"model": "m", "temperature": 0.5, "background": True}
    record = replace(begun.record, input=(ITEM,), request=asked)
    claim = Claim(Lease(begun.id, 2), record, begun.events[:2], False, True, "up_1")
    one = Create.of_record(record)
    assert (one.owner, one.transport, one.request.temperature) == (record.owner, "background", 0.5)
    spec = spec_of(one, claim=claim)
    assert spec.record is record
    assert (spec.envelope.id, spec.envelope.created_at) == (begun.id, 0)
    assert spec.request().background_id == "up_1"
    assert spec_of(one, claim=replace(claim, events=())).envelope.created_at == 7


def test_a_record_that_is_no_create_is_refused():
    record = replace(ScriptedResponse().record, request={"model": "m", "temperature": "warm"})
    with pytest.raises(InvalidRequest):
        Create.of_record(record)


def test_a_warm_up_asks_no_provider():
    assert not spec_of(create(generate=False)).generate
