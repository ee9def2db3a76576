# Everything a user or a developer runs. `make demo` and `make test` do all the set-up themselves.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test test-slow check docs boards screenshots bench-training bench-service bench-history bench-watching bench-writers chaos chaos-short clean

demo: .venv/run  ## a yard, a real run, its result
	@$(BIN)/trainyard demo

test: .venv/dev  ## the tests of everything, in under five minutes
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

test-slow: .venv/dev  ## what is left: forged input of every kind, a yard watched by a real Prometheus and a real browser
	$(BIN)/python -m pytest tests/fuzz tests/watching tests/browser -n 3 --dist loadfile
	$(BIN)/python -m pytest -m slow -n 3 --dist loadfile

check: .venv/dev  ## lint, types, docs, boards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(BIN)/python deploy/grafana/make.py --check

docs: .venv/dev  ## write the references that are made from the code
	$(BIN)/python docs/generate.py

boards: .venv/dev  ## write the Grafana boards
	$(BIN)/python deploy/grafana/make.py

screenshots: .venv/dev  ## pictures of the pages, of a real yard; needs Chromium
	$(BIN)/python docs/screenshots.py $(ARGS)

bench-training: .venv/bench  ## training speed beside PyTorch, JAX and scikit-learn
	$(BIN)/python benchmarks/training.py $(ARGS)

bench-service: .venv/dev  ## latency, submits and overhead of the service
	$(BIN)/python benchmarks/service.py $(ARGS)

bench-history: .venv/dev  ## a history of 100,000 runs: pages, commands, points a second; see benchmarks/README.md for its rivals
	$(BIN)/python benchmarks/history.py $(ARGS)

bench-watching: .venv/dev  ## requests beside training, the first paint, a scrape; needs Chromium for the paint
	$(BIN)/python benchmarks/watching.py $(ARGS)

bench-writers: .venv/dev  ## eight writers at full speed, beside one that stages blobs
	$(BIN)/python benchmarks/writers.py $(ARGS)

chaos: .venv/dev  ## every known fault on a yard of either database, twenty minutes; see tests/chaos
	$(BIN)/python -m tests.chaos $(ARGS)

chaos-short: .venv/dev  ## the same with short leases and one seed, about two minutes
	$(BIN)/python -m tests.chaos --short --seed 1 $(ARGS)

clean:  ## remove the virtual environment and all caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/base: Makefile
	@test -n "$(PYTHON)" || { echo "Trainyard needs Python 3.11 or newer with venv (on Debian: apt install python3-venv)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/base pyproject.toml constraints.txt
	@echo "setting up a virtual environment in .venv (once, about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/dev: .venv/run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement requirements-dev.txt
	@touch $@

.venv/bench: .venv/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement benchmarks/requirements.txt
	@touch $@
