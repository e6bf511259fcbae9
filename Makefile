# The commands of development. .ci/run and the pre-commit hooks call these targets.
PYTHON ?= python

.PHONY: format lint types check test slow sample

format:
	$(PYTHON) -m ruff format .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

check: lint types

test:
	$(PYTHON) -m pytest -q -n 2 -rfEs --durations=25

slow:
	$(PYTHON) -m pytest -q -m slow --hypothesis-profile random

sample:
	$(PYTHON) -m harness run benchmarks.yaml
