# make demo   sets up and runs the main job on generated patents with the bundled encoder (no model hub)
# make test   sets up and runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
DEMO ?= build/demo

.PHONY: setup demo test test-cluster lint format clean

setup: $(READY)

# torch first and by exact version, so that pip can take a CPU build where one is offered.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -e ".[offline,api,dev]"
	touch $(READY)

demo: setup
	$(BIN)/patent-embed sample $(DEMO)/patents --count 500
	$(BIN)/python pipelines/run.py --config configs/demo.yaml --data_dir $(DEMO)/patents --output_dir $(DEMO)/output

test: setup
	$(BIN)/python -m pytest --ignore tests/cluster

# Jobs, faults and autoscaling on several Ray nodes, each a process of this machine.
test-cluster: setup
	$(BIN)/python -m pytest tests/cluster

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build $(VENV)
