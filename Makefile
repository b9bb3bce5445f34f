# One entry for everything. Needs make and any Python >= 3.11; the rest goes into .venv, once.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.installed
CODE := $(wildcard src tests bench examples docs)
TYPED := $(wildcard src tests bench examples)
SEED ?= 1
STEPS ?= 1000000
MINUTES ?= 5

.PHONY: help venv demo test lint format types docs pages news examples bench sim fuzz mutate sweep soak matrix cover ci clean

help:  ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

venv: $(STAMP)  ## The tools of development in .venv

# A name on the PATH may be a shim without a Python behind it, so each is asked rather than looked for.
$(STAMP): pyproject.toml
	@set -e; found=; \
	for python in "$$PYTHON" python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    [ -n "$$python" ] || continue; \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found="$$python"; break; fi; \
	done; \
	[ -n "$$found" ] || { echo "make: no Python >= 3.11 with venv found; set PYTHON=/path/to/python" >&2; exit 1; }; \
	[ -x $(BIN)/python ] || "$$found" -m venv .venv; \
	echo "installing the tools of development into .venv (once)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[develop]' 2>.venv/install.log \
	    || { cat .venv/install.log >&2; exit 1; }; \
	touch $@

demo: $(STAMP)  ## A real job under a pool that is killed, stopped and reloaded; the result is proved
	@$(BIN)/python -m examples.wordmill.demo

test: $(STAMP)  ## All tests
	@$(BIN)/python -m pytest

lint: $(STAMP)  ## Style, spelling and layers
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "make format puts it right" >&2; exit 1; }
	@$(BIN)/codespell
	@$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## Put the layout right
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix --quiet $(CODE)

types: $(STAMP)  ## mypy, strict
	@$(BIN)/mypy $(TYPED)

docs: $(STAMP)  ## The site in docs/_build/html; warnings are errors, examples in it run
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@$(BIN)/sphinx-build -q -W --keep-going -b doctest docs docs/_build/doctest

pages: $(STAMP)  ## The tables in docs/ that are made from the code
	@$(BIN)/python docs/generate.py

news: $(STAMP)  ## How the news of the coming version will read
	@$(BIN)/towncrier build --draft --version next

examples: $(STAMP)  ## Each example against real processes
	@$(BIN)/python -m pytest tests/examples

bench: $(STAMP)  ## The figures, each against its baseline in the same run
	@$(BIN)/python -m bench

sim: $(STAMP)  ## The pool against a simulated world: make sim SEED=7 STEPS=10000000
	@$(BIN)/python -m ghostd.testing.world --seed $(SEED) --steps $(STEPS)

fuzz: $(STAMP)  ## A fuzzer at each parser in turn: make fuzz MINUTES=60
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz all $(MINUTES)

mutate: $(STAMP)  ## One thing broken at a time, and does a test notice: make mutate ONLY=core/roster.py
	@$(BIN)/python -c 'import mutmut' 2>/dev/null || $(BIN)/python -m pip install --quiet -e '.[mutate]'
	@nice $(BIN)/python -m tests.mutate $(ONLY)

sweep: $(STAMP)  ## Every system call of a manager failed, once and for ever: half an hour or more
	@$(BIN)/python -m tests.faults.sweep --part 1/2 & one=$$!; \
	$(BIN)/python -m tests.faults.sweep --part 2/2; two=$$?; wait $$one && exit $$two

soak: $(STAMP)  ## Two ghosts at work, beaten in twenty ways and judged: make soak MINUTES=120 SEED=7
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED)

matrix: $(STAMP)  ## Every surroundings on each other CPython that is installed here
	@bash .ci/matrix

# Some processes of tests are other users', who must be able to write their figures down.
cover: $(STAMP)  ## All tests, measured: core 100 % of branches, the rest 95 %
	@set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
	chmod 1777 "$$place"; export COVERAGE_FILE="$$place/data"; \
	$(BIN)/coverage run -m pytest -q -o timeout=300; \
	$(BIN)/coverage combine --quiet; \
	$(BIN)/coverage report --include='src/ghostd/core/*' --fail-under=100; \
	$(BIN)/coverage report --omit='src/ghostd/core/*' --fail-under=95

ci:  ## What is run on each change
	@bash .ci/run

clean:  ## Everything that was made
	rm -rf .venv .venv-* build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
