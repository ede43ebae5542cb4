# Two commands from nothing: `make demo` and `make test`. Python >= 3.11 and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SCENES ?= ../shared/data
WORKERS ?= 2

# Tests on real scenes find them through HSISTREAM_DATA.
ifneq ($(wildcard $(SCENES)/README.md),)
export HSISTREAM_DATA ?= $(abspath $(SCENES))
endif

.PHONY: demo test venv check laws bench clean

demo: $(STAMP)  ## make a synthetic scene, cluster it, print where the map is
	$(BIN)/hsistream demo demo

test: export OMP_NUM_THREADS = 1# threads of processes that share cores wait for each other
test: export OPENBLAS_NUM_THREADS = 1
test: $(STAMP)  ## the test suite, each file by one of WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

venv: $(STAMP)  ## only the environment

check: $(STAMP)  ## format, lint, types, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell hsistream tests docs examples benchmarks README.md CHANGELOG.md CONTRIBUTING.md

laws: $(STAMP)  ## the slow laws: memory, killed runs, real scenes
	$(BIN)/python -m pytest -m slow

bench: $(STAMP)  ## quality and speed tables; needs HSISTREAM_DATA for the first
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/masked.py
	$(BIN)/python benchmarks/superpixels.py
	$(BIN)/python benchmarks/diffusion_choices.py
	$(BIN)/python benchmarks/few_labels.py --with-raw
	$(BIN)/python benchmarks/denoisers.py
	$(BIN)/python benchmarks/ablation.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:  ## remove what the commands above made
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
