# The two commands of a newcomer are `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LABELS := $(BIN)/dbt-labels

# dbt-charts joins a path that comes from a variable to the project's folder, absolute or not
FROM_PROJECT = $(BIN)/python -c 'import os, sys; print(os.path.relpath(*map(os.path.realpath, sys.argv[1:])))'

.PHONY: help demo dashboard test test-all matrix bench check format docs clean

help:
	@echo "make demo       label the comments in dbt_project/ with the local server: no key, no cost"
	@echo "make dashboard  draw what the demo labelled as boards: HTML files that need no network"
	@echo "make test       run the test suite: DuckDB, and PostgreSQL where its server is installed"
	@echo "make test-all   the same with every random case and with Spark (Java 17 or 21): on a Spark Connect server, then in a session"
	@echo "make matrix     run the demo from the wheel and the core of the tests with other Pythons, dbts, DuckDBs and openai clients"
	@echo "make bench      print a table of ratios: COMMENTS=file.csv ROWS=100000,1000000 FOLDER=where there is space"
	@echo "make check      ruff, mypy --strict, layers"
	@echo "make format     ruff format and fixes"
	@echo "make docs       write the reference in docs/ from the code"
	@echo "make clean      remove .venv and what the demo made"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev,postgres,charts,metrics]'
	@touch $@

$(VENV)/.all: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev,postgres,spark]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/dbt --quiet deps --project-dir dbt_project
	@$(LABELS) build --local --project-dir dbt_project
	@echo
	@echo "Look further:"
	@echo "  $(BIN)/dbt show --project-dir dbt_project --select theme_sentiment --limit 20"
	@echo "  $(BIN)/dbt show --project-dir dbt_project --inline \"select * from {{ ref('comments_labelled') }}\""
	@echo "  $(LABELS) status --project-dir dbt_project"

$(VENV)/.charts: $(VENV)/.demo
	@$(BIN)/python -c 'import sys; sys.exit("dbt-charts needs Python 3.11 to 3.13" if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,charts]'
	@touch $@

dashboard: DUCKDB = $(or $(DBT_LABELS_DUCKDB),demo.duckdb)
dashboard: $(VENV)/.charts
	@test -e '$(DUCKDB)' || $(MAKE) --no-print-directory demo
	@$(BIN)/dbt --quiet parse --project-dir dbt_project
	@env -u DCT_CACHE_PATH DO_NOT_TRACK=1 DBT_PROFILES_DIR='$(CURDIR)' DBT_LABELS_DUCKDB="$$($(FROM_PROJECT) '$(DUCKDB)' dbt_project)" \
		$(BIN)/dct render dbt_project/charts/*.yml --project-dir dbt_project --no-cache \
		--format html --output 'target/boards/{stem}.html'

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(VENV)/.all
	DBT_LABELS_TEST_SEEDS=all $(BIN)/python -m pytest -n 2 --dist loadfile
	DBT_LABELS_TEST_SPARK=session $(BIN)/python -m pytest tests/warehouse -k "spark and not spark_demo"

# the demo's comments are made many; COMMENTS names a CSV with more real ones, in a column `text`
ROWS ?= 100000,1000000
bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(COMMENTS) --rows $(ROWS) $(if $(FOLDER),--folder $(FOLDER))

# MATRIX='python3.10 dbt1.12' runs only the rows that have one of these in their name
matrix: $(VENV)/.dev
	$(BIN)/python -m tests.matrix $(MATRIX)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python docs/reference.py

clean:
	rm -rf $(VENV) .matrix demo.duckdb demo.duckdb.wal demo_spark
	rm -rf dbt_project/target dbt_project/logs dbt_project/dbt_packages dbt_project/package-lock.yml dbt_project/.dbt_labels
