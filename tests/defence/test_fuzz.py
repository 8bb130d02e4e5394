"""A few hundred random inputs of every kind; ``python -m tests.defence.fuzz`` tries millions."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defence.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.catalogue("B20")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_whatever_comes_has_an_outcome_that_is_documented(target, rng: Random):
    target(rng)
