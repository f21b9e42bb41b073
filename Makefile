# `make setup` makes .venv from requirements.txt, pinned by requirements.lock. `make setup LOCK=` takes the newest
# compatible versions instead.
PYTHON ?= python3
LOCK ?= requirements.lock
BIN := .venv/bin

.PHONY: setup train test test-full test-interop setup-onnx test-onnx wheel-check docs-check soak bad-input lint types lock clean

setup: .venv/installed

.venv/installed: requirements.txt $(LOCK)
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), f'Python 3.11 or newer is needed, this is {sys.version}'"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt $(if $(LOCK),-c $(LOCK))
	touch $@

train: setup
	$(BIN)/python -m fcn_jax train --config=configs/mnist.py --workdir=runs/mnist

# There are as many processes as cores. All tests of a file run in the same process.
PYTEST := -m pytest --numprocesses=auto --dist=loadfile

test: setup
	$(BIN)/python $(PYTEST)

# Here programs are compiled as they are for users; in `make test` they are hardly optimised, which is faster.
test-full: setup
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= $(BIN)/python $(PYTEST) -m ''

# Every command of README.md and docs/*.md in a small form, and the notebook; a few minutes.
# `jupyter execute --inplace docs/quickstart.ipynb` renews the outputs that the notebook shows.
docs-check: setup
	$(BIN)/python -m docs.check

# Against timm and torchvision, which have an environment of their own.
test-interop: .venv-interop/installed
	.venv-interop/bin/python -m pytest tests/interop

.venv-interop/installed: tests/interop/requirements.txt requirements.txt $(LOCK)
	$(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r $< $(if $(LOCK),-c $(LOCK))
	touch $@

# Builds the package and uses it from a fresh virtual environment; a few minutes.
wheel-check:
	PYTHON=$(PYTHON) LOCK=$(LOCK) tests/wheel/check.sh

# Runs that are killed, terminated, torn apart, damaged and starved of disk; twenty minutes. SOAK=--kills=3 for fewer.
soak: setup
	$(BIN)/python benchmarks/soak.py $(SOAK) > soak.md.new
	mv soak.md.new benchmarks/soak.md

# Tries ten thousand wrong inputs. Takes ten minutes; BAD_INPUT=--share=0.1 tries fewer.
bad-input: setup
	$(BIN)/python benchmarks/bad_input.py $(BAD_INPUT) > bad_input.md.new
	mv bad_input.md.new benchmarks/bad_input.md

# An environment with jax2onnx, which needs an older Orbax than the lock has.
setup-onnx: .venv-onnx/installed

test-onnx: setup-onnx
	.venv-onnx/bin/python -m pytest tests/inference/test_onnx.py

.venv-onnx/installed: requirements-onnx.txt requirements.txt $(LOCK)
	$(PYTHON) -m venv .venv-onnx
	grep -v '^orbax-checkpoint==' $(or $(LOCK),/dev/null) > .venv-onnx/constraints.txt || true
	.venv-onnx/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r $< -c .venv-onnx/constraints.txt
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

lock: setup
	$(BIN)/python -m pip freeze --disable-pip-version-check --exclude fcn_jax > requirements.lock

clean:
	rm -rf .venv .venv-interop .venv-onnx runs
