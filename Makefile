# Five tasks: setup, demo, test, test-full, build. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-full check build clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77"
	@echo "Installing; PyTorch and the inference libraries are some hundred megabytes …"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ort,openvino,export,plot,dicom,dev]"
	touch $(STAMP)

# A strict editable install mirrors the tree as medsam_edge/, which is where the type checker looks; it has to be
# renewed for files that are new since the last time.
check: setup
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . --config-settings editable_mode=strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: setup
	$(BIN)/medsam-edge demo

test: check
	$(BIN)/python -m pytest

test-full: check
	$(BIN)/python -m pytest -m "slow or not slow"

build: setup
	$(BIN)/python -m build

clean:
	rm -rf build dist *.egg-info demo-output $(STAMP)
