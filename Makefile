# make ablation       set up .venv, run the study first_look, print its table
# make test           set up .venv, run the tests (make test-slow: those that take long, test-all: both)
# make check          golden runs, unit tests, linter and types: what to run while working
# make test-browser   set up .venv, look at reports and TensorBoard in Chromium, compile the LaTeX
PYTHON ?= python3
BIN := .venv/bin
# Tests run in so many processes.
WORKERS ?= 2

# One thread per process: two threads on two busy cores stall small models.
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0

.PHONY: ablation test test-slow test-all test-browser check lint types clean

ablation: .venv/installed
	$(BIN)/decoderlab-train study=first_look

test: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not browser"

test-slow: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "slow and not browser"

test-all: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "not browser"

# In one process: the tests share a study, a browser and a TensorBoard.
test-browser: .venv/installed
	$(BIN)/python -m pytest -m browser

check: .venv/installed lint types
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not browser" tests/golden tests/unit

lint: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/basedpyright

# The mark is written last: an installation that was cut off is done again.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'decoderlab needs Python 3.11 or newer: make PYTHON=python3.11 ...'; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo 'installing into .venv: a few minutes the first time'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[data,dev]'
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
