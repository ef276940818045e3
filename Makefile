# What a contributor, and CI, can ask for. `make` alone lists it. The first target that needs an environment sets one
# up in .venv, once, and again when pyproject.toml or constraints.txt change; nothing has to be installed before.

# The first interpreter that is new enough; name another with `make setup PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
PEERS_READY := .venv/.ready-peers
OLDEST_READY := .venv-oldest/.ready

export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

# Tests never ask a server for a model or a data set.
PYTEST := HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-full microworld test test-slow test-peer test-browser test-gpu test-oldest bench bench-linear bench-profile lint format imports build clean

help: ## list the targets
	@echo 'make <target>     ARGS="..." is passed on to pytest or the benchmark: make test ARGS="tests/blocks -x"'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(READY) ## create .venv with the pinned versions (every other target does it when needed)
	@echo "Ready: $(BIN)"

demo: $(READY) ## run the whole study on the micro-world, offline: five conditions, four controls, one report
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/stratalign demo

demo-full: $(READY) ## the same with all four preference sets and three seeds (an hour and more of processor time)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/stratalign demo --full --out studies/demo-full

microworld: $(READY) ## rebuild the micro-world's base model and preference sets in place (about half an hour)
	HF_HUB_OFFLINE=1 $(BIN)/python -m stratalign.microworld_build

test: $(READY) ## run the tests that every change must pass, on as many processes as there are cores (ARGS="-n 0": on one)
	OMP_NUM_THREADS=1 $(PYTEST) -n auto --dist worksteal $(ARGS)

test-slow: $(READY) ## run the tests that take minutes
	$(PYTEST) -m slow $(ARGS)

test-peer: $(PEERS_READY) ## train with stock TRL beside ours and compare; lm-eval and transformers serve (installs them)
	$(PYTEST) -m peer $(ARGS)

test-browser: $(READY) ## open a report in headless Chromium
	$(PYTEST) -m browser $(ARGS)

test-gpu: $(READY) ## run the tests that need a CUDA device
	$(PYTEST) -m gpu $(ARGS)

test-oldest: $(OLDEST_READY) ## run the default and peer tests with the oldest supported versions, in .venv-oldest
	HF_HUB_OFFLINE=1 .venv-oldest/bin/python -m pytest -m 'not slow and not browser and not gpu' $(ARGS)

bench: $(READY) ## time stratalign beside stock TRL: make bench ARGS="--pairs FILE" (an hour and more on a CPU)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.beside_trl $(ARGS)

bench-linear: $(READY) ## time stratalign over conditions and pairs: make bench-linear ARGS="--pairs FILE"
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.linear_cost $(ARGS)

bench-profile: $(READY) ## time a layer profile beside what its trained depths say: make bench-profile ARGS="--pairs FILE"
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.profile_cost $(ARGS)

lint: $(READY) ## check style, format, types, imports and leftover words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if grep -rnE '\b(FIXME|XXX|HACK)\b|breakpoint\(\)' --include='*.py' src tests benchmarks; then echo 'leftover words: see above'; exit 1; fi

format: $(READY) ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

imports: $(READY) ## show which imports the picture allows, and whether it holds
	@sed -n '/^\[tool.importlinter\]/,$$p' pyproject.toml
	@$(BIN)/lint-imports --no-logo --verbose --show-timings

build: $(READY) ## build the wheel in dist/
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --build-constraint constraints.txt -w dist .

clean: ## remove the environments, caches and built files
	rm -rf .venv .venv-oldest build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# pip itself is pinned, so that every machine understands --build-constraint (the wheel's builder is pinned, too).
# $(1): the environment's folder, $(2): its constraints
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo 'stratalign needs Python 3.10 or newer; $(PYTHON) is' "$$($(PYTHON) --version 2>&1)." \
	       'Name one that is: make PYTHON=/path/to/python3.12'; exit 1; }
	@echo 'Setting up $(1) with $(2): some minutes, once.'
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(1) && $(PYTHON) -m venv $(1); }
	@$(1)/bin/python -m pip install -q --disable-pip-version-check -c $(2) pip
	@$(1)/bin/python -m pip install -q --disable-pip-version-check -c $(2) --build-constraint $(2) -e '.[dev]'
	@touch $@
endef

$(READY): pyproject.toml constraints.txt
	$(call install,.venv,constraints.txt)

$(PEERS_READY): $(READY)
	@echo 'Adding lm-eval and a model server to .venv, once.'
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --build-constraint constraints.txt -e '.[peers]'
	@touch $@

$(OLDEST_READY): pyproject.toml constraints-oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { \
	  echo 'The oldest versions have no wheels for Python 3.13: make test-oldest PYTHON=python3.12'; exit 1; }
	$(call install,.venv-oldest,constraints-oldest.txt)
