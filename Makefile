# Everything from a fresh clone: Python 3.11 or newer and pip are all that must be there.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help install test check-types test-fast test-slow test-gpu demo format clean

# The first Python that is new enough; `make PYTHON=/path/to/python3.12 test` chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$candidate" && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Set here, so that a machine with many cores does not split small tensors into crumbs.
THREADS ?= 1
export OMP_NUM_THREADS = $(THREADS)
export MKL_NUM_THREADS = $(THREADS)
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE ?= 1
export MPLBACKEND := Agg
PYTEST_FLAGS ?=
# What `make demo` is given, as in `make demo ARGS='--seed 1'`.
ARGS ?=
# Processes that run tests, each with THREADS threads.
WORKERS ?= 2

.DEFAULT_GOAL := help

help:  ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r target text; do \
		printf 'make %-10s %s\n' "$$target" "$$text"; done

install: $(STAMP)  ## Create .venv and install everything, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@"$(or $(PYTHON),false)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "seqrl needs Python 3.11 or newer; found: $$("$(or $(PYTHON),python3)" --version 2>&1 || true)." >&2; \
		echo "Install it, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv $(VENV); } || { \
		rm -rf $(VENV); echo "Python's venv module is not complete (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing seqrl and what it needs into $(VENV); this downloads up to a few GB once and takes some minutes ..."
	@rm -rf seqrl.egg-info  # an old one would go on naming entry points of before
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e '.[dev]'
	@echo "Compiling the metrics' loops ..."
	@$(BIN)/python -m seqrl.metrics.warm_up
	@touch $@
	@echo "Installed."

test: $(STAMP)  ## Check style, types and imports, and run the fast tests, side by side
	@$(MAKE) --no-print-directory --jobs 2 check-types test-fast

check-types: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/mypy  # remembers in .mypy_cache what has not changed

test-fast: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow" $(PYTEST_FLAGS)

test-slow: $(STAMP)  ## Run the tests that learn to a threshold
	$(BIN)/python -m pytest -q -n $(WORKERS) -m slow --durations=15 $(PYTEST_FLAGS)

# On a machine that nothing can be installed on, `make test-gpu VENV= PYTHON=python3` takes the packages that are there.
GPU_PYTHON := $(if $(VENV),$(BIN)/python,$(PYTHON))

test-gpu: $(if $(VENV),$(STAMP))  ## Run every trainer on every kind of task on the GPU, in each number format
	@test -n "$(VENV)" || $(GPU_PYTHON) -c 'import setuptools; setuptools.setup()' -q egg_info  # tasks and trainers are found by it
	PYTHONPATH=.:$$PYTHONPATH $(GPU_PYTHON) -m pytest -q -n $(WORKERS) -m "not slow" tests/matrix $(PYTEST_FLAGS)

demo: $(STAMP)  ## Optimise a captioner for CIDEr-D before your eyes: four minutes on two cores; ARGS=--help lists what else
	@exec $(BIN)/python -m seqrl.tasks.captioning.demo $(ARGS)

format: $(STAMP)  ## Put the code into the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove the environment and all caches; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
