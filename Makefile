# `make` lists the targets. The environment lies in .venv and is renewed whenever
# pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
DATA ?= ../shared/data
PYTEST_JOBS ?= 2
# Of bench-stack: number of dates, rows and columns of a scene, repeats; EVERY_WAY=1 uses the
# peers in every way that is known.
DATES ?= 24
EDGE ?= 2500
REPEATS ?= 3
# Of bench-predict: rows and columns of the raster; twice as many are forecast as well.
PREDICT_EDGE ?= 4096
# Of bench-validate: pairs of forecast and observed scenes, rows and columns of each.
PAIRS ?= 24
VALIDATE_EDGE ?= 4096
# Of bench-train: batches that are timed.
ROUNDS ?= 12

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-bench
LEARNERS := .venv-bench-train
SCORERS := .venv-bench-validate
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
BENCHMARKS := $(filter-out benchmarks/real_% benchmarks/skill_pictures.py benchmarks/hostile%,$(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: bench-predict bench-validate help env demo test test-slow test-all lint fix bench bench-stack bench-train hostile real build clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY)  ## Create or renew the environment in .venv
	@:

# torch goes first and pinned, because later releases bring gigabytes of CUDA libraries.
# A torch that is there already (`.venv/bin/pip install` of a GPU build, say) is left alone,
# and then so are the pins of what torch itself requires.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing geoforecast and its tools into $(VENV) (some minutes the first time)"
	@$(PIP) install -c constraints.txt --upgrade pip
	@if $(BIN)/python -W ignore -c "import torch" 2>/dev/null; then \
	    sed -E '/^(torch|sympy|mpmath|networkx|fsspec|setuptools)==/d' constraints.txt; \
	else \
	    $(PIP) install -c constraints.txt "$$(grep ^torch== constraints.txt)" >&2 && cat constraints.txt; \
	fi > $(VENV)/constraints.txt
	@$(PIP) install -c $(VENV)/constraints.txt -e . --group dev
	@touch $@

# A demonstration does with one member, and without the second training: a sixth of the time.
demo: $(READY)  ## Stack, train, predict and validate both sample series
	$(BIN)/geoforecast -p $(DEMO)/sentinel2 stack sample_data/sentinel2 train --members 1 --no-retrain predict validate
	$(BIN)/geoforecast -p $(DEMO)/radar stack sample_data/radar train --members 1 --no-retrain predict validate
	@echo
	@echo "Reports:"
	@find $(DEMO)/*/validation -name report.html | sort | sed 's/^/  /'
	@echo "Forecasts (open them in a GIS):"
	@find $(DEMO)/*/forecasts -name '*.tif' | sort | sed 's/^/  /'

test: $(READY)  ## Run the fast tests
	$(BIN)/python -m pytest -m "not slow" -n $(PYTEST_JOBS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -n $(PYTEST_JOBS) || test $$? -eq 5  # 5: there are none

test-all: $(READY) lint  ## Run every test, and lint
	$(BIN)/python -m pytest -n $(PYTEST_JOBS)

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: $(READY)  ## Apply what ruff can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)  ## Run the benchmarks that need no real data
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

# The peers live apart, so that none of them decides which releases the product runs with.
$(PEERS)/.ready: benchmarks/stack/requirements.txt $(READY)
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip -qq --disable-pip-version-check install -r $<
	@touch $@

bench-stack: $(PEERS)/.ready  ## Run stack against its peers (DATES, EDGE, REPEATS)
	$(BIN)/python benchmarks/stack/run.py --dates $(DATES) --edge $(EDGE) \
	    --repeats $(REPEATS) --data $(DATA) --peer-python $(PEERS)/bin/python \
	    $(if $(EVERY_WAY),--every-way)

$(LEARNERS)/.ready: benchmarks/train/requirements.txt $(READY)
	@test -x $(LEARNERS)/bin/python || $(BIN)/python -m venv $(LEARNERS)
	@$(LEARNERS)/bin/python -m pip -qq --disable-pip-version-check install -r $<
	@touch $@

bench-train: $(LEARNERS)/.ready  ## Run the ConvLSTM layer against its peers (ROUNDS, BF16=1)
	$(BIN)/python benchmarks/train/train_bench.py --rounds $(ROUNDS) $(if $(BF16),--bf16) \
	    --peer-python $(LEARNERS)/bin/python

bench-predict: $(READY)  ## Run predict against plain PyTorch, and its memory (PREDICT_EDGE, REPEATS)
	$(BIN)/python benchmarks/predict/bench_predict.py --edge $(PREDICT_EDGE) --repeats $(REPEATS)

$(SCORERS)/.ready: benchmarks/validate/requirements.txt $(READY)
	@test -x $(SCORERS)/bin/python || $(BIN)/python -m venv $(SCORERS)
	@$(SCORERS)/bin/python -m pip -qq --disable-pip-version-check install -r $<
	@touch $@

bench-validate: $(SCORERS)/.ready  ## Run validate against its peers (VALIDATE_EDGE, PAIRS, REPEATS)
	$(BIN)/python benchmarks/validate/bench_validate.py --edge $(VALIDATE_EDGE) --pairs $(PAIRS) \
	    --repeats $(REPEATS) --peer-python $(SCORERS)/bin/python $(if $(JSON),--json $(JSON))

hostile: $(READY)  ## Stack every hostile file, and print what became of it
	$(BIN)/python benchmarks/hostile.py --data $(DATA)

real: $(READY)  ## Run the chain on the real series in DATA (SEEDS=3: from three seeds)
	$(BIN)/python benchmarks/real_series.py --data $(DATA) $(if $(SEEDS),--seeds $(SEEDS))

build: $(READY)  ## Build the sdist and the wheel, and try the wheel
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m zipfile -l $$(ls dist/*.whl) | grep -q geoforecast/cli/__init__.py
	@ls -l dist

clean:  ## Remove what the other targets made, but for the environments
	rm -rf $(DEMO) dist build benchmarks/out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find geoforecast tests benchmarks sample_data -name __pycache__ -prune -exec rm -rf {} +
