# `make` lists what there is to do.
.DEFAULT_GOAL := help
.PHONY: help setup run fmt check test docs bench lock release
SHELL := /bin/bash
PY := .venv/bin/python

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Install everything that development needs into .venv
	@scripts/setup.sh dev

run: ## Set up and serve on an embedded Postgres, with demo data and keys
	@scripts/setup.sh run
	@exec .venv/bin/fluxbase serve --demo

fmt: setup ## Format the code
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix-only -q .

check: setup ## Lint, types, imports, fresh docs
	@$(PY) -m ruff format --check -q . && $(PY) -m ruff check -q .
	@$(PY) -m pyright --pythonpath $(PY) --warnings
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m fluxbase.reference --check

test: setup ## Set up and run all tests
	@scripts/test-needs.sh
	@$(PY) -m pytest -n $${JOBS:-2} --dist loadfile $(ARGS)

docs: setup ## Write the reference pages and fluxbase.yaml
	@$(PY) -m fluxbase.reference

bench: setup ## Measure against peers and the data rooms on one database, and judge the ratios
	@scripts/bench-needs.sh
	@$(PY) -m tests.bench $(ARGS)

lock: setup ## Pin the requirements with hashes
	@scripts/lock.sh

release: check ## Build the wheel, refusing when version and changelog differ
	@scripts/release.sh
