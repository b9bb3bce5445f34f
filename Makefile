# One entry for everything. Needs make and any Python >= 3.11; the rest goes into .venv, once.

SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help venv
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[develop]'; \
	touch $@
