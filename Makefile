# Each target alone, on a fresh machine with Python, makes the environment that it needs and runs.
#   make demo SECONDS=15     make test STRICT=1     make test COVERAGE=1     make PYTHON=python3.12 dev

VENV := .venv
PEERS := .venv-peers
# The bindings alone: real ones, which are on PyPI, without the libraries, which are not.
TENSORRT10 := .venv-tensorrt10
TENSORRT11 := .venv-tensorrt11
bindings = tensorrt-cu13-bindings==$(1),tensorrt-lean-cu13-bindings==$(1)
# PyCUDA for the tests alone: no environment has it.
PYCUDA := .pycuda
BIN := $(VENV)/bin
SECONDS := 20
STRICT :=
COVERAGE :=
ARGS :=

EXPLICIT := $(if $(filter undefined,$(origin PYTHON)),,--explicit)
PYTHON := $(or $(PYTHON),$(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name) 2>/dev/null))))
BOOTSTRAP = $(or $(PYTHON),$(error rigpose needs Python 3.11, 3.12 or 3.13 and finds none (give one: make PYTHON=/path/to/python3))) scripts/bootstrap.py $(EXPLICIT)

# Real recordings and networks, where they lie beside this folder; the tests that need them skip without.
ifeq ($(origin RIGPOSE_DATA),undefined)
ifneq ($(wildcard ../shared/data/.),)
export RIGPOSE_DATA := $(abspath ../shared/data)
endif
endif
ifeq ($(origin RIGPOSE_MODELS),undefined)
ifneq ($(wildcard ../shared/models/.),)
export RIGPOSE_MODELS := $(abspath ../shared/models)
endif
endif
export RIGPOSE_STRICT := $(STRICT)
# Where no bytecode is written, each worker of each part rewrites the assertions of all test files once more: 8 s a time.
unexport PYTHONDONTWRITEBYTECODE

TEST_EXTRAS := train,viewer,web,calibrate,openvino,labels,dev
# A GPU or a camera is not there by default: pytest -m gpu runs those tests.
EVERYTHING := not gpu and not hardware
# Two workers, each with half of the tests in their order; one that has finished takes some of the other's. A third one
# makes the tests that start processes no quicker on two cores.
SHARED := -n 2 --dist worksteal
PYTEST = $(BIN)/python -m pytest $(ARGS)
# Tracing each line costs the tests a third of their time.
measured = $(if $(COVERAGE),--cov $(1))
QUICK := $(EVERYTHING) and not process and not slow and not gui

.DEFAULT_GOAL := help
.PHONY: help demo test quick dev peers lint wheel clean env-demo env-quick env-test env-tensorrt env-pycuda

help: ## say what the targets do
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST) | awk '{printf "  make %-8s", $$2; $$1=$$2=""; print}'

demo: env-demo ## start the demonstration for SECONDS=20 seconds
	@$(BIN)/rigpose demo --seconds $(SECONDS)

test: env-test env-tensorrt env-pycuda lint ## run every check and every test that needs no GPU and no camera (STRICT=1: a skip fails; COVERAGE=1: say what they ran)
# What judges times comes last and alone. Code 5: nothing chosen.
	@$(PYTEST) $(SHARED) -m "$(EVERYTHING) and not process and not gui" $(call measured,--cov-report=) || [ $$? -eq 5 ]
	@$(PYTEST) $(SHARED) -m "$(EVERYTHING) and (process or gui) and not alone" $(call measured,--cov-append --cov-report=) || [ $$? -eq 5 ]
	@$(PYTEST) -m "$(EVERYTHING) and alone" $(call measured,--cov-append --cov-report=term:skip-covered) || [ $$? -eq 5 ]

quick: env-quick ## run the tests that start no process and take less than a minute
	@$(BIN)/python -m pytest -q -m "$(QUICK)" $(ARGS)

dev: env-test ## make the environment for working on rigpose, with the commit hooks
	@[ ! -e .git ] || $(BIN)/pre-commit install || echo "rigpose: the commit hooks were not installed, all else is ready"
	@echo "rigpose: ready; source $(BIN)/activate"

peers: ## make the environment of the packages that the benchmarks compare with
	@$(BOOTSTRAP) --venv $(PEERS) --packages aniposelib
	@$(PEERS)/bin/python -c "import aniposelib; from importlib.metadata import version; print('rigpose: peers ready, aniposelib', version('aniposelib'))"

lint: env-quick ## check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@MYPY_NUM_WORKERS=2 $(BIN)/mypy
	@$(BIN)/lint-imports

wheel: env-quick ## build the wheel into dist/
	@$(BIN)/python -m hatchling build -t wheel

clean: ## remove the environments and everything that was built
	rm -rf $(VENV) $(PEERS) $(TENSORRT10) $(TENSORRT11) $(PYCUDA) $(PYCUDA).part .stamps dist build htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env-demo:
	@$(BOOTSTRAP) --venv $(VENV) --extras web

env-quick:
	@$(BOOTSTRAP) --venv $(VENV) --extras $(TEST_EXTRAS)

env-test:
	@$(BOOTSTRAP) --apt apt.txt --venv $(VENV) --extras $(TEST_EXTRAS)

# What of TensorRT's API is used is held against the oldest and the newest that are known. Without a wheel for this
# machine there is nothing to hold it against, and its tests say so.
env-tensorrt:
ifeq ($(shell uname -s),Linux)
	@$(BOOTSTRAP) --venv $(TENSORRT10) --packages $(call bindings,10.15.1.29)
	@$(BOOTSTRAP) --venv $(TENSORRT11) --packages $(call bindings,11.4.0.106)
endif

# So is what of PyCUDA is used, against one that is built for the Python of the tests. Without a compiler or Python's
# headers it is not built, and its tests say so.
env-pycuda: env-quick
ifeq ($(shell uname -s),Linux)
	@$(BIN)/python scripts/build_pycuda.py $(PYCUDA)
endif
