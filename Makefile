# The public commands. `make` alone lists them; every one of them first brings the environment up to date.
#
#   PYTHON=python3.12 make setup      another interpreter
#   make setup TORCH_CPU_INDEX=       the torch that pip itself would choose (with CUDA on Linux)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
RUN := $(BIN)/python
# Tests that share something dear name a group, and a group stays in one process.
PROCESSES ?= 2
PYTEST := $(RUN) -m pytest -n $(PROCESSES) --dist loadgroup

# The one place that names PyTorch's public index of CPU builds. Where it answers, a machine without a GPU is spared
# gigabytes of CUDA; where it does not, pip's ordinary road is taken.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# One thread a process: two OpenMP threads beside another busy process run many times slower than one.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Sphinx, pytest and npm are all run from the environment, whatever is on the reader's PATH.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help setup book test check attack lab serve pdf offline clean

help: ## this list
	@echo "The interactive companion to The Optimization Landscape of SGD Across the Feature Learning Strength"
	@echo
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
	  || grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "First time: make book (about five minutes), then make serve."

setup: $(VENV)/.ready $(if $(wildcard package-lock.json),node_modules/.ready) ## the environment in .venv, development tools included; quick when nothing changed
	$(if $(filter setup,$(MAKECMDGOALS)),@echo "setup: $(VENV) is up to date",@:)

book: setup ## chapters executed, website in _build/html
	@echo "book: executing the chapters and writing the website (a minute or two) ..."
	@$(RUN) -m richness.site build || { echo "book: the website was not built. The message above names the chapter;" \
	  "'make book' runs it again, and 'richness rerun CHAPTER' runs one chapter alone." >&2; exit 1; }
	@echo "book: done. 'make serve' shows it. (Opened as a file, _build/html/index.html has text and pictures only.)"

test: setup ## all that CI checks: builds the site strictly, then tests it and everything else
	@echo "test: 1 of 2, lint and types, and the website from a clean _build, warnings as errors"
	@$(MAKE) -j2 lint types strict-site
	@echo "test: 2 of 2, every test"
	@$(PYTEST) --durations=40

check: setup ## the fast lane, about three minutes: lint, types, unit tests
	@echo "check: lint, types, unit tests (not the slow ones, not the website)"
	@$(MAKE) lint
	@$(MAKE) -j2 types unit-tests

attack: setup ## random attacks on files, downloads and reruns, some minutes (ATTACKS=20); what they found is in SECURITY.md
	@$(RUN) -m pytest -q -s tests/trust/attack.py

lab: setup ## JupyterLab on the chapters
	@echo "lab: JupyterLab opens in the browser; stop it with Ctrl-C."
	@$(BIN)/jupyter lab --notebook-dir=chapters

serve: setup ## the built website on localhost (PORT=8000)
	@test -f _build/html/index.html || { echo "serve: there is no website in _build/html yet. Run 'make book' first." >&2; exit 1; }
	@$(RUN) -m richness.site serve --port $(PORT)

pdf: setup ## the built website as one PDF, _build/book.pdf
	@test -f _build/html/index.html || { echo "pdf: there is no website in _build/html yet. Run 'make book' first." >&2; exit 1; }
	@echo "pdf: printing every page (half a minute) ..."
	@$(RUN) -m richness.site print

offline: setup ## the built website as one zip to read without a network, with its SHA-256, in _build/release
	@$(RUN) -m richness.site pack

clean: ## removes _build and runs; keeps .venv
	@rm -rf _build runs
	@echo "clean: removed _build and runs."

# The parts of `test` and `check`. Four tools, each silent when content, each with the command that mends what it found.
.PHONY: lint types strict-site unit-tests

lint:
	@$(BIN)/ruff check . || { echo "lint: '.venv/bin/ruff check --fix .' mends most of these." >&2; exit 1; }
	@$(BIN)/ruff format --check . || { echo "lint: '.venv/bin/ruff format .' writes the files as they should stand." >&2; exit 1; }
	@said=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$said"; \
	  echo "lint: a room imports from a floor above its own; CONTRIBUTING.md has the list of floors." >&2; exit 1; }

types:
	@$(BIN)/mypy || { echo "types: mypy found types that do not fit; the lines are above." >&2; exit 1; }

strict-site:
	@$(RUN) -m richness.site build --strict --clean || { echo "test: the strict build failed. The message above names" \
	  "the page; 'make book' builds without the strictness." >&2; exit 1; }

unit-tests:
	@$(PYTEST) -q -m "not slow and not site and not browser"

# The environment. `.ready` is written last, so a broken install is taken up again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "setup: found no '$(PYTHON)'. Install Python 3.11 or newer (Debian, Ubuntu:" \
	  "sudo apt-get install python3 python3-venv), or name one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: Python 3.11 or newer is needed;" \
	  "'$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name a newer one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "setup: '$(PYTHON)' comes without its venv module." \
	  "Install it (Debian, Ubuntu: sudo apt-get install python3-venv) and run this again." >&2; exit 1; }
	@if ! $(RUN) -m pip --version > /dev/null 2>&1; then \
	  echo "setup: making $(VENV) with $$($(PYTHON) --version)"; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); fi
	@$(call torch_for_cpu)
	@echo "setup: installing the package and its tools (about 2.6 GB on disk; some minutes the first time) ..."
	@$(RUN) -m pip install -q -c constraints.txt -e ".[book,dev]" || { echo "setup: pip could not install everything;" \
	  "its message is above. If it names the network, run 'make setup' again: it takes up where it stopped." >&2; exit 1; }
	@touch $@
	@echo "setup: ready."

# Only where torch is missing, no NVIDIA card is seen, and the index answers within three seconds.
define torch_for_cpu
if [ -n "$(TORCH_CPU_INDEX)" ] && ! $(RUN) -m pip show -q torch 2> /dev/null && ! nvidia-smi > /dev/null 2>&1; then \
  if $(RUN) -c 'import signal, sys, urllib.request as u; signal.alarm(3); sys.exit(u.urlopen(sys.argv[1] + "/torch/", timeout=3).status != 200)' \
    "$(TORCH_CPU_INDEX)" > /dev/null 2>&1; then \
    echo "setup: installing torch without CUDA, from PyTorch's own index"; \
    $(RUN) -m pip install -q --no-deps --index-url "$(TORCH_CPU_INDEX)" -c constraints.txt torch \
      || echo "setup: that did not work; going on with pip's own torch"; \
  else echo "setup: PyTorch's index of CPU builds does not answer; taking the torch that pip finds"; fi; fi
endef

# What the website needs at build time (npm comes with the environment: no system Node is asked for).
node_modules/.ready: package-lock.json $(VENV)/.ready
	@echo "setup: fetching the website's JavaScript (npm ci) ..."
	@$(BIN)/npm ci --no-audit --no-fund --loglevel=error || { echo "setup: npm could not fetch the website's JavaScript;" \
	  "its message is above. If it names the network, run 'make setup' again." >&2; exit 1; }
	@touch $@
