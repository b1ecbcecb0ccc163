# A machine needs make, Python 3.11 or newer and its package registries.  make installs everything else into .venv and
# node_modules when a target first needs it, and checks the hashes in requirements/ and package-lock.json.

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-workerd check bench bench-peers bench-scale bench-start bench-fair bill chaos fuzz sim sim-planted bundle expected-modules \
	compare-pywrangler lock fmt clean static
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done
UV := $(BIN)/python -m scripts.uv
INSTALL := $(UV) pip install --quiet --require-hashes --no-build --requirement
# The first of these that is new enough.  `make PYTHON=...` selects another one.
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-19s %s\n", $$1, $$2}'

setup: $(DONE)/dev $(DONE)/node  ## install everything that developers need

demo: $(DONE)/run  ## run a real model and real tasks on this machine
	$(BIN)/bizq demo

dev: $(DONE)/run $(if $(filter workerd,$(RUNTIME)),$(DONE)/dev $(DONE)/node)  ## run the worker until Ctrl-C; with RUNTIME=workerd in Cloudflare's runtime
	$(BIN)/bizq dev --examples $(if $(RUNTIME),--runtime $(RUNTIME))

# The static checks run first: each takes a second or two, and their messages are more exact than a failing test.
static: $(DONE)/dev
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: static $(DONE)/node  ## run all checks and all tests
	$(BIN)/pytest --numprocesses auto --dist loadgroup

check: static  ## run all checks, and the tests that are quick and need no Workers runtime
	$(BIN)/pytest --numprocesses auto --dist loadgroup -m "not heavy and not workerd"

test-workerd: $(DONE)/dev $(DONE)/node  ## run the contract suites and the whole Worker inside workerd
	$(BIN)/pytest -p tests.workerd.hosts -m "workerd or contract" --numprocesses auto --dist loadgroup

bench: $(DONE)/dev  ## measure throughput and latency on this machine
	$(BIN)/python -m tests.bench

bench-peers: $(DONE)/dev $(DONE)/peers  ## measure well-known queues beside this worker; Redis and PostgreSQL must be installed
	$(BIN)/python -m tests.bench.peers

bench-scale: $(DONE)/dev  ## count what claims, sweeps, lists and sums cost with 0.1, 1 and 5 million tasks
	$(BIN)/python -m tests.bench.scale

bench-start: $(DONE)/dev  ## measure the import of what ships and its first events: BESIDE=another checkout
	$(BIN)/python -m tests.bench.imports $(if $(BESIDE),--beside $(BESIDE))

bench-fair: $(DONE)/dev  ## measure how fairly organizations share the worker, in virtual time
	$(BIN)/python -m tests.bench.fair

sim: $(DONE)/dev  ## simulate the whole system with crashes and faults on a virtual clock: SEEDS=20
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),20)

sim-planted: $(DONE)/dev  ## check that the simulator detects every bug that is planted in the product
	$(BIN)/python -m tests.simulation.planted

chaos: $(DONE)/dev $(DONE)/node  ## kill real processes under load, with outages, then compare the costs: KILLS=200 WORKERD_KILLS=20
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),200) --workerd-kills $(or $(WORKERD_KILLS),20)

fuzz: $(DONE)/dev  ## send hostile requests, webhooks, messages, replies and schemas: FUZZ=100000
	$(BIN)/python -m tests.fuzz --count $(or $(FUZZ),100000)

bill: $(DONE)/dev $(DONE)/node  ## count in workerd what a million tasks cost on Cloudflare
	$(BIN)/python -m tests.bill

bundle: $(DONE)/dev $(DONE)/node  ## build the Worker without deploying it, and list its modules
	$(BIN)/python -m scripts.bundle

expected-modules: $(DONE)/dev  ## accept the modules that ship now; run it after adding or moving one
	$(BIN)/python -m scripts.stage --list > tests/repository/expected_modules.txt

compare-pywrangler: $(DONE)/dev  ## check that pywrangler installs the same packages as `make bundle` (needs a network)
	$(BIN)/python -m scripts.compare_pywrangler

fmt: $(DONE)/dev  ## format, and fix the lint errors that can be fixed automatically
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

# UPGRADE=--upgrade also moves the versions that pyproject.toml does not fix.
lock: $(DONE)/uv  ## write requirements/ and package-lock.json from pyproject.toml and package.json
	$(BIN)/python -m scripts.lock $(UPGRADE)

clean:  ## remove everything that make and pywrangler have created, except data
	rm -rf $(VENV) .venv-workers pylock.toml node_modules python_modules .build .wrangler dist .cache .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find consumer providers scripts tests -name __pycache__ -prune -exec rm -rf {} +

# ------------------------------------------------------------------ installed by the targets above

$(DONE)/venv:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer was found: install one, or run make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(DONE) && touch $@

$(DONE)/uv: requirements/uv.txt | $(DONE)/venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(DONE)/run: requirements/run.txt pyproject.toml $(DONE)/uv
	$(INSTALL) $<
	$(UV) pip install --quiet --no-deps --editable .
	@touch $@

$(DONE)/dev: requirements/dev.txt $(DONE)/run
	$(INSTALL) $<
	@touch $@

$(DONE)/peers: requirements/peers.txt $(DONE)/uv
	$(UV) venv --quiet --clear .cache/peers
	$(UV) pip install --quiet --require-hashes --no-build --python .cache/peers --requirement $<
	@touch $@

# Not `npm ci`: it fails unless the registry has the optional binaries of every platform, and some mirrors do not.
$(DONE)/node: package.json package-lock.json $(DONE)/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" npm install --no-save --ignore-scripts --loglevel=error
	@touch $@
