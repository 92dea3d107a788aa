# Everything here sets up .venv first (scripts/setup.sh); that takes minutes once and a moment afterwards.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
DISPLAYED := bash scripts/with-display.sh
VIRTUAL := bash scripts/with-display.sh --virtual
PYTEST := $(VIRTUAL) $(BIN)/python -m pytest -p no:xvfb --cov=splatom --cov-report=term:skip-covered --durations=25

.PHONY: help setup demo test test-all lint docs bench screenshots wheels-gpu clean

help:
	@echo "make demo         set up, then open napari on a sample tilt series with a reconstruction streaming"
	@echo "make test         set up, then run the fast tests"
	@echo "make test-all     linters, docs and all tests, with the slow ones and those on real data"
	@echo "make lint         ruff, mypy, import rules and the plugin's manifest"
	@echo "make docs         build the site into site/"
	@echo "make bench        measure Splatom against others on this machine"
	@echo "make screenshots  make the pictures of the docs anew"
	@echo "make wheels-gpu   gather the wheels that a CUDA machine without a network lacks"

setup:
	@bash scripts/setup.sh

demo: setup
	$(DISPLAYED) $(BIN)/splatom demo --output demo $(if $(or $(DISPLAY),$(WAYLAND_DISPLAY)),--show)

test: setup
	$(PYTEST) -m "not slow and not real"

test-all: lint docs
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate splatom

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup
	@$(BIN)/python -c "import abtem, astra" 2>/dev/null || $(BIN)/python -m pip install --quiet -e ".[bench]"
	OMP_WAIT_POLICY=PASSIVE $(DISPLAYED) $(BIN)/python benchmarks

screenshots: setup
	$(VIRTUAL) $(BIN)/python docs/screenshots.py

wheels-gpu: setup
	bash scripts/gpu-wheels.sh

clean:
	rm -rf site demo .whl .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
