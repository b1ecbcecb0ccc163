# A machine needs make, Python 3.11 or newer and its package registries.  Everything else is installed below
# .venv and node_modules, from the hashes in requirements/ and package-lock.json, the first time it is needed.

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-workerd check bench bill chaos fuzz sim bundle expected-modules lock fmt clean static
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done
UV := $(BIN)/python -m scripts.uv
INSTALL := $(UV) pip install --quiet --require-hashes --no-build --requirement
# The first of these that is new enough; `make PYTHON=...` decides otherwise.
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | awk -F'\t' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(DONE)/dev $(DONE)/node  ## install everything that development needs

demo: $(DONE)/run  ## see it work: a real model, real tasks, one machine
	$(BIN)/bizq demo

dev: $(DONE)/run $(if $(filter workerd,$(RUNTIME)),$(DONE)/dev $(DONE)/node)  ## run the worker on this machine until Ctrl-C; RUNTIME=workerd: in the Workers runtime
	$(BIN)/bizq dev --examples $(if $(RUNTIME),--runtime $(RUNTIME))

# Static checks need a second or two each and tell more than a failing test: they come first.
static: $(DONE)/dev
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: static $(DONE)/node  ## all checks and all tests
	$(BIN)/pytest --numprocesses auto --dist loadgroup

check: static  ## the same without what needs the Workers runtime or much time
	$(BIN)/pytest --numprocesses auto --dist loadgroup -m "not heavy and not workerd"

test-workerd: $(DONE)/dev $(DONE)/node  ## the suites of both hosts and the Worker as a black box, inside workerd
	$(BIN)/pytest -p tests.workerd.hosts -m "workerd or contract" --numprocesses auto --dist loadgroup

bench: $(DONE)/dev  ## measure throughput and latency on this machine
	$(BIN)/python -m tests.bench

sim: $(DONE)/dev  ## the whole system on a virtual clock, in a hostile world: SEEDS=20
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),20)

sim-planted: $(DONE)/dev  ## plant bugs in the product; the simulator has to catch every one
	$(BIN)/python -m tests.simulation.planted

chaos: $(DONE)/dev $(DONE)/node  ## kill real processes under load, then compare the books: KILLS=200 WORKERD_KILLS=20
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),200) --workerd-kills $(or $(WORKERD_KILLS),20)

fuzz: $(DONE)/dev  ## hostile requests, webhooks, messages, replies and schemas: FUZZ=100000
	$(BIN)/python -m tests.fuzz --count $(or $(FUZZ),100000)

bill: $(DONE)/dev $(DONE)/node  ## what a million tasks cost on Cloudflare, counted in workerd
	$(BIN)/python -m tests.bill

bundle: $(DONE)/dev $(DONE)/node  ## build what would be deployed, without deploying it, and list it
	$(BIN)/python -m scripts.bundle

expected-modules: $(DONE)/dev  ## accept the modules that ship now as the expected ones
	$(BIN)/python -m scripts.stage --list > tests/repository/expected_modules.txt

fmt: $(DONE)/dev  ## format, and mend what can be mended
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

# UPGRADE=--upgrade also moves what pyproject.toml does not pin.
lock: $(DONE)/uv  ## write requirements/ and package-lock.json anew from pyproject.toml and package.json
	$(BIN)/python -m scripts.lock $(UPGRADE)

clean:  ## remove everything that make has made
	rm -rf $(VENV) node_modules python_modules .build .wrangler dist .cache .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find consumer providers scripts tests -name __pycache__ -prune -exec rm -rf {} +

# ---------------------------------------------------------------------- what the targets above stand on

$(DONE)/venv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found"; exit 1; }
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

# Not `npm ci`: it insists on the optional binaries of all platforms, which not every registry mirror carries.
$(DONE)/node: package.json package-lock.json $(DONE)/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" npm install --no-save --ignore-scripts --loglevel=error
	@touch $@
