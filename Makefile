# `make help` lists what there is. Everything sets itself up first; a second time it only looks.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .cityfeed/venv/bin
SETUP := $(PYTHON) -m deploy.local.bootstrap
NEEDED := { test -x $(VENV)/cityfeed || { echo "cityfeed is not set up here: make run does that" >&2; exit 1; }; }

.PHONY: help setup run up down status clean test chaos lint format bench lock doctor

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: ## install and build what is missing on this machine (root), into .cityfeed
	@$(SETUP)

run: ## start everything with the sample city and stay until Ctrl-C
	@$(SETUP) && exec $(VENV)/cityfeed up

up: ## the same in the background
	@$(SETUP) && exec $(VENV)/cityfeed up --detach

down: ## end what `make up` started
	@$(NEEDED) && exec $(VENV)/cityfeed down

status: ## each part: up or not, memory, lag, readings/s
	@$(NEEDED) && exec $(VENV)/cityfeed status

clean: ## remove the state (readings, queues, logs); what set-up built stays
	@$(NEEDED) && exec $(VENV)/cityfeed clean

test: ## the whole test suite against real servers of its own
	@$(SETUP) --tests && exec $(VENV)/pytest -n 2 --dist worksteal

chaos: ## kill and stop everything under load, check that nothing is lost (make chaos SEED=7 SCENARIO=kill-windows)
	@$(SETUP)
	$(if $(SCENARIO),,CITYFEED_TEST_CASES=5000 $(VENV)/pytest -q --timeout 3600 tests/stream_processors/test_exactly_once_property.py -k raw_log)
	$(if $(SCENARIO),,CITYFEED_TEST_WHOLE_WEEK=1 $(VENV)/pytest -q tests/integration/test_chain.py -k real_slices)
	$(VENV)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SCENARIO),--scenario $(SCENARIO))

lint: ## ruff and mypy
	@$(SETUP) --dev
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

format: ## let ruff put the code into its form
	@$(SETUP) --dev
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

bench: ## measure speed and memory; writes bench/results.json
	@$(SETUP) --dev && exec $(VENV)/python -m tests.bench

COMPILE := $(VENV)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
  --no-emit-find-links --custom-compile-command 'make lock' --quiet pyproject.toml

lock: ## pin all dependencies: what runs, and with the tools (make lock UPGRADE=--upgrade: their newest versions)
	@$(SETUP) --dev
	$(COMPILE) $(UPGRADE) --all-extras --output-file requirements-dev.lock
	$(COMPILE) $(UPGRADE) --constraint requirements-dev.lock --output-file requirements.lock

doctor: ## what is missing on this machine, and how to get it
	@if test -x $(VENV)/python; then $(VENV)/python -m deploy.local.doctor; else $(PYTHON) -m deploy.local.doctor; fi
