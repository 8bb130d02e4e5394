from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from servers import FAMILIES, HERE, KEY, Bridge, Family, Gate, Server, config, running
from tape import Tape


@pytest.fixture(scope="session")
def providers() -> Iterator[Server]:
    with running(str(HERE / "providers.py")) as server:
        yield server


@pytest.fixture(scope="session")
def bridge(providers: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    path = tmp_path_factory.mktemp("bridge") / "config.toml"
    path.write_text(config(providers.address()))
    with running("-m", "ws_bridge", "serve", "--config", str(path)) as server:
        address = server.address()
        server.pass_on()
        yield Bridge(address)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def gate(
    request: pytest.FixtureRequest, providers: Server, family: Family
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
