# make demo, make test: each does all its own set-up in .venv and is quick the second time.
# make test TESTS=test/align runs all tests of a part.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs
READY := $(VENV)/.ready
CODE := src test launch executables benchmarks examples tools .ci setup.py
TESTS ?=
CHECKPOINTS ?=
# A third of a run is waiting: for pictures, for what a person would do, for nodes to find each other.
PYTEST := -m pytest --numprocesses 5 --dist loadgroup --no-loadscope-reorder

# constraints.txt holds one set of versions; these two are the ends of the ranges in pyproject.toml,
# for any Python and in an environment of their own: PYTHON=python3.13 make test-newest.
SERIES = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
NEWEST = .venv-newest-$(SERIES)
OLDEST = .venv-oldest-$(SERIES)
IMAGE = .venv-image-$(SERIES)
# torch from PyPI brings gigabytes of CUDA, so it is no part of the ranges that are tested: Python 3.11
# is given the release of constraints.txt at both ends, others none, where the tests that need it
# are skipped and say so. TORCH=torch==2.13.0 (or a file) on the command line has any Python test it.
TORCH ?= $(if $(filter 3.11,$(SERIES)),$(shell grep '^torch==' constraints.txt))
# What PyPI has as torch for Linux needs CUDA's libraries; its makers' own index has a build without, which
# is set up here. Whoever has set another place for pip (a mirror, a folder of wheels) gets what is there, unless
# TORCH_INDEX is given, and make demo TORCH_INDEX= has what PyPI has, for a GPU.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_INDEX_GIVEN = $(filter command environment,$(firstword $(origin TORCH_INDEX)))
EXTRAS = ros,bag,plot,sim,dev$(if $(TORCH),$(COMMA)policy$(COMMA)export)
COMMA := ,

# Hundreds of programs are started: where bytecode is not kept, each compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-thorough test-newest test-oldest test-image lint format checkpoints oracle reference docs clean

demo: $(READY)
	$(BIN)/armlet demo --output demo-output --report demo-report.png

# What a change is tried with; and what repeats that with many instances, at every step or beside stock
# LeRobot, which .ci/run does after it.
test: $(READY)
	$(BIN)/python $(PYTEST) $(if $(TESTS),$(TESTS),-m "not thorough")

test-thorough: $(READY)
	$(BIN)/python $(PYTEST) -m thorough

# What docker/Dockerfile lists, set up without an engine: every module is imported, every command asked for help.
test-image:
	rm -rf $(IMAGE)
	$(PYTHON) .ci/image.py --install $(IMAGE)

# What is newest changes, so this looks every time.
test-newest:
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --upgrade --upgrade-strategy eager $(TORCH) --editable '.[$(EXTRAS)]'
	$(NEWEST)/bin/python -m pip freeze > $(NEWEST)/versions.txt
	$(NEWEST)/bin/python $(PYTEST) $(TESTS)

test-oldest:
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(PYTHON) .ci/lowest_versions.py --except torch > $(OLDEST)/lowest.txt
	$(OLDEST)/bin/python -m pip install --disable-pip-version-check \
	  --constraint $(OLDEST)/lowest.txt $(TORCH) --editable '.[$(EXTRAS)]'
	$(OLDEST)/bin/python -m pip freeze > $(OLDEST)/versions.txt
	$(OLDEST)/bin/python $(PYTEST) $(TESTS)

lint: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Records demonstrations on the emulated bench and trains the shipped policies on them, hours; stopped, it goes
# on where it was. make checkpoints CHECKPOINTS=reach makes one, by its recipe in checkpoints/recipes.
checkpoints: $(READY)
	$(BIN)/python tools/checkpoints.py $(CHECKPOINTS)

# docs/reference, from what nodes, commands and graphs declare; a test says when it is out of date.
reference: $(READY)
	$(BIN)/python tools/reference.py

# The site, in site/, in an environment that has the generator and nothing of armlet; a broken link fails it.
docs:
	@test -x $(DOCS)/bin/mkdocs || { $(PYTHON) -m venv $(DOCS) && $(DOCS)/bin/python -m pip install --quiet \
	  --disable-pip-version-check $$($(PYTHON) tools/extra.py docs); }
	$(DOCS)/bin/mkdocs build --strict

# Stock LeRobot in an environment of its own, to compare with; never a dependency.
oracle:
	bash ../shared/oracle/setup.sh .oracle v04

$(READY): pyproject.toml setup.py constraints.txt
	@echo "Setting up $(VENV); what is fetched, with its size:"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if test -z "$(TORCH_INDEX)"; then \
	  echo "  torch as PyPI has it, with CUDA: 2.7 GB more, 6 GB on disk when done"; \
	elif test -z "$(TORCH_INDEX_GIVEN)" \
	  && $(BIN)/python -m pip config list | grep -E 'index-url|find-links|no-index' > /dev/null; then \
	  echo "  torch from where your pip's settings say; if it has CUDA, as PyPI's: 2.7 GB more, 6 GB on disk when done."; \
	  echo "  Without CUDA: make demo TORCH_INDEX=URL, an index of it such as $(TORCH_INDEX)"; \
	else echo "  torch without CUDA, 0.2 GB, from $(TORCH_INDEX): 2.3 GB on disk when done" && $(BIN)/python -m pip install \
	  --quiet --disable-pip-version-check --no-deps --retries 1 --timeout 20 --index-url "$(TORCH_INDEX)" \
	  "$$(grep '^torch==' constraints.txt)" 2> $(VENV)/torch.log \
	  || echo "  not found there ($(VENV)/torch.log): torch comes from PyPI and brings CUDA with it, 2.7 GB more"; fi
	@begun=$$(date +%s); set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check \
	  --progress-bar off --constraint constraints.txt \
	  --editable '.[ros,policy,export,plot,bag,sim,dev]' 2>&1 | tee $(VENV)/setup.log \
	  | grep --line-buffered -oE '^ *Downloading .*|^Installing collected packages|^ERROR.*' \
	  | sed -u 's/^Installing collected packages/& (one to four minutes, nothing more is printed)/' \
	  || { tail -n 20 $(VENV)/setup.log; exit 1; }; \
	echo "$(VENV) is ready after $$(( $$(date +%s) - begun )) s"
	@touch $@

clean:
	rm -rf $(VENV) $(DOCS) site .venv-newest-* .venv-oldest-* .venv-image-* build install log demo-output demo-report.png
