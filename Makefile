# Every verb that a person needs; `make help` lists them. Needs only make, bash and Python 3.11 or newer.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test quality style docs bench clean

VENV ?= .venv
ARGS ?=
# Wheels of torch without CUDA. For a GPU: make setup TORCH_INDEX=https://pypi.org/simple
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --constraint constraints.txt

# Two torch threads that spin slow a forward pass 30 times on a busy machine; the allocator settings gain another
# 1.15 to 1.4 times and must be there before the process starts.
export OMP_WAIT_POLICY ?= PASSIVE
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 2147483647
export MALLOC_TOP_PAD_ ?= 67108864

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with every pinned package; does nothing when it is up to date

demo: $(STAMP) ## Open the page with the shipped model (ARGS="--port 7861" and so on are passed on)
	@$(BIN)/hf-fracture demo $(ARGS)

test: quality ## Run every check and every test (ARGS="-m 'not slow'" and so on go to pytest)
	@$(BIN)/python -m pytest $(ARGS)

quality: $(STAMP) ## Check lint, format, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

style: $(STAMP) ## Format the code, and render model_card.md and the README's tables again
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python scripts/render_documents.py
	@$(BIN)/python scripts/render_results.py
	@$(BIN)/python scripts/render_notebook.py

docs: $(STAMP) ## Build the documentation site into build/site/
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@$(BIN)/mkdocs build --strict

bench: $(STAMP) ## Measure speed as ratios, side by side in one run
	@$(BIN)/python scripts/bench.py $(ARGS)

clean: ## Remove .venv and every cache
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

# torch goes first and alone: resolved together with the rest, it would come with gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@for candidate in $(BASE_PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then base=$$candidate; break; fi; \
	done; \
	if [ -z "$$base" ]; then echo "Expected Python 3.11 or newer, found none. Install it, or name it: make setup BASE_PYTHON=/path/to/python3" >&2; exit 2; fi; \
	[ -x $(BIN)/python ] || { echo "Creating $(VENV) with $$($$base --version); the packages take 2.4 GB and a few minutes." >&2; "$$base" -m venv $(VENV); }
	@$(PIP) --retries 1 --no-deps --extra-index-url $(TORCH_INDEX) torch
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[train,space,dev]'
	@touch $@
