# The two commands of a newcomer are `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LABELS := $(BIN)/dbt-labels

.PHONY: help demo test check format clean

help:
	@echo "make demo    label the comments in dbt_project/ with the local server: no key, no cost"
	@echo "make test    run the whole test suite: DuckDB, and PostgreSQL where its server is installed"
	@echo "make check   ruff, mypy --strict, layers"
	@echo "make format  ruff format and fixes"
	@echo "make clean   remove .venv and what the demo made"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev,postgres]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/dbt --quiet deps --project-dir dbt_project
	@$(LABELS) build --local --project-dir dbt_project
	@echo
	@echo "Look further:"
	@echo "  $(BIN)/dbt show --project-dir dbt_project --select theme_sentiment --limit 20"
	@echo "  $(BIN)/dbt show --project-dir dbt_project --inline \"select * from {{ ref('comments_labelled') }}\""
	@echo "  $(LABELS) status --project-dir dbt_project"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo.duckdb demo.duckdb.wal
	rm -rf dbt_project/target dbt_project/logs dbt_project/dbt_packages dbt_project/package-lock.yml dbt_project/.dbt_labels
