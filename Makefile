# Each target does all of its set-up itself. Only Python 3.11 with venv, and make, have to be there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
CODE := panda panda_api pilot flows tasks tests examples deployments $(wildcard benchmarks)
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup-demo setup-test setup-docs demo up test test-slow check format bench docs migration lock clean

help: ## Say what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup-demo:
	@requirements/install.sh demo

setup-test:
	@requirements/install.sh demo test

setup-docs:
	@requirements/install.sh docs

demo: setup-demo ## Run a physics campaign through the whole system, from request to plot.
	$(BIN)/panda demo

up: setup-demo ## Start the whole system and keep it running.
	$(BIN)/panda up

test: check ## Lint, types, layers, and all tests that are not slow (under 12 minutes on 2 cores).
	$(PYTEST) -m "not slow" -n 2 --dist loadgroup

test-slow: setup-test ## The long tests (under 30 minutes on 2 cores).
	$(PYTEST) -m slow -n 2 --dist loadgroup

check: setup-test ## Lint, format, types, layers, spelling.
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell $(CODE) docs Makefile *.md

format: setup-test ## Put the code into its usual form.
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

bench: setup-test ## Measure: ratios to limits of the same run, into benchmarks/RESULTS.md (under 10 minutes).
	$(BIN)/python -m benchmarks

docs: setup-docs ## Write the pages that are made from the code, and the site to .panda/site, strict about links.
	$(BIN)/python docs/make_states.py
	$(BIN)/python docs/make_settings.py
	$(BIN)/mkdocs build --quiet --strict

migration: setup-test ## NAME=...: write a migration from what changed in the tables (BRANCH=panda or ddm).
	$(BIN)/panda db migration "$(NAME)" --branch "$(or $(BRANCH),panda)"

lock: setup-test ## Pin the requirements anew, with hashes; UPGRADE=1 takes newer versions.
	for set in boot main demo test docs; do \
	    $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --only-binary :all: \
	        --python-version 3.11 $(if $(UPGRADE),--upgrade) requirements/$$set.in -o requirements/$$set.txt; \
	done

clean: ## Remove what these targets made; the data folder .panda too.
	rm -rf .venv .panda .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
