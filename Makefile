# Five verbs: install, demo, test, check, verify. `make bench` compares speed with TRL, and `make gpu`
# runs what only a GPU can tell (benchmarks/gpu/README.md).

PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: install demo test check verify bench gpu gpu-page gpu-bundle error-rates planner-accuracy clean

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

# A GPU machine brings a Python with its own torch: without .venv that one is taken.
GPU_PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
PART ?= all
OUT ?= docs/results/gpu

gpu:
	$(GPU_PYTHON) -m benchmarks.gpu $(PART) --output $(OUT) $(ARGS)

gpu-page:
	$(GPU_PYTHON) -m benchmarks.gpu.page $(ARGS)

gpu-bundle: install
	$(BIN)/python -m benchmarks.gpu.bundle $(if $(HAVE),--have $(HAVE)) $(ARGS)

error-rates: install
	$(BIN)/python scripts/check_error_rates.py

planner-accuracy: install
	$(BIN)/python benchmarks/planner_accuracy.py

clean:
	rm -rf .venv runs
