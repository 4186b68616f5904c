.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

.PHONY: help setup demo test faults bench lint lock format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): requirements/uv.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## Make the environment in .venv, nothing else

demo: $(STAMP) ## The main job on embedded parts: broker, store, worker, console, and a story
	$(BIN)/mimamori demo

lint: $(STAMP) ## Formatting, lint, strict types, import layers, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .

test: lint ## All checks and tests (REQUIRE_SERVICES=1: what is missing fails)
	$(BIN)/pytest -n 2 --dist loadfile --reruns 2

faults: $(STAMP) ## The fault matrix on Apache Kafka and PostgreSQL, half an hour (FAULTS='--rows 4,13 --seed 7')
	$(BIN)/python -m tests.faults $(FAULTS)

bench: $(STAMP) ## Throughput, latency and restart beside Apache Kafka and PostgreSQL (BENCH=--small: only to try)
	$(BIN)/python tests/services/bench.py $(BENCH)

format: $(STAMP) ## Format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Write requirements/*.txt anew: versions with hashes, no addresses
	cd requirements && ../$(BIN)/uv pip compile $(LOCK) uv.in -o uv.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt

clean: ## Remove the environment and what the demo left
	rm -rf $(VENV) .mimamori
