"""Windows of sixty seconds: how long until more fits, of what happened how often."""

from ws_bridge.server import rates
from ws_bridge.server.rates import Rate, TokenRate


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_so_many_in_any_sixty_seconds_and_the_wait_is_exact():
    """A sliding window: in no 60 s are there more, wherever they begin."""
    now = Time()
    rate = Rate(now)
    for _ in range(3):
        assert rate.wait("a", 3) == 0
        rate.count("a", 3)
        now.now += 10
    assert rate.wait("a", 3) == 30  # the first is 30 s old
    now.now += 29.5
    assert rate.wait("a", 3) == 0.5
    now.now += 0.5
    assert rate.wait("a", 3) == 0
    rate.count("a", 3)
    assert rate.wait("a", 3) == 10  # until the second one is 60 s old
    assert rate.wait("b", 3) == 0
    assert rate.wait("a", 0) == 0  # no limit


def test_no_sixty_seconds_hold_more_than_the_limit_whatever_the_rhythm():
    now, taken = Time(), []
    rate = Rate(now)
    for step in (0, 1, 0.1, 30, 0, 0, 29, 0, 0, 0.5, 3, 0, 0, 60, 0, 0, 0, 0, 0, 59.9, 0, 0.1, 0):
        now.now += step
        if not rate.wait("a", 5):
            rate.count("a", 5)
            taken.append(now.now)
    for begin in taken:
        assert sum(begin <= one < begin + 60 for one in taken) <= 5
    assert len(taken) > 12


def test_idle_names_are_forgotten_and_a_flood_of_names_has_an_end():
    """100,000 addresses: at most so many are remembered, and after a minute only the new one."""
    now = Time()
    rate = Rate(now)
    for number in range(100_000):
        rate.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 60)
    assert len(rate) == rates.MOST_NAMES
    now.now += 60
    rate.count("one more", 60)
    assert len(rate) == 1


def test_of_too_many_names_the_longest_idle_goes_first(monkeypatch):
    monkeypatch.setattr(rates, "MOST_NAMES", 2)
    rate = Rate(Time())
    for name in ("a", "b", "a", "c"):
        rate.count(name, 1)
    assert [rate.wait(name, 1) for name in ("a", "b", "c")] == [60, 0, 60]


def test_a_name_counted_often_holds_no_more_than_its_limit():
    rate = Rate(Time())
    for _ in range(1000):
        rate.count("a", 2)
    assert len(rate._times["a"]) == 2


def test_tokens_are_waited_for_until_the_window_holds_fewer_than_the_limit():
    now = Time()
    rate = TokenRate(now)
    rate.count("a", 60)
    now.now += 20
    rate.count("a", 50)
    assert rate.wait("a", 111) == 0
    assert rate.wait("a", 110) == 40  # the 60 of before go
    assert rate.wait("a", 50) == 60  # the 50 of now go as well
    assert (rate.wait("a", 0), rate.wait("b", 1)) == (0, 0)
    now.now += 40
    assert rate.wait("a", 110) == 0
    now.now += 20
    assert (rate.wait("a", 1), len(rate)) == (0, 1)
    rate.count("b", 1)
    assert len(rate) == 1


def test_many_small_uses_are_one_step_a_second():
    now = Time()
    rate = TokenRate(now)
    for _ in range(1000):
        rate.count("a", 1)
        now.now += 0.01
    assert len(rate._used["a"]) <= 11
    assert rate.wait("a", 1000) > 0
    assert rate.wait("a", 1001) == 0
