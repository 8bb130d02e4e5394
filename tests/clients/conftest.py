from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI
from servers import FAMILIES, KEY, Bridge, Family, Providers, config, running
from tape import Tape


@pytest.fixture(scope="session")
def providers() -> Iterator[Providers]:
    with running("tests.upstreams", "0") as address:
        yield Providers(address)


@pytest.fixture(scope="session")
def bridge(providers: Providers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    path = tmp_path_factory.mktemp("bridge") / "config.toml"
    path.write_text(config(providers.address))
    with running("ws_bridge", "serve", "--config", str(path)) as address:
        yield Bridge(address)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


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
