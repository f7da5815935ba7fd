# Layerbook: `make book` builds the book, `make test` runs the tests. Both prepare .venv themselves, once.
# Written for GNU make 3.81 (macOS) and newer, and for any POSIX shell.

# Which study, and what to replace in it:  make book STUDY=book/studies/digits.yml NETWORK=vgg16 WEIGHTS=imagenet
STUDY ?=
DATASETS ?=
NETWORK ?=
WEIGHTS ?=
# Further arguments for pytest or JupyterLab:  make test ARGS="tests/data -x"
ARGS ?=

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
READY := $(VENV)/.layerbook-ready
PARALLEL := --numprocesses auto --dist loadscope --no-loadscope-reorder
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

VERSION_OF := -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'
SUPPORTED := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# PYTHON=python3.12 chooses an interpreter; when .venv has another version, it is made anew.
ifdef PYTHON
ifneq ($(shell ($(PYTHON) $(VERSION_OF)) 2>/dev/null || echo missing),$(shell ($(BIN)/python $(VERSION_OF)) 2>/dev/null))
.PHONY: $(READY)
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book test check lowest newest lint lab bench lock clean

help:  ## show this list
	@echo "Usage: make TARGET [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-7s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## prepare .venv (the other targets do it by themselves)

book: $(READY)  ## build the book into _build/html [STUDY=file.yml DATASETS=a,b NETWORK=name WEIGHTS=name]
	$(BIN)/layerbook book $(STUDY) $(if $(DATASETS),--datasets '$(DATASETS)') \
	  $(if $(NETWORK),--network '$(NETWORK)') $(if $(WEIGHTS),--weights '$(WEIGHTS)')

test: $(READY)  ## run the tests on all processors [ARGS="tests/data -x"]
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: lint  ## all that can be checked: long tests, pictures, lowest and newest versions (hours; needs uv)
	$(BIN)/python -m pytest $(PARALLEL) --long --withstood=benchmarks/withstood.json
	$(BIN)/python -m tests.golden.pictures
	$(BIN)/python -m tests.mutants
	$(MAKE) lowest newest

lowest:  ## run the tests on the lowest versions that pyproject.toml allows (needs uv) [ARGS=...]
	$(call with-versions,lowest,--resolution lowest-direct)

newest:  ## run the tests on the newest versions there are (needs uv) [ARGS=...]
	$(call with-versions,newest,--upgrade)

# Run the tests in an environment of its own, .venv-$(1), whose versions uv resolves with $(2).
define with-versions
	@uv --version >/dev/null 2>&1 || { \
	  echo "make $(1) needs uv, which chooses the versions: pip install uv, or https://docs.astral.sh/uv" >&2; \
	  exit 1; \
	}
	uv venv --quiet --allow-existing --python 3.11 $(VENV)-$(1)
	uv pip compile --quiet $(2) --python-version 3.11 --group dev -o $(VENV)-$(1)/requirements.txt pyproject.toml
	uv pip sync --quiet --python $(VENV)-$(1) $(VENV)-$(1)/requirements.txt
	uv pip install --quiet --python $(VENV)-$(1) --no-deps -e .
	$(VENV)-$(1)/$(notdir $(BIN))/python -m pytest $(PARALLEL) $(ARGS)
endef

lint: $(READY)  ## check style, types, and that notebooks hold no outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify $(NOTEBOOKS)

lab: $(READY)  ## open the notebooks in JupyterLab [ARGS="--no-browser"]
	$(BIN)/jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

bench: $(READY)  ## run the benchmarks, write benchmarks/results.json
	$(BIN)/python -m benchmarks

lock:  ## after editing the dependencies in pyproject.toml: renew uv.lock and requirements.lock (needs uv)
	uv lock
	uv export --frozen --no-hashes --no-emit-project --quiet -o requirements.lock

clean:  ## remove build products; .venv, downloads and computed features stay
	rm -rf _build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find analysis benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted preparation is taken up again, never taken as ready.
$(READY): pyproject.toml requirements.lock
	@set -e; \
	python=; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.14 python3.11 python); do \
	  if "$$candidate" $(SUPPORTED) 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	has_uv=; if uv --version >/dev/null 2>&1; then has_uv=yes; fi; \
	if [ -z "$$python" ] && { [ -n "$(PYTHON)" ] || [ -z "$$has_uv" ]; }; then \
	  found=$$($(or $(PYTHON),python3) $(VERSION_OF) 2>/dev/null || echo missing); \
	  echo "Layerbook needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$found. Name another: make setup PYTHON=python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Preparing $(VENV), once. Linux: about 3 GB to download, 7 GB on disk (PyTorch with CUDA); elsewhere far less."; \
	if [ -d $(VENV) ] && ! $(BIN)/python $(SUPPORTED) 2>/dev/null; then rm -rf $(VENV); fi; \
	if [ -n "$$has_uv" ]; then \
	  UV_PROJECT_ENVIRONMENT=$(VENV) uv sync --frozen $(if $(PYTHON),--python "$$("$$python" -c 'import sys; print(sys.executable)')"); \
	else \
	  if [ -n "$(PYTHON)" ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    "$$python" -m venv --clear $(VENV); \
	  fi; \
	  $(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock -e .; \
	fi; \
	touch $(READY)
