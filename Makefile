# Every target makes .venv on demand, with the versions of constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DATA   ?= $(firstword $(wildcard ../shared/data) data)
PHOTOS ?=
RECIPE ?= pyramid

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench train

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: PYTHON=$(PYTHON)  DATA=$(DATA)  PHOTOS=$(PHOTOS)  RECIPE=$(RECIPE)"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --editable '.[train,eval,demo,dev]'
	@touch $@

demo: $(READY) ## photos through Pliant and its rivals: a table and a picture (PHOTOS=folder)
	$(BIN)/python benchmarks/demo.py $(if $(PHOTOS),--photos '$(PHOTOS)')

test: $(READY) ## run the test suite
	$(BIN)/python -m pytest

check: $(READY) ## lint, format check and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## apply the formatter and the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## the slow proofs: rate, speed, exactness, damage (DATA=folder with kodak/)
	$(BIN)/python benchmarks/report.py --data '$(DATA)/kodak'
	$(BIN)/python benchmarks/speed.py --data '$(DATA)/kodak'
	$(BIN)/python benchmarks/peers.py --data '$(DATA)/kodak'
	$(BIN)/python benchmarks/entropy.py
	$(BIN)/python benchmarks/exactness.py --data '$(DATA)/kodak'
	$(BIN)/python benchmarks/damage.py
	$(BIN)/python benchmarks/readme.py

train: $(READY) ## train the shipped model (RECIPE=name, DATA=folder with train/)
	$(BIN)/pliant train $(RECIPE) '$(DATA)/train' '$(DATA)/train-lossless'
