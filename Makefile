# The few commands of daily life. Everything runs in .venv, which each target sets up when the lock changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AIRFLOW := .airflow/venv
AIRFLOW_READY := $(AIRFLOW)/.ready
PROFILE ?=
LAB_ARGS ?=
CASE ?=
TESTS ?=
AS ?=
# One more than there are processors, since tests wait for kernels, servers and clocks; memory admits four.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))')
KIND = $(if $(LONG),long,$(if $(SLOW),slow,not slow) and not long)
SETTINGS = $(if $(PROFILE),--profile $(PROFILE))
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help run release promote pack unpack test test-airflow test-container lint types bench lab ui airflow sources lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@echo 'setting up $(VENV): a minute or two, once'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: $(READY) sources ## run the pipeline (PROFILE=smoke for the quick one)
	@$(BIN)/caderno run $(SETTINGS)

release: $(READY) ## register the best candidate of the last run, and let the gate decide (AS='NAME <MAIL>')
	@$(BIN)/caderno release $(if $(AS),--as "$$AS")

promote: $(READY) ## make the challenger the champion, if nothing is missing (AS='NAME <MAIL>')
	@$(BIN)/caderno promote $(if $(AS),--as "$$AS")

pack: ## put results, decisions and pages into delivery.tar, for another machine
	tar -cf delivery.tar --exclude=data/sources --exclude=data/.caderno data reports

unpack: ## take results, decisions and pages from delivery.tar
	tar -xf delivery.tar

test: $(READY) ## run all tests but the slow ones, on all cores; SLOW=1 runs those, LONG=1 the longest
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "$(KIND) and not airflow and not container" $(TESTS)

test-airflow: $(READY) $(AIRFLOW_READY) ## run the tests that need a real Airflow
	CADERNO_AIRFLOW=$(CURDIR)/$(AIRFLOW) $(BIN)/python -m pytest -n 0 -m airflow $(TESTS)

test-container: $(READY) ## take the steps of the Containerfile in a folder; needs root and debootstrap
	$(BIN)/python -m pytest -n 0 -m container $(TESTS)

lint: $(READY) ## check style, layers and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=lib/dags $(BIN)/lint-imports
	git ls-files -z '*.ipynb' | xargs -0 $(BIN)/nbstripout --keep-id --verify

types: $(READY) ## check the types of lib/
	$(BIN)/mypy

bench: $(READY) ## measure against named peers
	$(BIN)/python tests/benchmarks/bench.py $(CASE)

lab: run ## open JupyterLab; notebooks find `latest` results and MLflow
	$(BIN)/python -m nbdime config-git --enable 2>/dev/null || true
	MLFLOW_TRACKING_URI="sqlite:///$(CURDIR)/mlflow.db" MLFLOW_EXPERIMENT_NAME=flights \
	  PYTHONPATH="$(CURDIR)/lib" $(BIN)/jupyter lab --notebook-dir="$(CURDIR)" $(LAB_ARGS)

ui: $(READY) ## open MLflow's pages
	$(BIN)/mlflow ui --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db"

airflow: $(READY) $(AIRFLOW_READY) ## start Airflow for trying out, in an environment of its own
	@PYTHONPATH=lib/dags $(AIRFLOW)/bin/python -m caderno_airflow.standalone

$(AIRFLOW_READY): lib/dags/requirements.lock
	@echo 'setting up $(AIRFLOW): a minute, once'
	@test -x $(AIRFLOW)/bin/python || $(PYTHON) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lib/dags/requirements.lock
	@touch $@

sources: data/sources/.made ## write the three systems' data to data/sources

data/sources/.made: $(READY) $(wildcard lib/flights/sources/*.py)
	@$(BIN)/python -m flights.sources --to data/sources
	@touch $@

lock: ## pin and hash every dependency anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --quiet --output-file requirements.lock
	uv pip compile lib/dags/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --quiet --output-file lib/dags/requirements.lock
	$(PYTHON) tests/tools/environment.py > environment.yml

clean: ## remove results, reports, caches and the environment
	rm -rf $(VENV) data delivery.tar .airflow reports/*.html reports/*/ mlflow.db* mlartifacts .mypy_cache .ruff_cache .pytest_cache
