# make demo   the main job on two MPI ranks: installs into .venv, prints the distances and where the pictures are
# make check  style, types, and a selection of the tests from every room, in less than a minute: tests/conftest.py
# make test   style, types and the test suite on one rank and on two
# make book   runs the demos and builds the handbook, with the reference and the ledger: build/book/html/index.html
# make lint   style and types alone
# make lowest the tests with the lowest versions that pyproject.toml allows: tests/lowest.py
# make clean  removes .venv, .venv-lowest, caches and demo-output
#
# PYTHON chooses the Python (>= 3.12) that .venv is made with: make demo PYTHON=python3.13

PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo check test book lint lowest clean venv

# An active virtual environment, or modules found by PYTHONPATH, must not leak into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

# Bytecode is kept: each of the suite's hundred processes would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

ifneq ($(MAKECMDGOALS),clean)
found := $(shell '$(PYTHON)' -c 'import sys; v = sys.version_info; print("%d.%d" % v[:2], "new" * (v >= (3, 12)))' 2>/dev/null)
ifneq ($(lastword $(found)),new)
$(error kspde needs Python >= 3.12, but $(PYTHON) $(if $(found),is $(firstword $(found)),does not run): install one, or name it: make PYTHON=python3.13)
endif
endif

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --quiet
# A deadlock between ranks ends after this many seconds.
LIMIT := 1500
PYTEST := $(BIN)/python -m pytest -o faulthandler_timeout=240 -p no:cacheprovider
# The suite on one rank goes through two processes (tests/conftest.py), each of which keeps one core busy. One that
# crashes fails the suite at once: pytest-xdist would give the same test to its successors.
TWICE := --numprocesses 2 --max-worker-restart 0
STYLE := $(BIN)/ruff check . && $(BIN)/ruff format --check .

demo: venv
	@$(MAKE) --silent --no-print-directory .venv/installed-fem
	@$(BIN)/mpirun -n 2 $(BIN)/kspde demo --out demo-output --force </dev/null

# Types are checked beside the tests.
check: venv
	@$(MAKE) --silent --no-print-directory .venv/installed-test
	@$(STYLE)
	@$(BIN)/mypy & types=$$!; tests=0; \
	OMP_NUM_THREADS=1 timeout --kill-after=10 $(LIMIT) $(PYTEST) $(TWICE) -m "not slow and not programs" </dev/null || tests=$$?; \
	wait $$types && exit $$tests

test: lint
	@echo "== pytest, 1 rank"
	@OMP_NUM_THREADS=1 timeout --kill-after=10 $(LIMIT) $(PYTEST) $(TWICE) </dev/null
	@echo "== pytest, 2 ranks"
	@timeout --kill-after=10 $(LIMIT) $(BIN)/mpirun -n 2 $(PYTEST) </dev/null

book: venv
	@$(MAKE) --silent --no-print-directory .venv/installed-book
	@$(BIN)/python book/assemble.py build/book/source
	@timeout --kill-after=10 $(LIMIT) $(BIN)/sphinx-build -q -W --keep-going build/book/source build/book/html </dev/null
	@echo "the book: build/book/html/index.html"

lint: venv
	@$(MAKE) --silent --no-print-directory .venv/installed-test
	@$(STYLE)
	@$(BIN)/mypy

# Style and types are those of the newest tools, and the image's pins are newer: they are left out.
lowest:
	@rm -rf .venv-lowest && '$(PYTHON)' -m venv .venv-lowest
	@'$(PYTHON)' tests/lowest.py >.venv-lowest/constraints.txt
	@.venv-lowest/bin/python -m pip install --quiet --quiet -c .venv-lowest/constraints.txt -e ".[fem,test]"
	@OMP_NUM_THREADS=1 timeout --kill-after=10 $(LIMIT) .venv-lowest/bin/python -m pytest \
	  -o faulthandler_timeout=240 -p no:cacheprovider $(TWICE) \
	  --deselect tests/programs/test_docker.py::test_pins_are_a_closed_set </dev/null

# A missing, broken or moved .venv is made anew. Its scripts hold the directory it was made in.
venv:
	@if ! { [ "$$(cat .venv/made-in 2>/dev/null)" = "$(CURDIR)" ] && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
	  echo "making .venv with Python $$('$(PYTHON)' --version | cut -d' ' -f2)"; \
	  rm -rf .venv && '$(PYTHON)' -m venv .venv && echo "$(CURDIR)" >.venv/made-in; \
	fi

.venv/installed-fem: pyproject.toml
	@echo "installing kspde with DOLFINx into .venv (a minute the first time)"
	@$(PIP) -e ".[fem]"
	@touch $@

.venv/installed-test: pyproject.toml
	@echo "installing kspde with DOLFINx and the tools of its tests into .venv (a minute the first time)"
	@$(PIP) -e ".[fem,test]"
	@touch $@ .venv/installed-fem

.venv/installed-book: pyproject.toml
	@echo "installing kspde with DOLFINx and the tools of its book into .venv (a minute the first time)"
	@$(PIP) -e ".[fem,mesh,book]"
	@touch $@ .venv/installed-fem

clean:
	rm -rf .venv .venv-lowest demo-output build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find kspde tests demos book -name __pycache__ -prune -exec rm -rf {} +
