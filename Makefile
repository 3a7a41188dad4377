# The few commands of this project; plain GNU make, never sudo. Each brings up what it needs, once:
# the stamps in .venv/.logsum say what is in place, and go with .venv.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
TORCH_SPEC ?= torch==2.13.0
JOBS ?= $(shell sh tools/setup.sh jobs)
FUZZ_SECONDS ?= 30
FUZZ_SEED ?= 1
CLANG ?= $(shell for v in "" -19 -18 -17 -16 -15 -14; do command -v clang++$$v && break; done)
export PYTHON TORCH_SPEC
export MPLBACKEND := Agg
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PY := $(CURDIR)/.venv/bin/python
DONE := .venv/.logsum
CONFIGURE := cmake --preset release -DLOGSUM_BUILD_PYTHON=ON -DPython_EXECUTABLE=$(PY)
CPP_FOLDERS := include src python/bindings tests/cpp benchmarks examples
PYTHON_FOLDERS := python tests benchmarks docs tools examples

.PHONY: help setup build test sanitize fuzz tour bench lint format docs clean

help:  ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

setup: $(DONE)/system $(DONE)/build $(DONE)/test $(DONE)/tour $(DONE)/torch  ## .venv and what test and tour need

build: $(DONE)/system $(DONE)/build  ## the C++ library, its tests and the Python extension
	@$(CONFIGURE) --log-level=NOTICE >/dev/null
	cmake --build --preset release -j $(JOBS)

test: setup build  ## all tests: C++ (ctest), then Python and installation (pytest)
	ctest --preset release -j $(JOBS)
	$(PY) -m pytest -n $(JOBS)

sanitize: $(DONE)/system $(DONE)/build  ## the C++ tests under the address and undefined behaviour sanitizers
	@cmake --preset asan >/dev/null
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan -j $(JOBS)

fuzz: $(DONE)/system $(DONE)/build  ## libFuzzer on what reads formulas, where there is a clang++
	@if [ -z "$(CLANG)" ]; then \
	  echo "no clang++: make test has run the corpus and mutations of it"; \
	else \
	  cmake --preset fuzz -DCMAKE_CXX_COMPILER=$(CLANG) >/dev/null && \
	  cmake --build --preset fuzz -j $(JOBS) && \
	  mkdir -p build/fuzz/corpus && \
	  build/fuzz/tests/fuzz/logsum_formula_fuzz -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) \
	    -timeout=20 -verbosity=0 -print_final_stats=1 build/fuzz/corpus tests/fuzz/corpus; \
	fi

tour: setup build  ## a guided tour with pictures, in the terminal and as an HTML report
	$(PY) -m logsum tour

bench: setup build $(DONE)/bench  ## speed: the core against the machine, the faces against their peers
	@$(CONFIGURE) -DLOGSUM_BUILD_BENCHMARKS=ON >/dev/null
	cmake --build --preset release -j $(JOBS)
	$(PY) benchmarks/run.py

lint: $(DONE)/dev build  ## clang-format, ruff, mypy, and tables that agree with results and code
	find $(CPP_FOLDERS) -name '*.[ch]pp' -o -name '*.h' | xargs clang-format --dry-run -Werror
	ruff check $(PYTHON_FOLDERS)
	ruff format --check $(PYTHON_FOLDERS)
	mypy
	$(PY) benchmarks/report.py --check
	$(PY) tools/formulas.py --check

format: $(DONE)/dev  ## put sources into the form that lint asks for
	find $(CPP_FOLDERS) -name '*.[ch]pp' -o -name '*.h' | xargs clang-format -i
	ruff check --fix $(PYTHON_FOLDERS)
	ruff format $(PYTHON_FOLDERS)

docs: $(DONE)/docs build  ## the pages of docs/ and the API reference, into build/docs
	$(PY) -m sphinx -W -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:  ## remove what was built; .venv stays
	rm -rf build python/logsum/_core.*

$(DONE)/venv: tools/setup.sh
	@tools/setup.sh venv
	@mkdir -p $(DONE) && touch $@

$(DONE)/system $(DONE)/torch: $(DONE)/venv
	@tools/setup.sh $(@F)
	@touch $@

$(DONE)/%: pyproject.toml tools/requirements.py $(DONE)/venv
	@tools/setup.sh group $*
	@touch $@
