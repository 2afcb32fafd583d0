# One command each; the first one sets up .venv, the others find it ready.

PYTHON ?= python3   # 3.11 or newer; make test PYTHON=python3.12
JOBS ?= 2           # jobs at once, one thread each
LAB ?= notebooks/00_what_breaks_a_detector.ipynb  # what JupyterLab is started with
TRAIN ?= 0          # 1: train everything instead of evaluating what is shipped

READY := .venv/.ready
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
TRAIN_FLAG := $(if $(filter 1 yes true,$(TRAIN)),--train)

# One thread a process: on small models more threads mostly wait for each other.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help reproduce test lab bench lint lock clean

help:
	@echo "make reproduce            evaluate the shipped checkpoints, fill Tables I to IX (23 minutes)"
	@echo "make reproduce TRAIN=1    train everything first                               (8 hours)"
	@echo "make test                 run the tests                                        (12 minutes)"
	@echo "make lab                  open the notebooks in JupyterLab                     (seconds)"
	@echo "make bench                measure speed and cost on this CPU, remake notebook 10       (30 minutes)"
	@echo "make lint                 check the style of the code                          (seconds)"
	@echo "make lock                 compile requirements.lock anew; needs uv             (a minute)"
	@echo "make clean                remove build/ and caches, not .venv and not results  (seconds)"
	@echo
	@echo "The first of them sets up .venv from requirements.lock: 2-3 minutes, 6 GB on disk."
	@echo "Options: JOBS=$(strip $(JOBS)) (jobs at once), PYTHON=$(strip $(PYTHON)) (3.11 or newer)."

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: Python 3.11 or newer is needed and '$(strip $(PYTHON))' is not;" \
	    "try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv from requirements.lock; 2-3 minutes with a fast network ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Ready."

reproduce: $(READY)
	@$(BIN)/mst reproduce $(TRAIN_FLAG) --jobs $(JOBS)

test: $(READY)
	@$(BIN)/python -m pytest

lab: $(READY)
	@$(BIN)/jupyter lab $(LAB)

bench: $(READY)
	@$(BIN)/mst bench --profile mini --device cpu
	@$(BIN)/mst bench --profile paper --device cpu
	@$(BIN)/mst notebook notebooks/10_speed_and_cost.py notebooks/10_speed_and_cost.ipynb

lint: $(READY)
	@$(BIN)/ruff check

lock:
	@command -v uv >/dev/null || { echo "make: 'make lock' needs uv: pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet --output-file requirements.lock

clean:
	rm -rf build .snakemake .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
