# Needs Python 3.11 or newer and nothing else: `make bench` and `make test` set up .venv themselves.
PYTHON ?= python3
PROFILE ?= quick
# Of which entries `make seeds` trains further seeds: one of each family.
SEEDED ?= made,vae,hinge_gan,real_nvp,flow_matching,binary-rbm
# Test processes: one per core, at most 4, since each holds the data and torch.
JOBS ?= logical
UV ?= uv
SHELL := bash

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
RUN := PATH="$(BIN):$$PATH"
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
CLUSTER := $(VENV)/.cluster

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install install-cluster bench seeds test test-avx2 test-cluster check-results lint ui clean lock profiles

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1: /p' Makefile

$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "genbench needs Python 3.11 or newer, and $(PYTHON) is " \
		+ sys.version.split()[0] + "; name another one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing $$(grep -c == requirements.lock) packages into $(VENV): on Linux about 3 GB to download, most of it torch" \
		"with its CUDA libraries, and 6 GB on disk; with 1 Gbit/s two minutes"
	@set -o pipefail; "$(BIN)/python" -m pip install --progress-bar off --require-hashes -r requirements.lock \
		| { grep --line-buffered -oE '(Downloading|Using cached) [^ ]+ \(([0-9]{3,}\.[0-9]+ MB|[0-9.]+ GB)\)|Successfully installed' || true; }
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	"$(BIN)/python" -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

install: $(INSTALLED) ## the environment in .venv, from the locked and hashed versions

$(CLUSTER): $(INSTALLED) requirements-cluster.lock
	"$(BIN)/python" -m pip install --quiet --require-hashes -r requirements.lock -r requirements-cluster.lock
	@touch $@

install-cluster: $(CLUSTER) ## what runs on Slurm and Ray need besides

bench: $(INSTALLED) ## train, score and compare everything (PROFILE=smoke|quick|full)
	$(RUN) genbench run --profile $(PROFILE)

seeds: $(INSTALLED) ## three seeds of an entry of each family, beside what `make bench` runs (SEEDED=made,vae for others)
	$(RUN) genbench run --profile $(PROFILE) --seeds 3 --entries $(SEEDED)

test: $(INSTALLED) ## the tests (TESTS="tests/test_cli_run.py -k targets" for some of them, JOBS=0 in one process)
	$(RUN) python -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

test-avx2: $(INSTALLED) ## those that depend on the processor, on this one limited to AVX2, where bfloat16 is not native
	$(RUN) ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist load -m processor $(TESTS)

test-cluster: $(CLUSTER) ## all of smoke here, on a real Slurm and on Ray, with equal bits (needs root and the packages of Slurm)
	$(RUN) python -m benchmarks.cluster

check-results: $(INSTALLED) ## whether README, reports and committed comparisons agree with params.yaml and each other
	$(RUN) python -m pytest tests/committed_results/check_*.py

lint: $(INSTALLED) ## style and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

ui: $(INSTALLED) ## the runs in MLflow, in a browser
	$(RUN) genbench ui

clean: $(INSTALLED) ## remove checkpoints that no entry needs
	$(RUN) genbench clean

lock: ## compile requirements.in again (needs uv)
	$(UV) pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 requirements.in -o requirements.lock
	$(UV) pip compile --quiet --universal --no-annotate --no-header --python-version 3.11 requirements.in -o constraints.txt
	$(UV) pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 requirements-cluster.in -o requirements-cluster.lock

profiles: ## copy dvc.yaml into each profile; those of further seeds have another one, which is written anew
	for profile in profiles/*/; do \
		if grep -qs '^seeds_of:' "$$profile/params.yaml"; then "$(BIN)/python" -m genbench.pipeline.seed_profile "$$profile"; \
		else cp dvc.yaml "$$profile"; fi; done
