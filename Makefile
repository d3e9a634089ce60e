# `make` lists the targets with the descriptions that follow `##`.
METHOD ?= simvae
DATA ?= digits
SEED ?= 0
DEVICES ?= auto
EPOCHS ?=
EXPERIMENT ?=
TABLE ?=
OUT ?= runs
ARGS ?=
PYTHON ?= python3
BIN := .venv/bin

# Without bytecode on disk, every process compiles the modules of torch and Lightning again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup bench sweep table report test lint lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/installed ## install .venv from requirements.lock, if it or pyproject.toml has changed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

bench: setup ## train, score and print: METHOD= DATA= (or EXPERIMENT=) SEED= DEVICES= EPOCHS= OUT= ARGS="--key value ..."
	@$(BIN)/ssl-bench bench $(if $(EXPERIMENT),--experiment $(EXPERIMENT),--method $(METHOD) --data $(DATA)) --seed $(SEED) --devices $(DEVICES) --out $(OUT) \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(ARGS)

sweep: setup ## train and score many runs, those that are missing: ARGS="--method a,b --data c --seeds 0,1" OUT=
	@$(BIN)/ssl-bench sweep --out $(OUT) $(ARGS)

table: setup ## print a paper's table beside our scores, TABLE=simvae_1, or a table of the runs in OUT=: ARGS=
	@$(BIN)/ssl-bench table $(TABLE) $(wildcard $(OUT)) $(ARGS)

report: setup ## write report.html, a page that compares the runs in OUT=: ARGS="--out FILE"
	@$(BIN)/ssl-bench report $(OUT) $(ARGS)

test: setup ## run the tests on up to 8 cores
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: setup ## run ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock: setup ## update requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

clean: ## remove .venv and caches, but neither runs/ nor data/
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
