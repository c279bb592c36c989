# make demo, make test: each does all its own set-up in .venv and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := src test launch executables benchmarks setup.py

.PHONY: demo test lint format checkpoint oracle clean

demo: $(READY)
	$(BIN)/armlet demo --output demo-output --report demo-report.png

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Records demonstrations on the emulated bench and trains the shipped policy on them, half an hour.
checkpoint: $(READY)
	$(BIN)/armlet demo --record-only 120 --seed 2026 --output training-output
	rm -rf checkpoints/reach
	$(BIN)/armlet train --dataset training-output/dataset --output checkpoints/reach --half

# Stock LeRobot in an environment of its own, to compare with; never a dependency.
oracle:
	bash ../shared/oracle/setup.sh .oracle v04

$(READY): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[ros,policy,export,plot,bag,dev]'
	touch $@

clean:
	rm -rf $(VENV) build install log demo-output demo-report.png
