# Everything happens in .venv; nothing is installed outside of it but, for `make test` as root on
# Debian, the chromium package that the page's tests drive.
PYTHON ?= python3
PIP := -m pip install --quiet --disable-pip-version-check
CLIENTS := tests/clients/requirements.txt

.PHONY: serve test coverage bench faults lint chromium clean

serve: .venv/.serve
	.venv/bin/ws-bridge serve --config config.toml

test: .venv/.dev .venv-clients/.installed chromium
	.venv/bin/python -m pytest -n 3 --dist loadgroup
	.venv-clients/bin/python -m pytest tests/clients

coverage: .venv/.dev
	.venv/bin/python -m pytest -n 3 --dist loadgroup --cov --cov-report=term:skip-covered

bench: .venv/.dev
	.venv/bin/python -m tests.bench

# Ten minutes of random faults on two servers and their store; prints its seeds, ends with 1 if
# anybody saw what must not be. MINUTES=2 SEED=7 make faults
MINUTES ?= 10
faults: .venv/.dev
	.venv/bin/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: .venv/.dev
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy

.venv/.serve: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -c .ci/constraints.txt -e .
	touch $@

.venv/.dev: .venv/.serve
	.venv/bin/python $(PIP) -c .ci/constraints.txt -e '.[dev]'
	touch $@

# The newest clients need another openai release than litellm does: an environment of their own.
.venv-clients/.installed: $(CLIENTS)
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python $(PIP) -r $(CLIENTS)
	touch $@

# The page is tested in Debian's Chromium; where it may not be installed, those tests are skipped.
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "chromium is not installed: the page's tests will be skipped"

clean:
	rm -rf .venv .venv-clients .coverage .pytest_cache .mypy_cache .ruff_cache
