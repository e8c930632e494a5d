# Two commands for a newcomer: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGES := packages/mg-data packages/mg-skeleton packages/mg-rgb packages/mg-adapt packages/mg-fusion
SOURCES := $(PACKAGES) examples tests conftest.py tools benchmarks
EDITABLE := -e "packages/mg-data[prep,plot,pose,explore,testing]" -e "packages/mg-skeleton[fast,onnx]" -e "packages/mg-rgb[hf]" \
	-e "packages/mg-adapt[fabric,ray,tensorboard]" -e "packages/mg-fusion[report,embed,fast,stacking]"
TOOLS := pytest pytest-xdist hypothesis mypy ruff import-linter openpyxl scikit-learn build hatchling towncrier mkdocs-material playwright
# One thread a test process: two of them share the cores.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadscope

.PHONY: help setup demo test test-slow lint coverage mutants fuzz bench parity docs pages clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

setup: $(READY)  ## Make .venv with all packages in editable form

$(READY): constraints.txt $(PACKAGES:=/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(EDITABLE) $(TOOLS)
	@touch $(READY)

demo: setup  ## Run the whole loop on a synthetic corpus (a few minutes)
	$(BIN)/mg run recipes/demo.toml -o runs/demo $(DEMO_ARGS)

test: setup  ## Lint, types, arrows and all tests but those of test-slow
	$(MAKE) --no-print-directory lint
	$(PYTEST) -m "not extended" $(PYTEST_ARGS)

test-slow: setup  ## Wheels in clean environments, killed runs, executed documentation, pages in a browser (apt install chromium)
	$(PYTEST) -m extended $(PYTEST_ARGS)

lint: setup  ## ruff, mypy, import-linter, declared dependencies
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(wildcard packages/*/src)
	$(BIN)/lint-imports
	$(BIN)/python tools/check_deps.py

mutants: setup  ## Mutation tests in a temporary copy; GROUP=losses for one group of tools/mutants.py
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt mutmut
	$(BIN)/python tools/mutants.py $(or $(GROUP),all)

bench: setup  ## Measure every ratio again (half an hour of a quiet machine) and compare with benchmarks/results
	$(BIN)/python -m benchmarks.bench; status=$$?; $(BIN)/python -m benchmarks; exit $$status

coverage: setup  ## What share of each package's lines the tests run; below 90 % it fails
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt coverage pytest-cov
	$(BIN)/coverage erase
	-$(PYTEST) --cov --cov-report= $(PYTEST_ARGS)    # a few fail where every line is traced: full disks, deadlines
	$(BIN)/coverage json --quiet --ignore-errors
	$(BIN)/python tools/coverage_by_package.py

fuzz: setup  ## Change foreign files where coverage leads: make fuzz FUZZ_ARGS="logits --seconds 600"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt atheris
	$(BIN)/python tests/fuzz/fuzz_run.py --guided $(FUZZ_ARGS)

parity: setup  ## Run the public references in environments of their own and write the golden arrays
	$(BIN)/python tools/parity.py
	$(BIN)/python tools/parity_calibration.py

pages: setup  ## Write the generated pages of docs/
	$(BIN)/python tools/reference.py --write
	$(BIN)/python -m benchmarks

docs: setup  ## Check the generated pages and build the site into site/; a warning or a dead link fails
	$(BIN)/python tools/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:  ## Remove the environment, caches and runs
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
