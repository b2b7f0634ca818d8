# Everything a fresh machine needs: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
RUN := $(BIN)/python -m monai.bundle run
BUNDLE ?= bundles/adni_ddim
NAME := $(notdir $(patsubst %/,%,$(BUNDLE)))
# what a bundle's demo wants beyond configs/demo.json
TRAIN_mri_age_flow := --max_iterations 2000
GENERATE_mri_age_flow := --age "[60,70,80,90]" --n 4 --steps 5
EVALUATE_mri_age_flow := --steps 5
TRAIN ?= $(TRAIN_$(NAME))
GENERATE ?= $(GENERATE_$(NAME))
EVALUATE ?= $(EVALUATE_$(NAME))

.PHONY: help install demo test lint format docs bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: $(VENV)/.installed  ## Create .venv and install medgen with its development tools

$(VENV)/.installed: pyproject.toml constraints.txt
	@start=$$SECONDS
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# apart and without torchvision, whose absence torchmetrics would take amiss: one file of it is a test's reference
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
		--upgrade --target $(VENV)/reference torch-fidelity || echo "medgen: no torch-fidelity; its test is skipped"
	touch $@
	echo "medgen: installed into $(VENV) in $$((SECONDS - start)) s"

demo: install  ## Simulated cohort -> train a bundle (BUNDLE=bundles/adni_ddim) -> generate -> evaluate -> report
	@start=$$SECONDS
	$(RUN) --config_file "['$(BUNDLE)/configs/train.json','configs/demo.json']" $(TRAIN)
	$(RUN) --config_file "['$(BUNDLE)/configs/inference.json','configs/demo.json']" $(GENERATE)
	$(RUN) --config_file "['$(BUNDLE)/configs/evaluate.json','configs/demo.json']" $(EVALUATE)
	echo "medgen: demo finished in $$((SECONDS - start)) s after installation"
	echo "medgen: the report is $$PWD/$(BUNDLE)/eval/report.html"

test: lint  ## Lint, then run every test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: install  ## ruff and mypy
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Let ruff rewrite what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: install  ## Draw the figures of docs/ anew
	@$(BIN)/python docs/make_figures.py

bench: install  ## Speed against peers, in one run each
	@for benchmark in $(filter-out benchmarks/age_recipes.py,$(wildcard benchmarks/*.py)); do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

clean:  ## Remove what the targets above wrote
	@rm -rf bundles/*/runs bundles/*/models bundles/*/output bundles/*/eval build dist .pytest_cache .mypy_cache .ruff_cache
