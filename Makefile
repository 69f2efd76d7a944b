# For GNU make and for bmake. Targets: run test lint bench fuzz faults campaign samples machine docs clean.

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
TRY = build/try

all: run

# The venv holds kpatch itself, from this checkout.
$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kpatch needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -e .
	touch $(VENV)/.installed

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -e '.[dev]'
	touch $(VENV)/.installed-dev

# The main job on a shipped sample: what is it, what would change, do it and prove it.
run: $(VENV)/.installed
	rm -rf $(TRY) && mkdir -p $(TRY) && cp samples/kqemu-7.ko $(TRY)/kqemu.ko
	$(BIN)/kpatch scan $(TRY)/kqemu.ko || test $$? -eq 1
	$(BIN)/kpatch apply --dry-run $(TRY)/kqemu.ko
	$(BIN)/kpatch apply $(TRY)/kqemu.ko
	$(BIN)/kpatch scan $(TRY)/kqemu.ko

# Once, in a random order (pytest-randomly prints its seed), on all cores, 16 at most: every worker
# takes some hundred MiB. Bytecode is kept, also where the environment asks Python for none: every
# worker reads all tests, and pytest compiles each of them anew where nothing is kept.
test: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 16 --dist worksteal -rs

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check kpatch tests samples benchmarks
	$(BIN)/ruff format --check kpatch tests samples benchmarks
	$(BIN)/mypy
	$(BIN)/vulture kpatch
	$(BIN)/vulture kpatch tests samples benchmarks docs packaging

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# Coverage-guided, over all targets of tests/fuzz/targets.py: make fuzz SECONDS=600
SECONDS = 60
fuzz: $(VENV)/.installed-dev
	$(PIP) install -e '.[dev,fuzz]'
	$(BIN)/python -m tests.fuzz $(SECONDS)

# System calls that fail, one at a time, by strace; FAULTS=n: so many of each scenario, 0: all.
FAULTS = 0
faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults $(FAULTS)

# Random trampolines, judged with every reduction and with none: make campaign SECONDS=3600 SEED=2
SEED = 1
campaign: $(VENV)/.installed-dev
	$(BIN)/python -m tests.campaign $(SECONDS) $(SEED)

# Needs gcc, clang, binutils and gzip; the built samples are committed, so nobody else does.
samples: $(VENV)/.installed
	$(BIN)/python samples/build.py

# The bare machine that QEMU and Bochs boot; committed built, too. Needs gcc and binutils.
machine:
	$(MAKE) -C machine

# What the pages show of the program, written anew; the picture needs chromium.
docs: $(VENV)/.installed
	$(BIN)/python docs/tools/regenerate.py

clean:
	rm -rf $(VENV) build dist kpatch.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: all run test lint bench fuzz faults campaign samples machine docs clean
