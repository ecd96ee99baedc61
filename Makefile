# `make demo` runs the main job, `make test` the tests; both make their own environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
LAPTOP := .venv/.laptop-installed
DEV := .venv/.dev-installed
IMAGE_OPTIONS = --accelerator $(or $(ACCELERATOR),cuda) $(if $(BASE),--base $(BASE))
SERVE := .venv-serve/.installed-$(shell cksum < requirements/serve.lock.txt | cut -d' ' -f1)

.PHONY: demo images push test test-images test-cluster cluster-tools fuzz-cluster test-long test-vllm serve-env lint docs bench-train bench-operator e2e chaos chaos-local clean lock help

help: ## say what can be made
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(LAPTOP) ## midtrain, fine-tune and evaluate a real model; ends with a table
	$(BIN)/msm run manifests/demo.yaml

test: $(DEV) ## lint, types, layers, generated docs, unit and integration tests: the fast lane
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest

test-long: $(DEV) ## kills, stopped services, full disks: half a minute and more each
	$(BIN)/python -m pytest -m long

test-vllm: $(DEV) ## tests that ask a real vLLM on the processor; skipped with the reason where it cannot be had
	-$(MAKE) --no-print-directory serve-env
	MSM_VLLM_PYTHON=.venv-serve/bin/python $(BIN)/python -m pytest -m vllm tests/integration/vllm

test-cluster: $(DEV) cluster-tools ## tests on a real control plane; builds it first (BUDGET seconds), skips with the reason what cannot be had
	$(BIN)/python -m pytest tests/cluster

cluster-tools: ## etcd, Kubernetes, kwok, training-operator, KServe, Kueue, helm from their Go modules, into a cache outside of the checkout
	@$(PYTHON) tools/build.py --budget $(or $(BUDGET),2400) core train serve queue cli || \
	  case $$? in 69|75) echo "cluster lane: what is not built is skipped below";; *) exit 1;; esac

fuzz-cluster: $(DEV) cluster-tools ## 10,000 random MSMRuns on the real API server
	$(BIN)/python -m tests.cluster.fuzz --seed $(or $(SEED),0)

images: ## build the images that changed (ACCELERATOR=cpu for clusters without a GPU, BASE=local where there is no registry, ONLY="operator")
	@$(PYTHON) images/build.py $(IMAGE_OPTIONS) $(ONLY) || case $$? in 69) ;; *) exit 1;; esac

push: ## publish them: make push REGISTRY=registry.example/team; writes build/images.yaml for helm
	@test -n "$(REGISTRY)" || { echo "REGISTRY: is not set; type: make push REGISTRY=registry.example/team" >&2; exit 2; }
	$(PYTHON) images/build.py $(IMAGE_OPTIONS) --push $(REGISTRY) $(ONLY)

test-images: $(DEV) ## run every built image as nobody, on a read-only root, without a shell; needs root, runc and buildah
	$(BIN)/python -m pytest -m images tests/e2e/images

serve-env: $(SERVE) ## vLLM for the processor in an environment of its own, .venv-serve (5 GB; needs Debian's libnuma1)

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

bench-synth: $(DEV) ## figures of the synthesis; those of a real server need `make serve-env` first
	MSM_VLLM_PYTHON=.venv-serve/bin/python $(BIN)/python -m tests.bench.bench_synth

bench-operator: $(DEV) cluster-tools ## runs started a second, latency, writes, memory and restart of the operator on a real control plane
	$(BIN)/python -m tests.bench.bench_operator

e2e: $(DEV) ## a real node: images, chart by helm, the shipped manifests; half an hour on two cores, its programs and images apart; writes docs/results/e2e.md. What the machine lacks is said
	-@$(PYTHON) tools/build.py core train serve cli node
	-@$(PYTHON) images/build.py --base local --accelerator cpu operator trainer serve training-operator kserve-controller storage-initializer network-policies seaweedfs mlflow
	$(BIN)/python -m tests.e2e

chaos: $(DEV) cluster-tools ## the operator: 1,000 injected crashes and 50 real kills of two replicas; nothing may be lost
	$(BIN)/python -m tests.chaos.operator --seed $(or $(SEED),0)

chaos-local: $(DEV) ## 40 real kills and 600 injected crashes; nothing may be lost
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

$(SERVE): $(UV) requirements/serve.lock.txt
	$(UV) venv -q --allow-existing -p $(BIN)/python .venv-serve
	$(UV) pip sync -q -p .venv-serve --require-hashes requirements/serve.lock.txt
	rm -f .venv-serve/.installed-*
	@touch $@

clean: ## remove what make made, but no run and no store
	rm -rf .venv .venv-serve .mypy_cache .ruff_cache .pytest_cache build
