# Leadtime: `make run` shows the rig at work; `make test`, and `make test-models`, run everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODELS := .venv-models
LEROBOT := .venv-lerobot

.PHONY: run test test-models test-lerobot lint doctor clean

run: $(VENV)/.ready
	$(BIN)/leadtime run --rig sim-x5 --policy demo --latency gigaworld --duration-s 60

test: lint
	$(BIN)/pytest

# The tests that need torch, ONNX, TensorRT-RTX's builder, LeRobot and openpi's client: here none of them may skip.
test-models: $(MODELS)/.ready
	$(MODELS)/bin/pytest --installed --timeout 300 @tests/models.txt

# What is served of a recent LeRobot and played beside it; it wants Python 3.12: make test-lerobot PYTHON=python3.12
test-lerobot: $(LEROBOT)/.ready
	$(LEROBOT)/bin/pytest --timeout 300 tests/process/test_lerobot_host.py tests/unit/test_peers.py

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

doctor: $(VENV)/.ready
	$(BIN)/leadtime doctor

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "leadtime needs Python 3.11 or newer; point PYTHON at one: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 has no venv here; install it: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# LeRobot and openpi's client ask for more, and for older, than what is used of them needs.
$(MODELS)/.ready: pyproject.toml constraints-models.txt | $(VENV)/.ready
	@$(PYTHON) -m venv $(MODELS)
	$(MODELS)/bin/pip install --quiet --disable-pip-version-check -c constraints-models.txt \
	  -e '.[dev,torch,peers]' tensorrt-rtx transformers num2words
	$(MODELS)/bin/pip install --quiet --disable-pip-version-check -c constraints-models.txt --no-deps lerobot openpi-client
	@touch $@

$(LEROBOT)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' \
	  || { echo "LeRobot 0.6 needs Python 3.12; point PYTHON at one: make test-lerobot PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(LEROBOT)
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check -e . pytest pytest-timeout hypothesis \
	  'lerobot[async,pi,smolvla,fastwam,vla-jepa,lingbot-va,diffusion]==0.6.1'
	@touch $@

clean:
	rm -rf $(VENV) $(MODELS) $(LEROBOT) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
