# `make demo` runs the main job, `make test` the tests; both make their own environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
LAPTOP := .venv/.laptop-installed
DEV := .venv/.dev-installed

.PHONY: demo test lint docs bench-train chaos-local clean lock help

help: ## say what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(LAPTOP) ## midtrain, fine-tune and evaluate a real model; ends with a table
	$(BIN)/msm run manifests/demo.yaml

test: $(DEV) ## lint, types, layers, generated docs, unit and integration tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

docs: $(DEV) ## regenerate docs/reference and the JSON schema
	$(BIN)/python docs/generate.py

bench-train: $(DEV) ## tokens/s against a bare PyTorch loop
	$(BIN)/python -m tests.bench.bench_train

bench-synth: $(DEV) ## the client for language models against a bare loop
	$(BIN)/python -m tests.bench.bench_synth

chaos-local: $(DEV) ## 40 real kills and 500 injected crashes; nothing may be lost
	$(BIN)/python -m tests.chaos.local --seed $(or $(SEED),0)

lock: ## resolve requirements/*.in again
	PATH=$(CURDIR)/$(BIN):$$PATH requirements/lock.sh

$(UV): requirements/uv.lock.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.lock.txt
	@touch $@

$(LAPTOP): $(UV) requirements/laptop.lock.txt pyproject.toml
	$(UV) pip install -q -p .venv --no-deps --require-hashes -r requirements/laptop.lock.txt
	$(UV) pip install -q -p .venv --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(LAPTOP) requirements/dev.lock.txt
	$(UV) pip install -q -p .venv --no-deps --require-hashes -r requirements/dev.lock.txt
	@touch $@

clean: ## remove what make made, but no run and no store
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build
