# Needs git, make and Python 3.11 or 3.12. The first target that is made sets up .venv.
# To choose an interpreter: make PYTHON=/path/to/python3.12 run

PORTFOLIO ?= gmsc

VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up

# No tool here reports usage to anybody.
export DO_NOT_TRACK := 1
export BENTOML_DO_NOT_TRACK := True

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

# Notebooks get their own BentoML home, as pytest does from conftest.py.
NBDEV_TEST = home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT INT TERM && \
	BENTOML_HOME="$$home" $(BIN)/nbdev_test --n_workers 2

# Two processes, with each module's tests in one of them: half of the time is spent waiting for services to start.
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help run serve report lab check export format docs docs-serve test test-all readme lock clean

help: ## List the targets
	@echo 'Usage: make TARGET [PORTFOLIO=gmsc]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(SET_UP) ## Check data, write the reports, train, and serve one prediction, for PORTFOLIO
	@$(BIN)/credit-default run --portfolio "$(PORTFOLIO)"

serve: $(SET_UP) ## Serve the champion on this machine
	@$(BIN)/credit-default serve --make-key $(if $(filter command line environment,$(origin PORTFOLIO)),--portfolio "$(PORTFOLIO)")

report: $(SET_UP) ## Write the EDA and training reports of PORTFOLIO to reports/
	@$(BIN)/credit-default eda --portfolio "$(PORTFOLIO)"
	@$(BIN)/credit-default train --portfolio "$(PORTFOLIO)"

# The configuration folder is added to the user's own and does not replace it, and a terminal finds the commands of
# $(VENV) first. Options: make lab LAB_FLAGS=--no-browser
lab: $(SET_UP) ## Open the chapters in JupyterLab, which cleans notebooks on saving
	@PATH="$(abspath $(BIN)):$$PATH" JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" $(BIN)/jupyter lab $(LAB_FLAGS)

check: $(SET_UP) ## Check export, format, style, types and layers; changes nothing
	@$(BIN)/python tools/source_of_truth.py
	@$(BIN)/ruff format --check --quiet . || { echo 'Not formatted: `make format`, then `make export`.' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

export: $(SET_UP) ## Write the modules and README.md from the notebooks
	@$(BIN)/nbdev_export
	@$(BIN)/python tools/readme.py

format: $(SET_UP) ## Format notebooks and Python
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix . || true

docs: $(SET_UP) ## Build the documentation site in _docs/html; needs no network
	@$(BIN)/python docs/pages.py _docs/source
	@$(BIN)/sphinx-build -q -W --keep-going -b html -c docs -d _docs/doctrees _docs/source _docs/html
	@echo "_docs/html/index.html"

docs-serve: docs ## Build the documentation site and serve it on this machine
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _docs/html 8000

# Chapters are tested on the synthetic sample, whatever data this machine has; test-all lets them use it.
test: check ## Check, then test chapters and modules, without the slow tests
	@unset CREDIT_DEFAULT_DATA; $(NBDEV_TEST)
	@$(PYTEST)

test-all: check ## As test, with the slow tests, and with CREDIT_DEFAULT_DATA in the chapters
	@$(NBDEV_TEST) --flags slow
	@$(PYTEST) -m ''

readme: $(SET_UP) ## Write README.md from nbs/index.ipynb
	@$(BIN)/python tools/readme.py

# uv starts from the locked versions and changes only what it must (UPGRADE=--upgrade upgrades everything). The packages
# that the benchmarks compare with have their own lock file, with the versions of requirements.lock for shared packages;
# AutoGluon's environment has one with versions of its own.
lock: $(SET_UP) ## Resolve settings.ini into the lock files and environment.yml
	@$(BIN)/python tools/locked.py requirements > $(VENV)/requirements.in
	@$(COMPILE) --output-file requirements.lock $(VENV)/requirements.in
	@$(BIN)/python tools/locked.py bench > $(VENV)/requirements-bench.in
	@$(COMPILE) --constraint requirements.lock --output-file requirements-bench.lock $(VENV)/requirements-bench.in
	@$(BIN)/python tools/locked.py autogluon > $(VENV)/requirements-autogluon.in
	@$(COMPILE) --output-file requirements-autogluon.lock $(VENV)/requirements-autogluon.in
	@$(BIN)/python tools/locked.py environment > environment.yml
	@$(BIN)/python tools/serving.py > requirements-serving.lock

clean: ## Remove caches and build output; .venv, data and reports stay
	@rm -rf build dist *.egg-info _docs _proc .pytest_cache .hypothesis
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print | xargs rm -rf

# Runs again only if one of the three files has changed. A python3.12 on PATH may be a launcher without an interpreter, so
# candidates are run, not just looked up. uv is installed with the hash in the lock file, like everything else, and the
# project is built with the locked setuptools, not with the newest one. Bytecode is compiled here, once: if Python may
# not write any, each command and each worker would otherwise spend seconds on it.
$(SET_UP): requirements.lock settings.ini setup.py
	@if ! $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		for candidate in $(or $(PYTHON),python3.12 python3.11 python3 python); do \
			if $$candidate -c '$(SUPPORTED)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo 'Python 3.11 or 3.12 is needed and was not found. Install it, or give its path: make PYTHON=/path/to/python3.12 ...' >&2; \
			exit 1; \
		fi; \
		echo "Setting up $(VENV) with $$($$found --version)"; \
		$$found -m venv --clear $(VENV) || { \
			echo "$$found cannot create a virtual environment (on Debian and Ubuntu, install python3-venv)." >&2; exit 1; }; \
	fi
	@awk '/^uv==/ {on = 1} on {print; if (!/\\$$/) exit}' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@echo "Installing the $$(grep -c '^[a-z].*==' requirements.lock) packages of requirements.lock; the first time, this takes minutes"
	@( while sleep 30 >/dev/null 2>&1; do echo '  still installing ...'; done ) & ticker=$$!; \
	trap 'kill $$ticker 2>/dev/null' EXIT; \
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
