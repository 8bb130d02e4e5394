# Everything happens in .venv; nothing is installed outside of it but, for the tests as root on
# Debian, what they drive: Chromium, curl, Node with npm, proxies, Prometheus, Redis, systemd
# (`.ci/packages`).
PYTHON ?= python3
INSTALL := -m pip install --disable-pip-version-check
PIP := $(INSTALL) --quiet

.PHONY: serve test test-real test-lowest coverage bench soak scale faults autobahn try-clients lint
# `lock` writes what deploy/ installs, with hashes, within the constraints of the tests.
.PHONY: examples packages lock clean

serve: .venv/.serve
	.venv/bin/ws-bridge serve --config config.toml

# Within six minutes on two cores.
test: .venv/.dev packages
	.venv/bin/python -m pytest -n 4 --dist loadgroup -m 'not slow'

# What takes minutes, or other programs: processes, restarts under load, random faults, a soak,
# Autobahn's cases, the page in Chromium.
test-real: .venv/.dev packages .venv-node/.installed .venv-generator/.installed test-lowest
	.venv/bin/python -m pytest -n 2 --dist loadgroup -m slow tests/processes
	.venv/bin/python -m pytest tests/real

coverage: .venv/.dev
	.venv/bin/python -m pytest -n 4 --dist loadgroup --cov --cov-report=term:skip-covered

# PEERS=1: beside litellm's own proxy, in an environment of its own (700 MB). ONLY='native-*,idle'
# ROUNDS=5: parts of it; what there is, `python -m tests.bench --help` says.
bench: .venv/.dev $(if $(PEERS),.venv-peers/.installed)
	.venv/bin/python -m tests.bench $(if $(PEERS),--peers) $(if $(ONLY),--only '$(ONLY)') \
	  $(if $(ROUNDS),--rounds $(ROUNDS))

# Ten minutes of clients that come and go; ends with 1 if anything grew, or an answer was not whole.
# MINUTES=30 SEED=7 make soak
soak: .venv/.dev
	.venv/bin/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# 10,000 sockets on one process, with streams beside them for SECONDS; all of them back at once; and
# 20,000 that come and go.
SECONDS ?= 60
scale: .venv/.dev
	.venv/bin/python -m tests.scale --seconds $(SECONDS)

# Ten minutes of random faults on two servers, their store and the lines between; prints its seeds,
# ends with 1 if anybody saw what must not be. MINUTES=2 SEED=7 make faults; FAULTS=1000 make faults
MINUTES ?= 10
faults: .venv/.dev
	.venv/bin/python -m tests.faults --minutes $(MINUTES) $(if $(FAULTS),--faults $(FAULTS)) \
	  $(if $(SEED),--seed $(SEED))

# Autobahn's test cases 1-10 on the bridge's socket; the table is tests/autobahn/results.md.
autobahn: .venv/.dev
	.venv/bin/python -m tests.autobahn

# The snippets of docs/clients.md that need npm, with the newest AI SDK and Codex; before a release.
try-clients: .venv/.dev .venv-clients/.installed
	.venv/bin/python -m tests.try_clients

# The files of examples/, each also while the server stops half-way; a part of test-real.
examples: .venv/.dev packages .venv-node/.installed
	.venv/bin/python -m pytest tests/real/test_examples.py

lint: .venv/.dev
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy

.venv/.serve: pyproject.toml .ci/constraints.txt
	@echo "Installing into .venv, once: it takes a minute or two. What pip does:"
	$(PYTHON) -m venv .venv
	.venv/bin/python $(INSTALL) -c .ci/constraints.txt -e .
	touch $@

.venv/.dev: .venv/.serve
	.venv/bin/python $(PIP) -c .ci/constraints.txt -e '.[dev]'
	touch $@

# What touches litellm, on the lowest release that pyproject.toml lets in.
test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -n 4 --dist loadgroup tests/upstream tests/test_laws.py

.venv-lowest/.installed: pyproject.toml .ci/constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python $(PIP) -c .ci/constraints-lowest.txt -e '.[dev]'
	touch $@

.venv-clients/.installed:
	mkdir -p .venv-clients
	npm install --silent --no-audit --no-fund --prefix .venv-clients ai @ai-sdk/openai zod @openai/codex
	touch $@

# What tests/real drives in Node, as the lock has it.
.venv-node/.installed: tests/real/node/package.json tests/real/node/package-lock.json | packages
	mkdir -p .venv-node
	cp tests/real/node/package.json tests/real/node/package-lock.json .venv-node
	if command -v npm >/dev/null; then \
	  npm ci --silent --no-audit --no-fund --ignore-scripts --prefix .venv-node && touch $@; fi

# Makes a client out of `/openapi.json`.
.venv-generator/.installed:
	$(PYTHON) -m venv .venv-generator
	.venv-generator/bin/python $(PIP) 'openapi-python-client==0.29.1'
	touch $@

LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'
lock: .venv-lock/.installed
	.venv-lock/bin/uv $(LOCK) -c .ci/constraints.txt --extra encrypt pyproject.toml -o deploy/requirements.txt
	echo hatchling | .venv-lock/bin/uv $(LOCK) -c .ci/constraints.txt - -o deploy/requirements-build.txt

.venv-lock/.installed:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP) uv
	touch $@

.venv-peers/.installed:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python $(PIP) 'litellm[proxy]==1.110.2'
	touch $@

# Where they may not be installed, the tests that need them are skipped.
packages:
	@.ci/packages

clean:
	rm -rf .venv .venv-lowest .venv-peers .venv-clients .venv-node .venv-generator .venv-autobahn .venv-lock
	rm -rf .coverage .pytest_cache .mypy_cache .ruff_cache
