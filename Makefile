# Everything the book needs, from a fresh machine with python3 (3.11 or newer), make, git and a way to reach PyPI.
#   make book   train the headline model here, then build the book
#   make test   everything that continuous integration checks

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

# The first Python on the PATH that is new enough. `make book PYTHON=/path/to/python` chooses another.
MINIMUM := (3, 11)
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < $(MINIMUM))' 2>/dev/null && { echo $$p; break; }; done)
endif

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
RUN   := runs/ekvae-constrained
PAGE  := _build/html/book/index.html

# Two worker processes with one thread each for the tests; the training may use THREADS threads.
JOBS    ?= 2
THREADS ?= 2
export OMP_NUM_THREADS := 1

# Notebooks run on the kernel of .venv, whatever kernels, paths and plotting backends the user has elsewhere.
export JUPYTER_PREFER_ENV_PATH := 1
unexport JUPYTER_PATH PYTHONPATH PYTHONHOME PYTHONSAFEPATH MPLBACKEND

.PHONY: help setup book site pages check-pages links test test-retrain lint unit chapters notebooks benchmarks repository clean distclean

help: ## show this list
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf '%-16s%s\n' "$$target" "$$text"; done

setup: $(STAMP) ## create .venv with the pinned requirements and the package

$(STAMP): requirements.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or newer on the PATH. Install one, or say which: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < $(MINIMUM))' || { \
		echo "error: $(PYTHON) is older than Python 3.11. Say which Python to use: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot create virtual environments. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@"$(PY)" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "Installing the pinned requirements into $(VENV): a few minutes and about 1.7 GB, once."
	@"$(PY)" -m pip install --quiet --disable-pip-version-check -r requirements.txt || { \
		echo "error: the requirements could not be installed; pip's message is above. Run make again to go on." >&2; exit 1; }
	@"$(PY)" -m pip install --quiet --disable-pip-version-check --no-deps -e . || { \
		echo "error: the package itself could not be installed; pip's message is above." >&2; exit 1; }
	@touch $@

book: setup ## train ekvae-constrained here (or resume it), add your run to the book, build the site
	@OMP_NUM_THREADS=$(THREADS) $(PY) -m tutorial_dssm train ekvae-constrained --out $(RUN)
	@OMP_NUM_THREADS=$(THREADS) $(PY) -m tools.pages.your_run $(RUN)
	@$(MAKE) --no-print-directory site

site: setup ## only build the site, with warnings as errors
	@$(VENV)/bin/jupyter-book build . -W --keep-going -n -q > /dev/null
	@echo "The book is built. Open this file in a browser:"
	@echo "  $(CURDIR)/$(PAGE)"

pages: setup ## make every generated page and picture of book/made again, where it is not current
	@$(PY) -m tools.generated

check-pages: setup ## which generated page or shipped file is not current?
	@$(PY) -m tools.generated --check
	@$(PY) -m tools.ship.provenance --check

links: site ## list every link of the site to another host, with the pages that hold it (asks no host)
	@$(PY) -m tools.links _build/html

test: setup lint check-pages site unit chapters ## lint, generated pages, site, unit tests, and every chapter run again and compared
	@echo "All checks passed."

lint: setup ## format, style and types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

unit: setup ## all unit tests
	@MPLBACKEND=Agg $(PY) -m pytest -q -n $(JOBS) tests

.PHONY: unit-fast coverage test-lowest
unit-fast: setup ## the package's quick unit tests, in less than a minute (not part of `make test`)
	@MPLBACKEND=Agg $(PY) -m pytest -q -n $(JOBS) -m "not slow and not browser and not gym" \
		--ignore=tests/tools tests

coverage: setup ## which lines and branches of the package the unit tests run: a table, and htmlcov/index.html
	@MPLBACKEND=Agg $(PY) -m pytest -q -n $(JOBS) -m "not browser" --cov --cov-report=term --cov-report=html tests

LOWEST := .venv-lowest
test-lowest: ## the unit tests on the lowest versions that pyproject.toml declares (several GB, in .venv-lowest)
	@if [ -z "$(PYTHON)" ]; then echo "error: no Python 3.11 or newer on the PATH" >&2; exit 1; fi
	@"$(PYTHON)" -m venv $(LOWEST)
	@"$(PYTHON)" -m tools.lowest > $(LOWEST)/requirements.txt
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST)/requirements.txt
	@$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@MPLBACKEND=Agg $(LOWEST)/bin/python -m pytest -q -n $(JOBS) -m "not browser" --ignore=tests/tools tests

chapters: setup ## run every chapter again as a reader has it, and compare its outputs
	@$(PY) -m tools.notebooks.check --jobs $(JOBS)

test-retrain: setup ## run the chapters that can train with RETRAIN = True, for a few steps (not part of `make test`)
	@$(PY) -m tools.notebooks.check --retrain --jobs $(JOBS)

notebooks: setup ## run the chapters in place and store their outputs (NAMES="04 08" for some of them)
	@OMP_NUM_THREADS=$(THREADS) $(PY) -m tools.notebooks.execute $(NAMES)

benchmarks: setup ## speed and memory, as ratios in one run
	@$(PY) -c 'import simdkalman, dynamax' 2>/dev/null || \
		echo "Some peers are missing and will be left out. To add them: $(VENV)/bin/pip install -e '.[benchmarks]'"
	@$(PY) benchmarks/training_step.py
	@$(PY) benchmarks/kalman.py

repository: ## write another repository address everywhere: make repository URL=https://github.com/OWNER/NAME
	@if [ -z "$(PYTHON)" ]; then echo "error: no Python 3.11 or newer on the PATH" >&2; exit 1; fi
	@"$(PYTHON)" -m tools.repository "$(URL)"

clean: ## remove the built site and caches; keep your runs and .venv
	rm -rf _build book/made/your_run build src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv and your runs too
	rm -rf $(VENV) $(LOWEST) runs
