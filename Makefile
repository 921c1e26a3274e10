# Every target makes what it needs: a virtual environment in .venv and, as root with apt, Debian packages.
# `make demo` and `make test` are the two commands to know.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
STAMP  := $(VENV)/.stamps
VENV_SPU := .venv-spu
export OMP_NUM_THREADS ?= 1
# Tests run in this many processes, a file in one of them. Fixed hashing: both must collect the same names in one order.
JOBS   ?= 2
PYTEST := PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

.PHONY: demo test test-quick lint bench bench-mpc docs format clean system-packages
.DEFAULT_GOAL := help

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(STAMP)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "medveil needs Python 3.11 or newer: set PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/base: pyproject.toml constraints.txt | $(STAMP)/venv
	@echo "installing medveil into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(STAMP)/dev: pyproject.toml constraints.txt | $(STAMP)/venv
	@echo "installing medveil, its extras and the test tools into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(STAMP)/base

system-packages:  ## install the Debian packages of the tests (as root; otherwise says what to install)
	@scripts/system-packages test

demo: $(STAMP)/base  ## the whole story on real images in about a minute
	@$(BIN)/medveil demo

lint: $(STAMP)/dev  ## ruff, mypy, import contracts
	$(BIN)/ruff check src tests benchmarks vectors
	$(BIN)/ruff format --check src tests benchmarks vectors
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint system-packages  ## everything CI runs: lint, then all tests, real servers included
	$(PYTEST)

test-quick: $(STAMP)/dev  ## the tests that need no server
	$(PYTEST) -m "not integration"

bench: $(STAMP)/dev  ## measure the figures of docs/benchmarks.md, peers in the same run
	@scripts/system-packages bench
	$(BIN)/python -m benchmarks

$(VENV_SPU)/.ready: benchmarks/mpc/spu-requirements.txt
	@echo "installing SPU, the peer of the three-server computation, into $(VENV_SPU)"
	@test -x $(VENV_SPU)/bin/python || $(PYTHON) -m venv $(VENV_SPU)
	@$(VENV_SPU)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-mpc: $(STAMP)/dev $(VENV_SPU)/.ready  ## measure the figures of docs/mpc.md beside SPU (about 15 minutes)
	$(BIN)/python -m benchmarks.mpc --spu $(VENV_SPU)/bin/python --out docs/results/mpc/benchmark.json

docs: $(STAMP)/dev  ## check that the documentation tells the truth and write the generated parts
	$(BIN)/python -m pytest tests/docs

format: $(STAMP)/dev
	$(BIN)/ruff check --fix src tests benchmarks vectors
	$(BIN)/ruff format src tests benchmarks vectors

clean:
	rm -rf $(VENV) $(VENV_SPU) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
