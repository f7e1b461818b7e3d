# Lungsentry: every target sets up what it needs. `make demo` runs the main job, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERIES ?=
OUT ?= demo-output
CACHE ?= .train/cache.npz
MINUTES ?= 12
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := "uv>=0.13,<1"
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-header --no-annotate

.PHONY: demo pictures test check bench gpu fuzz life fleet-demo image format lock sbom audit lowest newest peers clean

# torch is installed first and alone, so that its CPU build is taken where one is at hand.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "On Debian: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.*"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(READY)  ## start a node, let a simulated scanner send, show the flagged cases
	$(BIN)/lungsentry demo --out "$(OUT)" $(if $(SERIES),--series "$(SERIES)")

pictures: $(READY)  ## the README's first picture: the case page of a phantom, as the demo leaves it
	$(BIN)/lungsentry demo --out "$(OUT)" < /dev/null
	cp "$(OUT)/case.png" deploy/pictures/case.png

test: $(READY)  ## the tests; those whose peers (dcmtk, Orthanc, dicom3tools) are missing skip and say so
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

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

gpu: $(READY)  ## a card compared with the CPU, then ours and the baselines trained on it over all folds, within MINUTES
	$(BIN)/python -m analysis.training.gpu --cache "$(CACHE)" --out .train/gpu --minutes "$(MINUTES)"

fuzz: $(READY)  ## hostile PDUs, commands, data sets and numbers, many more than the tests send
	LUNGSENTRY_FUZZ=$${LUNGSENTRY_FUZZ:-2000} $(BIN)/python -m pytest tests/fuzz --timeout=0

life: $(READY)  ## the life of an alert on both databases, a thousand steps in any order
	LUNGSENTRY_ALERT_STEPS=$${LUNGSENTRY_ALERT_STEPS:-1000} $(BIN)/python -m pytest tests/integration/test_alert_machine.py --timeout=0

fleet-demo: $(READY)  ## several of each role on one PostgreSQL, killed at random while scanners send; ends in a table
	$(BIN)/python -m tests.fleet

image: $(READY)  ## the container's image without an engine: the Dockerfile's steps in a chroot, and the node in it (root, debootstrap)
	$(BIN)/python -m tests.image

lock: $(READY)  ## requirements.lock: the default install in the versions that are tested, with hashes
	$(PIP) $(UV)
	$(COMPILE) --generate-hashes --output-file requirements.lock

sbom: $(READY)  ## sbom.json: what the lock file installs, as CycloneDX
	$(PIP) "cyclonedx-bom>=7,<8"
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-format JSON --output-file sbom.json

audit: $(READY)  ## known vulnerabilities of what the lock file installs; asks a service on the network
	$(PIP) "pip-audit>=2.10,<3"
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

lowest newest: $(READY)  ## the unit tests on the lowest versions that pyproject.toml allows, or on the newest
	$(PIP) $(UV)
	mkdir -p build
	$(COMPILE) --extra dev $(if $(filter lowest,$@),--resolution lowest-direct,--upgrade) --output-file build/$@.txt
	$(BIN)/python -m venv --clear build/$@
	build/$@/bin/python -m pip install --quiet --disable-pip-version-check "torch==2.13.*"
	grep -v -E "^(torch|triton|nvidia|cuda)[-=a-z0-9]*==" build/$@.txt >build/$@-rest.txt
	build/$@/bin/python -m pip install --quiet --disable-pip-version-check --requirement build/$@-rest.txt
	build/$@/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	build/$@/bin/python -m pytest tests/unit

peers:  ## the peers the integration tests talk to, on Debian (needs root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends dcmtk orthanc orthanc-dicomweb dicom3tools pixelmed-apps default-jre-headless strace chromium prometheus

clean:
	rm -rf $(VENV) $(OUT) sbom.json build dist *.egg-info
