# Lungsentry: every target sets up what it needs. `make demo` runs the main job, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERIES ?=
OUT ?= demo-output

.PHONY: demo test check bench fuzz format peers clean

# torch is installed first and alone, so that its CPU build is taken where one is at hand.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "On Debian: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.*"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(READY)  ## start a node, let a simulated scanner send, show the flagged cases
	$(BIN)/lungsentry demo --out "$(OUT)" $(if $(SERIES),--series "$(SERIES)")

test: $(READY)  ## the tests; those whose peers (dcmtk, Orthanc, dicom3tools) are missing skip and say so
	$(BIN)/python -m pytest

check: $(READY)  ## format, lint, types, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## figures, printed with the machine's name
	$(BIN)/python -m tests.benchmarks

fuzz: $(READY)  ## hostile PDUs, commands and data sets, many more than the tests send
	LUNGSENTRY_FUZZ=$${LUNGSENTRY_FUZZ:-2000} $(BIN)/python -m pytest tests/fuzz --timeout=0

peers:  ## the peers the integration tests talk to, on Debian (needs root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends dcmtk orthanc dicom3tools pixelmed-apps default-jre-headless strace

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
