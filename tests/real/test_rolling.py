"""Servers and workers can be restarted, one after the other, under chains that go on."""

import pytest
from rolling.rounds import three_servers, two_workers

CHAINS = 12


@pytest.mark.catalogue("W13")
async def test_a_rolling_restart_of_three_servers_breaks_no_chain():
    """Every turn completes; what each client saw has every event once, and is what is stored."""
    figures, faults = await three_servers(CHAINS)
    assert faults == []
    assert figures["ends"].keys() == {"completed"}
    assert figures["reconnects"] > 0


@pytest.mark.catalogue("W13", "W16")
async def test_workers_are_renewed_unnoticed_and_a_killed_one_harms_only_its_own():
    """A killed worker's running turns end as failed; each chain goes on from its last whole one."""
    figures, faults = await two_workers(CHAINS, renewed=(2,))
    assert faults == []
    assert figures["ends"].keys() <= {"completed", "failed"}
    assert figures["ends"].get("failed", 0) <= figures["sockets of the killed worker"]
