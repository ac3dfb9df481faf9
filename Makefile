# Everything runs inside .venv; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help setup run test check bench docs lock

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12 …)"; exit 2; }
	@echo "setting up .venv (about a minute, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.ready ## make .venv with everything that the other targets need

run: setup ## start the service on the embedded default (http://127.0.0.1:8787)
	$(BIN)/guardian run

test: check ## everything that must hold: check, then all tests
	$(BIN)/python -m pytest

check: setup ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv-bench/.ready: requirements.lock benchmarks/requirements.lock pyproject.toml
	@echo "setting up .venv-bench: the project and its peers (some are compiled: about ten minutes, once)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python benchmarks/install.py
	@.venv-bench/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

bench: .venv-bench/.ready ## measure beside the peers, on one core (hours); writes docs/reference/benchmarks.md
	.venv-bench/bin/python benchmarks/run.py $(ARGS)

docs: setup ## write the generated pages of docs/
	$(BIN)/python docs/generate.py

lock: ## compile both requirements.lock again (needs uv)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-header --no-annotate --python-version 3.11 --universal --quiet -o requirements.lock
	uv pip compile pyproject.toml benchmarks/requirements.in -c requirements.lock --generate-hashes --no-header --no-annotate --python-version 3.11 --universal --quiet -o benchmarks/requirements.lock
