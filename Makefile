# Everything a newcomer or a CI machine needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-extras test-oldest test-zoo lint types reference clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

# A stamp an extra: pip runs again only when pyproject.toml changes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/installed ## install, then train, evaluate and score with the sample classifier
	mkdir -p build/demo
	$(BIN)/ul train --loss maxnorm -o build/demo/model.pt
	$(BIN)/ul evaluate build/demo/model.pt
	$(BIN)/ul score build/demo/model.pt sample_models/images

# The tests compute with one thread each: several processes share the processors.
SHARED := --numprocesses auto --maxprocesses 4 --dist worksteal

test: lint types $(VENV)/installed-test ## install, then lint, type-check and run all tests
	$(BIN)/pytest $(SHARED)

# Apart from `test`: tracing makes the tests take half as long again.
coverage: $(VENV)/installed-test ## run all tests and tell which lines they miss
	$(BIN)/pytest $(SHARED) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

test-extras: $(VENV)/installed-test ## run the tests of the network sources that large extras bring
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,timm,transformers]'
	$(BIN)/pytest tests/ulcli/network/sources

OLDEST := build/oldest
test-oldest: ## run all tests with the oldest PyTorch that is supported (for which PYTHON is 3.10 to 3.13)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]' torch==2.6.0 torchvision==0.21.0
	$(OLDEST)/bin/pytest $(SHARED)

test-zoo: $(VENV)/installed-test ## take every torchvision, timm and transformers network apart (an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check timm transformers
	$(BIN)/pytest $(SHARED) -m zoo tests/ulcli/network/test_zoo.py

lint: $(VENV)/installed-test ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test ## mypy
	$(BIN)/mypy

reference: $(VENV)/installed ## fill the tables of docs/commands.md from the code
	$(BIN)/python docs/make_reference.py

clean: ## remove everything that the other targets made
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .coverage
