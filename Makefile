# nvsandbox: everything a developer runs. Each target sets up what it needs and caches it.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11) python3)
VENV := .venv
PY := $(VENV)/bin/python
CACHE ?= $(or $(NVSANDBOX_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nvsandbox)
C_SOURCES := $(filter-out %/_native.c,$(wildcard nvsandbox/platform/native/*.[ch]))
STUB := nvsandbox/platform/native/stub.bin

.PHONY: help run test venv native compiled rootfs nvidia-libs bench lint format fuzz clean

help:
	@echo "make run     a real Debian root file system in the sandbox, step by step"
	@echo "make test    all tests"
	@echo "make venv    .venv/bin/nvsandbox, ready to use"
	@echo "make compiled  the kernel compiled by mypyc (make venv does it)"
	@echo "make rootfs  the Debian root file system; prints its path"
	@echo "make nvidia-libs   NVIDIA's user-space for the tests of nvsim; prints its path"
	@echo "make bench   timings side by side, in build/bench.json and bench.svg"
	@echo "make lint    ruff, mypy --strict, clang-format"
	@echo "make fuzz    the fuzzers, a short round each"

run: venv
	@root=$$(tools/mkrootfs.sh $(CACHE) | tail -1) && $(PY) tools/demo.py "$$root"

test: venv
	@root=$$(tools/mkrootfs.sh $(CACHE) | tail -1) && NVSANDBOX_ROOTFS="$$root" $(PY) -m pytest tests $(PYTEST_ARGS)

venv: $(VENV)/.ready native compiled

$(VENV)/.ready: pyproject.toml setup.py tools/apt.sh
	@tools/apt.sh
	@echo "setting up $(VENV) …"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check -U pip "setuptools>=77" wheel "cffi>=1.16,<3"
	@$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --config-settings editable_mode=compat -e '.[dev]' 2>&1 | { grep -v '^WARNING: Location' || true; }
	@touch $@

native: $(STUB)

$(STUB): $(VENV)/.ready $(C_SOURCES) nvsandbox/platform/native/build.py nvsandbox/platform/native/stub.ld
	@echo "building the native module and the stub image …"
	@$(PY) -m nvsandbox.platform.native.build
	@touch $@

# Does nothing when the compiled kernel is as new as its sources
compiled: $(VENV)/.ready native
	@$(PY) tools/compile_kernel.py

rootfs:
	@tools/mkrootfs.sh $(CACHE)

nvidia-libs:
	@$(PYTHON) tools/nvidia_libs.py

bench: venv
	@root=$$(tools/mkrootfs.sh $(CACHE) | tail -1) && programs=$$(tools/mkprograms.sh $(CACHE) | tail -1) && mkdir -p build && \
	$(PY) -m bench --rootfs "$$root" --programs "$$programs" --json build/bench.json --svg build/bench.svg $(BENCH_ARGS)

lint: venv
	@$(VENV)/bin/ruff check nvsandbox tests tools bench
	@$(VENV)/bin/ruff format --check nvsandbox tests tools bench
	@$(VENV)/bin/mypy --strict nvsandbox
	@clang-format --dry-run -Werror $(C_SOURCES)

format: venv
	@$(VENV)/bin/ruff check --fix -q nvsandbox tests tools bench
	@$(VENV)/bin/ruff format -q nvsandbox tests tools bench
	@clang-format -i $(C_SOURCES)

fuzz: venv
	@$(PY) -m pytest tests/fuzz $(PYTEST_ARGS)

clean:
	rm -rf build $(VENV) nvsandbox/_compiled nvsandbox/platform/native/*.so nvsandbox/platform/native/*.bin nvsandbox/platform/native/*.o nvsandbox/platform/native/_native.c
