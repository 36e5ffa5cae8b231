# Arithmoscope: everything from a fresh checkout. `make help` says what there is.
#
# What was done is remembered in stamp files, so that a second `make run` serves within seconds.
# Settings (ARITHMOSCOPE_PORT and so on) come from the environment and from .env, as for the command itself.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON ?= python3
PIP := "$(BIN)/python" -m pip --disable-pip-version-check --no-input
MODEL := smollm2-135m

PAGE_SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/package.json \
	frontend/tsconfig.json frontend/vite.config.ts openapi.json -type f 2>/dev/null)

# `$(MODELS); command`: tells what knows no settings where the models are, also when .env says it.
MODELS = set -e; ARITHMOSCOPE_MODELS_DIR=$$("$(BIN)/python" -c \
	'from arithmoscope.settings import read_settings; print(read_settings().models_dir)'); export ARITHMOSCOPE_MODELS_DIR

.PHONY: help run test test-all check bench replicate tuners adder soak example screenshots openapi vocabulary constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.server arithmoscope/page/index.html ## install what is missing, then serve on http://127.0.0.1:8000
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@exec "$(BIN)/arithmoscope" serve

test: TESTS := gate ## the gate: every law once; fetches a browser, PostgreSQL and Redis if there are none
test-all: TESTS := all ## every test: all families in float32, faults for minutes, generated requests in full
test test-all: $(VENV)/.dev arithmoscope/page/index.html
	@scripts/test-services
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@scripts/with-node npm --prefix frontend test
	@$(MODELS); scripts/with-browser scripts/run-tests $(TESTS)

check: $(VENV)/.dev frontend/node_modules/.installed ## format, lint, types, import rules
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	@scripts/with-node "$(BIN)/pyright"
	"$(BIN)/lint-imports"
	@scripts/with-node npm --prefix frontend run check

bench: $(VENV)/.server ## measure again, other tools too; writes benchmarks/RESULTS.md
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m benchmarks

replicate: $(VENV)/.server ## the paper's story on MODEL (smollm2-135m), 15 to 25 minutes; writes docs/findings
	@"$(BIN)/arithmoscope" replicate $(MODEL) --out docs/findings

tuners: $(VENV)/.server ## precise fine-tuning compared with its controls, an hour or two; resumes where it stopped; writes docs/tuning
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m benchmarks.tuners

adder: $(VENV)/.server ## train the small model that can add again, ten minutes of one core a seed; resumes; writes arithmoscope/adder
	@"$(BIN)/python" -m benchmarks.adder

soak: $(VENV)/.dev ## faults and load on real process trees, 40 minutes; writes docs/soak.md
	@"$(BIN)/python" -m benchmarks.soak

example: $(VENV)/.server ## compute the bundled example again
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m arithmoscope.bundled_example

screenshots: $(VENV)/.dev arithmoscope/page/index.html ## take the pictures in docs/images again
	@$(MODELS); scripts/with-browser "$(BIN)/python" docs/screenshots.py

openapi: vocabulary ## write openapi.json and the vocabulary again after a change of the API
	"$(BIN)/python" -m arithmoscope_api.write_openapi > openapi.json.new
	mv openapi.json.new openapi.json

vocabulary: $(VENV)/.server ## write the page's vocabulary and the tables of options in the docs again
	"$(BIN)/python" scripts/write_vocabulary.py

constraints: $(VENV)/.dev ## pin what is installed now
	$(PIP) freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## remove what was built (not the data, not the models)
	rm -rf $(VENV) .venv-bench frontend/node_modules arithmoscope/page

# ---- Python

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Install one, or: make run PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

$(VENV)/.server: pyproject.toml constraints.txt  | $(VENV)/bin/python
	$(PIP) install -q -c constraints.txt -e '.[server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.server
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

# ---- The page

frontend/node_modules/.installed: frontend/package-lock.json | $(VENV)/.server
	@scripts/with-node "$(BIN)/python" scripts/build_page.py --packages

arithmoscope/page/index.html: frontend/node_modules/.installed $(PAGE_SOURCES)
	@scripts/with-node "$(BIN)/python" scripts/build_page.py
	@touch $@
