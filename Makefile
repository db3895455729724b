# gatebook. `make audit` and `make test` need nothing but Python 3.11 to 3.14: both make .venv first.
# Only relative paths, so that the project may live in any folder.

.PHONY: help venv audit test lab bench bench-safety lint format lock clean FORCE
.DEFAULT_GOAL := help

# The first interpreter that can do it; or name one: make PYTHON=/path/to/python3.12
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c "$(PYTHON_IS_FIT)" >/dev/null 2>&1 && { echo "$$python"; exit; }; done; echo python3)
PYTHON_IS_FIT = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

RUN := .venv/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq
# What `make test`, `make lab` and `make bench` hand on: make test ARGS="-k catalog"
ARGS ?=

help:
	@echo 'make audit    run the audit workbook against a bundled PostgreSQL, into outputs/'
	@echo 'make lab      open the notebooks in JupyterLab'
	@echo 'make test     lint, then all tests'
	@echo 'make bench    measure the views and the comparison on 10 million rows: about 20 minutes, 16 GB of disk'
	@echo 'make bench-safety  measure the migration validator beside other tools: about five minutes'
	@echo 'make lint     ruff, mypy, and notebooks without outputs'
	@echo 'make format   let ruff and the notebook cleaner mend what lint names'
	@echo 'make lock     renew requirements.lock and bench/requirements.lock from pyproject.toml'
	@echo 'make clean    remove .venv, the embedded server and caches; outputs/ and what is known of databases stay'

audit: venv
	$(RUN) -m gatebook run --params params/demo.yaml

test: lint
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lab: venv
	$(RUN) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(ARGS)

bench: venv bench/.venv/installed bench-safety
	$(RUN) bench/views.py $(ARGS)

# Of what make bench hands to both, it takes this alone.
bench-safety: venv bench/.venv/installed
	$(RUN) bench/safety.py $(filter --write-docs,$(ARGS))

lint: venv
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) scripts/clean_notebooks.py --check

format: venv
	$(RUN) scripts/clean_notebooks.py
	$(RUN) scripts/cli_docs.py
	$(RUN) scripts/sample_docs.py
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

lock: venv
	$(RUN) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --group dev \
		--generate-hashes --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml
	$(RUN) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --group bench \
		--generate-hashes --custom-compile-command 'make lock' --output-file bench/requirements.lock

clean:
	rm -rf .venv bench/.venv .gatebook/server .gatebook/*.lock .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# Two stamps, each written last: a half-made .venv has none and is made anew. The first holds the folder the
# .venv was made in, since an editable install in a moved or copied project would still run the old source.
venv: .venv/installed

.venv/locked: requirements.lock $(shell test "$$(cat .venv/locked 2>/dev/null)" = "$$(pwd -P)" || echo FORCE)
	@"$(PYTHON)" -c "$(PYTHON_IS_FIT)" || { echo 'gatebook needs Python 3.11 to 3.14, with the modules venv' \
		'and ensurepip (Debian: python3-venv). Name one: make PYTHON=/path/to/python3.12' >&2; exit 2; }
	@echo 'Making .venv from requirements.lock (a minute or two) ...'
	@rm -rf .venv
	@"$(PYTHON)" -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@pwd -P > $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# What the benchmark is measured against, apart from what gatebook itself runs with.
bench/.venv/installed: bench/requirements.lock
	@rm -rf bench/.venv
	@"$(PYTHON)" -m venv bench/.venv
	@bench/.venv/bin/python -m pip --disable-pip-version-check -qq install --require-hashes -r bench/requirements.lock
	@touch $@

FORCE:
