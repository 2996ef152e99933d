# The commands of this repository; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Each worker starts an engine and a database of its own, and often waits for it: one more than there are processors
# keeps those busy, and more than four gain little.
WORKERS ?= $(shell n=$$(( $$(nproc 2>/dev/null || echo 1) + 1 )); echo $$(( n > 4 ? 4 : n )))

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A person's own pip settings may suit other projects; these make them harmless here.
PIP := PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: venv ## Run tallyd here, with a sample where the engine has no labelled container
	@$(BIN)/python -m controller.sample $(ARGS)

.PHONY: test
test: venv ## Run every test; ARGS="-k name" for some, WORKERS=0 for one after the other
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then .ci/components; fi
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope $(ARGS)

.PHONY: bench
bench: venv ## Measure P1 to P9 and T6 on a real engine; ARGS="--quick", "--write", "--help"
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then .ci/components; fi
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: soak
soak: venv ## Half an hour of mischief over all sources, then the judgement; ARGS="--minutes 2", "--seed 3"
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then .ci/components; fi
	@$(BIN)/python -m tests.soak $(ARGS)

.PHONY: lint
lint: venv ## Check format, code, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: venv ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: venv
venv: $(STAMP) ## Make the environment in .venv; done again when the lock changes

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "tallyd needs Python 3.11 or later; name one with: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		PYTHON="$(PYTHON)" .ci/components python; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "Installing the locked dependencies into $(VENV)" >&2
	@$(PIP) install -qq --require-hashes --requirement requirements-dev.lock
	@PIP_REQUIRE_HASHES=0 $(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

COMPILE := pip compile --quiet --universal --upgrade --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml

.PHONY: lock
lock: venv ## Resolve the dependencies anew into both lock files
	@scratch="$$(mktemp -d)"; trap 'rm -rf "$$scratch"' EXIT; \
	$(BIN)/python -m venv "$$scratch"; \
	PIP_USER=0 "$$scratch/bin/python" -m pip install --quiet --disable-pip-version-check uv; \
	"$$scratch/bin/uv" $(COMPILE) --output-file requirements.lock; \
	"$$scratch/bin/uv" $(COMPILE) --extra dev --output-file requirements-dev.lock

.PHONY: sbom
sbom: venv ## Write the bill of materials (CycloneDX) of the locked dependencies to build/sbom.cdx.json
	@scratch="$$(mktemp -d)"; trap 'rm -rf "$$scratch"' EXIT; mkdir -p build; \
	$(BIN)/python -m venv "$$scratch"; \
	PIP_USER=0 "$$scratch/bin/python" -m pip install --quiet --disable-pip-version-check cyclonedx-bom; \
	"$$scratch/bin/cyclonedx-py" requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file build/sbom.cdx.json
	@echo "build/sbom.cdx.json"

.PHONY: clean
clean: ## Remove everything that these commands made
	@rm -rf $(VENV) .run build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
