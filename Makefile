# Needs Python ≥ 3.11 and make. Every target makes the environment it needs in $(VENV); a second call is instant.
PYTHON ?= python3
VENV ?= .venv
MOTIONS ?=
PYTEST_ARGS ?=
# Most of a test's time is compiling, which keeps one core busy.
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint types clean

help:
	@echo "make demo                   train, generate, certify, fit and draw on the built-in body and motions"
	@echo "make demo MOTIONS=folder    the same on a folder of motion files"
	@echo "make test                   run the tests (PYTEST_ARGS='-k name' chooses)"
	@echo "make lint, make types       style, import arrows; static types"

demo: $(VENV)/.ready
	$(VENV)/bin/python experiments/demo.py $(if $(MOTIONS),--motions "$(MOTIONS)")

test: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports

types: $(VENV)/.ready-dev
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

# The library itself, editable; then one stamp per extra.
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed; try make PYTHON=python3.12"; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about a minute)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.ready-%: $(VENV)/.ready
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
