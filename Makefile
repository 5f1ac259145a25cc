# Five verbs: install, demo, test, check, verify. `make bench` compares speed with TRL.

PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: install demo test check verify bench error-rates planner-accuracy clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# torch first and by its exact version: a range would fetch the newest build with all of CUDA.
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/luthier study run studies/quickstart.yaml --output runs/quickstart

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

verify: install
	$(BIN)/python -m verification

bench: install
	$(BIN)/python benchmarks/sft_vs_trl.py
	$(BIN)/python benchmarks/techniques.py
	$(BIN)/python benchmarks/preference_vs_trl.py

error-rates: install
	$(BIN)/python scripts/check_error_rates.py

planner-accuracy: install
	$(BIN)/python benchmarks/planner_accuracy.py

clean:
	rm -rf .venv runs
