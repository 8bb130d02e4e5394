"""Who goes on when too much is being received."""

import random

import pytest

from ws_bridge.server.transport.receive_budget import NEARLY, READ, ReceiveBudget

MIB = 2**20


class Uploader:
    """Somebody with so many bytes to send; what it has sent is counted."""

    def __init__(self, receiving, length):
        self._receiving = receiving
        self.length = length
        self.sent = 0
        self.is_suspended = False

    @property
    def remaining(self):
        return self.length - self.sent

    def suspend(self):
        self.is_suspended = True

    def resume(self):
        self.is_suspended = False

    def send(self, count):
        assert not self.is_suspended
        self.sent += min(count, self.remaining)
        self._receiving.record(self, self.sent)

    def end(self):
        self._receiving.discard(self)


def test_below_the_limit_nobody_waits():
    receiving = ReceiveBudget(MIB)
    one, other = Uploader(receiving, MIB), Uploader(receiving, MIB)
    one.send(MIB // 2)
    other.send(MIB // 2)
    assert (receiving.total, one.is_suspended, other.is_suspended) == (MIB, False, False)


def test_beyond_it_the_one_nearest_to_done_goes_on_and_the_others_wait():
    receiving = ReceiveBudget(MIB)
    near, far = Uploader(receiving, 2 * MIB), Uploader(receiving, 8 * MIB)
    near.send(MIB)
    far.send(READ)
    assert (near.is_suspended, far.is_suspended) == (False, True)
    near.send(MIB)
    assert not near.is_suspended
    near.end()
    assert (receiving.total, far.is_suspended) == (READ, False)


def test_who_was_held_goes_on_when_it_is_the_nearest():
    receiving = ReceiveBudget(MIB)
    small, middle, large = (Uploader(receiving, size * MIB) for size in (2, 4, 8))
    small.send(MIB)
    middle.send(READ)
    large.send(READ)
    assert (middle.is_suspended, large.is_suspended) == (True, True)
    small.end()
    assert (middle.is_suspended, large.is_suspended) == (False, False)
    large.send(4 * MIB)  # it may have been on its way
    assert (middle.is_suspended, large.is_suspended) == (False, True)
    middle.send(2 * MIB)
    assert not middle.is_suspended


def test_what_is_nearly_done_never_waits():
    receiving = ReceiveBudget(MIB)
    first, small = Uploader(receiving, 8 * MIB), Uploader(receiving, NEARLY)
    first.send(MIB + 1)
    small.send(1)
    assert not small.is_suspended


def test_a_held_one_that_leaves_is_let_go_and_forgotten():
    receiving = ReceiveBudget(MIB)
    near, far = Uploader(receiving, 2 * MIB), Uploader(receiving, 8 * MIB)
    near.send(MIB)
    far.send(READ)
    far.end()
    assert (receiving.total, far.is_suspended) == (MIB, False)
    far.end()
    near.end()
    assert receiving.total == 0


@pytest.mark.parametrize("seed", range(30))
def test_whoever_sends_and_leaves_someone_goes_on_and_the_sum_stays_near_the_limit(seed):
    rng = random.Random(seed)  # noqa: S311 - to repeat a failure
    receiving = ReceiveBudget(4 * MIB)
    largest = 2 * MIB
    everyone = [Uploader(receiving, rng.randrange(1, largest)) for _ in range(60)]
    done = 0
    while everyone:
        able = [one for one in everyone if not one.is_suspended]
        assert able, "nobody goes on"
        one = rng.choice(able)
        one.send(rng.randrange(1, READ))
        if not one.remaining or rng.random() < 0.01:
            one.end()
            everyone.remove(one)
            done += 1
        # One read of each that was let on, and the one that goes on whatever the sum.
        assert receiving.total <= 4 * MIB + 60 * NEARLY + largest + READ * 16
        assert receiving.total == sum(one.sent for one in everyone)
    assert (done, receiving.total) == (60, 0)
