# make ablation       set up .venv, run the study first_look, print its table
# make test           set up .venv, run the tests (make test-slow: those that take long, test-all: both)
# make docs           set up .venv, build the pages of docs/ as a site in build/docs
# make check          golden runs, unit tests, linter and types: what to run while working
# make test-browser   set up .venv, look at reports and TensorBoard in Chromium, compile the LaTeX
# make test-extras    set up .venv and build/extras beside it, with what .venv has not: loggers, and
#                     xLSTM and yoyodyne, whose cells and decoders ours are compared with
# make test-cluster   set up .venv, start a SLURM on this machine (Debian's slurm-wlm and munge)
PYTHON ?= python3
BIN := .venv/bin
# Where torch is taken from. On Linux pip's default brings 3 GB for NVIDIA GPUs, so that without one
# it is PyTorch's CPU builds, unless pip was given sources of its own. `make TORCH_INDEX=` takes
# pip's default, `make TORCH_INDEX=ADDRESS` another.
CPU_BUILDS := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && \
	! $(PYTHON) -m pip config list 2>/dev/null | grep -Eq 'index-url|find-links|no-index' && \
	echo $(CPU_BUILDS))
# Tests run in so many processes.
WORKERS ?= 2

# One thread per process: two threads on two busy cores stall small models.
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0

.PHONY: ablation test test-slow test-all test-browser test-extras test-cluster check docs lint types clean

ablation: .venv/installed
	$(BIN)/decoderlab-train study=first_look

test: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not browser and not cluster"

test-slow: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "slow and not browser and not cluster"

test-all: .venv/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m "not browser and not cluster"

# In one process: the tests share a study, a browser and a TensorBoard.
test-browser: .venv/installed
	$(BIN)/python -m pytest -m browser

# MLflow and Trackio bring dozens of packages, some of them in older versions than those of .venv:
# they are installed beside it, and the rest is taken from there. So are yoyodyne and xLSTM (Apache 2.0),
# without their requirements: the tests use what .venv has, and one of xLSTM's, mlstm_kernels, is
# under a licence that is not open source.
EXTRAS := build/extras
test-extras: .venv/installed
	$(BIN)/python -m venv --clear $(EXTRAS)
	$(BIN)/python -c "import site; print('import site; site.addsitedir(%r)' % site.getsitepackages()[0])" \
		> "$$($(EXTRAS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/venv.pth"
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check \
		'mlflow>=3.17' 'trackio>=0.43' optuna-dashboard
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		'yoyodyne>=0.5.27' 'lightning>=2.6.6' 'maxwell>=0.2.6' 'xlstm>=2.0.6'
	ALL_EXTRAS=1 $(EXTRAS)/bin/python -m pytest tests/integration/test_other_loggers.py \
		tests/parity/test_xlstm.py tests/parity/test_yoyodyne.py

# In one process: the tests share a cluster.
test-cluster: .venv/installed
	$(BIN)/python -m pytest -m cluster

# The types are checked beside the tests: both begin with a single process.
check: .venv/installed lint
	@$(BIN)/basedpyright src & types=$$!; \
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not long" tests/golden tests/unit; \
	tests=$$?; wait $$types && exit $$tests

docs: .venv/installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env docs build/docs

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
	@[ -z '$(TORCH_INDEX)' ] || $(BIN)/python -m pip install --quiet torch --index-url '$(TORCH_INDEX)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[data,dev]'
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
