from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from clients.servers import FAMILIES, KEY, Bridge, Family, Gate, config, serving
from clients.tape import Tape
from openai import AsyncOpenAI, OpenAI
from upstreams import FakeProviders


@pytest.fixture(scope="session")
def providers() -> Iterator[FakeProviders]:
    with FakeProviders() as fake:
        yield fake


@pytest.fixture(scope="session")
def bridge(providers: FakeProviders) -> Iterator[Bridge]:
    with serving(config(providers.base_url)) as server:
        yield Bridge(server.url)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def gate(
    request: pytest.FixtureRequest, providers: FakeProviders, family: Family
) -> Callable[[str], Gate]:
    """Gates of this test's own: a gate, once released, stays open for its model."""
    own = f"{family.name}-{zlib.crc32(request.node.name.encode())}"
    return lambda scenario: Gate(providers, family, f"{scenario}-{own}")


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tape]:
    """Every frame and event that a test receives is checked, whatever the test looks at."""
    tape = Tape()
    tape.attach(monkeypatch)
    yield tape
    tape.check()


@pytest.fixture(scope="session")
def client(bridge: Bridge) -> Iterator[OpenAI]:
    """No retries: what is wrong shows at once."""
    with OpenAI(api_key=KEY, base_url=bridge.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def aclient(bridge: Bridge) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=KEY, base_url=bridge.url, max_retries=0) as client:
        yield client
