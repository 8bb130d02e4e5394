"""The run of many sockets, at a hundredth of its size, on a real server."""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the bench imports itself as `tests.bench`

from scale.acts import STREAMS, Pace, Stage, churn, hold, storm
from scale.limits import broken


def test_the_acts_of_a_run_leave_a_real_server_as_it_was(tmp_path):
    """The run at a hundredth of its size: nothing is refused, dropped, cut or left over."""
    pace = Pace(
        idle=0.2,
        directly=0.3,
        storm=0.5,
        storm_streams=1.5,
        storm_after=0.5,
        still=0.5,
        warm_sockets=20,
        churn_warm_up=200,
    )
    with ExitStack() as stack:
        stage = Stage(stack, tmp_path, pace)
        held, back, gone = hold(stage, 100, 1), storm(stage, 100), churn(stage, 200)
    assert (held["connections"], held["dropped"], held["streams whole"]) == (100, 0, STREAMS)
    assert (back["back"], back["dropped"], back["streams whole"]) == (100, 0, STREAMS)
    assert (gone["came and went"], gone["descriptors more"], gone["tasks more"]) == (200, 0, 0)
    unpinged = {"pings missed": 0}  # no ping's turn came in so short a time
    figures = {"hold": held | unpinged, "storm": back, "churn": gone}
    assert not [one for one in broken(figures) if "KiB" not in one and "MiB" not in one]
