"""The checker of the random faults sees what it is there to see."""

import time

import orjson
import pytest
from faults.nemesis import Fault
from faults.trace import Heard, Trace
from faults.verdict import Finals, Surroundings, is_contradicted, judge

ITEM = {"type": "message", "content": [{"type": "output_text", "text": "wordword"}]}


def event(number, kind, **fields):
    return orjson.dumps({"type": f"response.{kind}", "sequence_number": number, **fields})


def response(status, *output):
    return {"id": "resp_1", "status": status, "output": list(output)}


LOG = (
    event(0, "created", response=response("in_progress")),
    event(1, "output_item.added", output_index=0, item=ITEM | {"content": []}),
    event(2, "output_item.done", output_index=0, item=ITEM),
    event(3, "completed", response=response("completed", ITEM)),
)
LOST = event(2, "failed", response=response("failed") | {"error": {}})
FAILED = event(3, "failed", response=response("failed") | {"error": {}})
HEARD = "tag s1.1. "


class Case:
    """A response of which everybody saw the same, to be spoiled by a test."""

    def __init__(self):
        self.trace = Trace("s1.1.", "socket", "native-big2", server=0, began=10.0)
        self.trace.id, self.trace.ended = "resp_1", 12.0
        self.trace.socket = self.observer(Heard("the socket"), LOG)
        self.trace.followers = [self.observer(Heard("a follower"), LOG)]
        self.trace.poll(response("in_progress"), 11.0)
        self.log = list(LOG)
        self.other_log = self.other_body = None
        self.status = 200
        self.faults = []
        self.asked, self.heard = 1, HEARD
        self.is_degraded = self.is_unconfirmed = False

    def observer(self, heard, events):
        for text in events:
            heard.hear(text)
        return heard

    def finals(self):
        body = orjson.dumps(orjson.loads(self.log[-1])["response"])
        answers = [(self.status, body), (self.status, self.other_body or body)]
        return Finals(answers, [self.log, self.other_log or self.log])

    def problems(self):
        around = Surroundings(
            self.faults, self.is_degraded, self.is_unconfirmed, self.asked, self.heard
        )
        return list(judge(self.trace, self.finals(), around))


def test_what_everybody_saw_alike_is_well():
    assert Case().problems() == []


def another_text(case):
    case.trace.followers[0].texts[1] = LOG[1] + b" "


def a_hole(case):
    case.trace.followers = [case.observer(Heard("a follower"), (LOG[0], *LOG[2:]))]


def a_repeat(case):
    case.trace.followers = [case.observer(Heard("a follower"), (LOG[0], *LOG))]


def two_ends(case):
    case.log.append(event(4, "completed", response=response("completed", ITEM)))


def no_end(case):
    case.log = [*case.log[:-1], event(3, "in_progress", response=response("in_progress"))]


def two_logs(case):
    case.other_log = [LOG[0] + b" ", *LOG[1:]]


def two_objects(case):
    case.other_body = b'{"status": "failed"}'


def a_poll_of_no_prefix(case):
    case.trace.polls.insert(0, response("in_progress", ITEM, ITEM))


def a_poll_that_goes_back(case):
    case.trace.poll(response("completed", ITEM), 12.0)
    case.trace.poll(response("in_progress"), 13.0)


def an_empty_poll(case):
    case.trace.poll({}, 12.0)


def a_404(case):
    case.status = 404


def asked_twice(case):
    case.asked = 2


def a_forgotten_history(case):
    case.trace.parent = Trace("s1.0.", "socket", "native-big2", server=1, began=1.0)


def a_failure_without_a_fault(case):
    case.log = [*LOG[:2], LOST]


def an_end_that_the_store_does_not_have(case):
    case.log = [*LOG[:2], LOST]
    case.faults = [Fault("kill", 0, 11.0, 12.0)]


def a_failure_where_the_store_completed(case):
    case.trace.socket = case.observer(Heard("the socket"), (*LOG[:3], FAILED))
    case.faults = [Fault("freeze", 0, 11.0, 12.0)]


def a_cut_without_a_fault(case):
    case.trace.is_cut = True


def a_cancel_that_was_not(case):
    case.trace.cancel = "cancelled"


SPOILED = (
    *(another_text, a_hole, a_repeat, two_ends, no_end, two_logs, two_objects, a_404, asked_twice),
    *(a_poll_of_no_prefix, a_poll_that_goes_back, an_empty_poll, a_forgotten_history),
    *(a_failure_without_a_fault, an_end_that_the_store_does_not_have, a_cut_without_a_fault),
    *(a_cancel_that_was_not, a_failure_where_the_store_completed),
)


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_what_must_not_be_is_seen(spoil):
    case = Case()
    spoil(case)
    assert case.problems()


def test_an_end_that_was_told_without_the_store_may_be_another_and_is_counted():
    case = Case()
    case.log = [*LOG[:2], LOST]
    case.trace.followers = []
    case.faults = [Fault("long cut", 0, 11.0, 12.0)]
    assert case.problems()
    case.is_unconfirmed = True
    assert case.problems() == []
    assert is_contradicted(case.trace, case.finals())


def test_what_was_told_and_cannot_be_read_is_no_loss_but_a_lie():
    case = Case()
    case.status, case.is_degraded, case.trace.was_found = 404, True, False
    case.faults = [Fault("kill", 0, 11.0, 12.0)]
    assert case.problems()
    case.is_unconfirmed = True
    assert case.problems() == []


def test_the_end_is_told_to_a_reader_who_had_more_than_the_log():
    heard = Heard("a follower after 10", 10)
    heard.hear(LOST)
    assert (heard.problems, heard.has_ended) == ([], True)


def test_a_poll_may_come_before_the_end_was_heard():
    case = Case()
    assert case.trace.poll(response("completed", ITEM), time.monotonic())
    assert case.problems() == []
