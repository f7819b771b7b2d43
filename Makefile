# Every target is one obvious command. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
READY := .venv/.installed
SUITE ?= ../shared/data
# Tests run side by side, a process a core; at most four, since each starts its own Kafka.
JOBS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores : 4)))
PYTEST = $(PY) -m pytest -n $(JOBS) --dist worksteal
# CPU time of all processes, which can be compared between machines and does not depend on what else they do.
TIMED = TIMEFORMAT='CPU time: %U s, and %S s in the kernel; %R s have passed'; time
# What must not lose or repeat anything: `make cov` prints the figures of each module.
COMMIT_PATH = streamae/engine/*,streamae/connectors/redis_*,streamae/connectors/kafka/*
unexport PYTHONDONTWRITEBYTECODE # without byte code every process rewrites the assertions of all tests anew

.PHONY: help setup system demo test test-fast test-gpu crash-sweep fuzz-nightly services lint fmt type check cov bench reach guards model-check torture torture-quick torture-alerts constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt scripts/setup_venv.sh
	@scripts/setup_venv.sh .venv

setup: $(READY) system ## virtual environment, and the system packages the tests need

system: ## Java, Maven, Redis, Alertmanager, promtool, openssl, systemd-analyze and faketime for the tests (apt-get, only what is missing)
	@scripts/setup_system.sh

demo: $(READY) ## train on generated streams and watch the engine find anomalies: out/demo
	$(PY) -m streamae demo --out out/demo

test: $(READY) system ## unit, doctest, real Kafka and Redis, deploy files, a short torture run: up to 20 minutes on 2 cores
	@$(TIMED) { REQUIRE_SERVICES=1 $(PYTEST) --durations=30 && $(PY) -m scripts.verify.torture --smoke --jobs 2; }

test-fast: $(READY) ## what needs no service and no minutes: 1 minute
	@$(TIMED) $(PYTEST) -m "not integration and not slow" --hypothesis-profile few

test-gpu: $(READY) ## what needs an NVIDIA GPU
	$(PY) -m pytest -m gpu

crash-sweep: $(READY) ## let an engine die at every line of a run, about 10 minutes
	@$(TIMED) $(PYTEST) --every-line

fuzz-nightly: $(READY) ## ten thousand damaged files of every kind, and as many whole ones of CSV, about 10 minutes
	@$(TIMED) $(PYTEST) --damaged-files 10000 tests/connectors/files/test_damaged_files.py

services: $(READY) system ## start a local Kafka and Redis until Ctrl-C
	$(PY) -m scripts.services

lint: $(READY) ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

fmt: $(READY) ## ruff: mend what can be mended
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

type: $(READY) ## mypy, strict
	$(PY) -m mypy

check: lint type test ## what has to pass before a change is handed in

cov: $(READY) system ## branch coverage: the pure core completely, the whole nearly
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n $(JOBS) --dist worksteal
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report --no-skip-covered --include "$(COMMIT_PATH)"
	$(PY) -m coverage report --include "streamae/core/*" --fail-under 100
	$(PY) -m coverage report --fail-under 95

bench: $(READY) ## throughput and latency, with the hardware line
	$(PY) -m scripts.bench

reach: $(READY) ## targets of detection and what is reached on the series in SUITE, hours, resumable: out/reach
	$(PY) -m scripts.bench.reach $(SUITE) --out out/reach --seeds 3 --jobs 2

guards: $(READY) system ## take each guard away and see a test go red, about 10 minutes
	$(PY) -m scripts.verify.guards

model-check: $(READY) ## a million random schedules of the checkpoint protocol, about 15 minutes
	$(PY) -m scripts.verify.model_check --schedules 1000000

torture: $(READY) system ## real workers, Kafka and Redis under hundreds of faults, about 3 hours: out/torture
	$(PY) -m scripts.verify.torture --full --resume

torture-quick: $(READY) system ## the same with fewer faults, about 15 minutes
	$(PY) -m scripts.verify.torture --quick --jobs 2

torture-alerts: $(READY) system ## the alert process alone: killed, a receiver ill, Redis gone, 500 keys at once, about 12 minutes: out/alerts
	$(PY) -m scripts.verify.torture --full --tests A1,A2,A3 --out out/alerts

constraints: $(READY) ## write the versions of .venv to constraints.txt
	@{ sed -n '/^#/p; /# keep/p' constraints.txt; $(PY) -m pip freeze --exclude-editable | grep '=='; } > .constraints.new
	@mv .constraints.new constraints.txt

clean: ## remove what was built, keep .venv and .cache
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
