# Everything happens in .venv, which is made with the first Python >= 3.11 that is found (or PYTHON=…).
# `make demo` and `make test` need nothing else; `make check` is what has to be clean before a commit.

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
WORKERS ?= 2
TESTS ?= tests
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test torture bench check format docs clean help
help:
	@echo "make demo    install, then snapshot, verify and restore a real folder (SRC= chooses it)"
	@echo "make test    install, then run the tests (TESTS= chooses some, WORKERS= how many at once)"
	@echo "make torture install, then run the campaigns (CAMPAIGN= some, SEED=, BUDGET= seconds for each at most, WHOLE=1 all"
	@echo "             their cases, CASE= one again)"
	@echo "make bench   install, then measure vaultpy beside the peers on PATH (ONLY= sections, PEERS= names, ROUNDS=, SCALE= a"
	@echo "             part of the trees, TREE= a folder instead of them, WORK= where; tests/bench/bench.py says more)"
	@echo "make check   format, lint, types, layers and generated docs"
	@echo "make format  put the sources into shape"
	@echo "make docs    write docs/cli.md and vaultpy/index/tables.sql anew"
	@echo "make clean   remove what the others made"

demo: $(VENV)/installed
	@$(BIN)/python tests/demo.py $(if $(SRC),--source '$(SRC)')

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

# Each campaign runs until it has the cases that it wants; all together, and only then, they fill in the document.
BUDGET ?= 3600
torture: $(VENV)/installed-dev
	$(BIN)/python tests/torture/torture.py --jobs $(WORKERS) $(foreach name,$(CAMPAIGN),--campaign $(name)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(BUDGET),--budget $(BUDGET)) $(if $(CASE),--case '$(CASE)') \
	    $(if $(WHOLE),--whole) $(if $(CAMPAIGN)$(CASE),,--docs docs/guarantees.md)

# The document gets the figures of whole trees only.
bench: $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/bench/bench.py $(if $(ONLY),--only '$(ONLY)') $(if $(PEERS),--peers '$(PEERS)') \
	    $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) $(if $(TREE),--tree '$(TREE)') \
	    $(if $(WORK),--work '$(WORK)') $(if $(SCALE)$(TREE),--results build/bench/trial.json,--docs docs/performance.md)

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict vaultpy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m vaultpy.cli.docs | diff docs/cli.md - || { echo "docs/cli.md is old: run make docs" >&2; exit 1; }
	$(BIN)/python -m vaultpy.index.schema | diff vaultpy/index/tables.sql - || { echo "tables.sql is old: run make docs" >&2; exit 1; }

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev
	$(BIN)/python -m vaultpy.cli.docs > docs/cli.md.new && mv docs/cli.md.new docs/cli.md
	$(BIN)/python -m vaultpy.index.schema > vaultpy/index/tables.sql.new && mv vaultpy/index/tables.sql.new vaultpy/index/tables.sql

clean:
	rm -rf $(VENV) demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Installed anew only when pyproject.toml changes: the install is an editable one, so sources need no other.
$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/bin/python:
	@for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	            echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
	        fi; \
	        echo "$$python has no venv module: install your distribution's python3-venv" >&2; exit 1; \
	    fi; \
	done; \
	echo "no Python >= 3.11 found (looked for: $(or $(PYTHON),$(CANDIDATES))); name one: make PYTHON=/path/to/python3" >&2; \
	exit 1
