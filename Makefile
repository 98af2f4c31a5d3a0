# make demo [MODEL=path] [IMAGE=path]   finds the skeletons in a picture and says where the drawing is
# make test                             everything CI checks: format, lint, types, tests
# make fuzz                             all of the bad and odd input of which make test draws a sample
# make fuzz-server                      a running server against its OpenAPI document; installs schemathesis
# make test-lowest                      the tests with the lowest versions that pyproject.toml allows
# make test-matrix [VERSIONS="3.13"]    the tests with Python 3.11, 3.12 and 3.13; uv fetches those that are absent
# make mutants [MODULES="track.py ..."] small breaks of the code, one by one: does a test notice?
# make test-batch                       batch work on a Ray cluster on this machine; installs Ray
# make docs                             the site in site/: figures and notebooks are run, links and docstrings checked
# make dist                             wheel and sdist in dist/, checked, the wheel run in an environment of its own
# make release                          the same, once pyproject.toml says where the repository is public
# make test-browser                     the pages in Chromium; installs it and npm (Debian, as root or by sudo)
# make test-exports                     exports for phones; installs the converters (about 1 GB)
# make test-cpp                         the example in C++ against Python; installs OpenCV (Debian, as above)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
# Pinned, since the newest build may bring gigabytes of GPU libraries.
TORCH ?= torch==2.13.0
SAMPLE := src/limbwise/models/sample.jpg
IMAGE ?= $(SAMPLE)
MODEL ?=
SIZE ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo docs test fuzz fuzz-server test-batch test-lowest test-matrix mutants test-browser test-cpp test-exports dist release format clean

# A checkpoint needs PyTorch, a model file does not.
demo: $(if $(filter %.pth,$(MODEL)),$(VENV)/dev,$(VENV)/base)
	@mkdir -p out
	@$(BIN)/limbwise run $(IMAGE) $(if $(MODEL),--model $(MODEL)) $(if $(SIZE),--size $(SIZE)) --save out/demo.png --json out/demo.jsonl
	@echo "The drawn picture is out/demo.png, the keypoints are in out/demo.jsonl"

test: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

fuzz: $(VENV)/dev
	LIMBWISE_FUZZ=all $(BIN)/pytest -n 2 tests/fuzz

# Old versions warn of what newer ones beside them have deprecated; elsewhere a warning is an error.
test-lowest: $(LOWEST)/dev
	$(LOWEST)/bin/pytest -n 2 -W default

$(LOWEST)/dev: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet "$(TORCH)" uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct \
		-e ".[dev]" "$(TORCH)"
	@touch $@

mutants: $(VENV)/dev
	nice $(BIN)/python scripts/mutants.py $(MODULES)

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# onnxruntime-web as src/limbwise/cli/browser_runtime.py has it.
NPM_PACKAGES := onnxruntime-web@1.30.0 axe-core@4.14.1

test-browser: $(VENV)/dev
	@command -v chromedriver >/dev/null || { $(SUDO) apt-get update -q && \
		$(SUDO) apt-get install -qy --no-install-recommends chromium chromium-driver; }
	@command -v npm >/dev/null || { $(SUDO) apt-get update -q && \
		$(SUDO) apt-get install -qy --no-install-recommends npm; }
	@mkdir -p $(VENV)/npm && cd $(VENV)/npm && for package in $(NPM_PACKAGES); do \
		test -f "$$(echo $$package | tr @ -).tgz" || npm pack --silent $$package || exit 1; done
	$(BIN)/pytest tests/test_browser.py tests/test_static_page.py -rs

test-cpp: $(VENV)/dev
	@test -d /usr/include/opencv4 -a -d /usr/include/nlohmann || { $(SUDO) apt-get update -q && \
		$(SUDO) apt-get install -qy --no-install-recommends \
		cmake g++ libopencv-dev nlohmann-json3-dev; }
	cmake -S examples/cpp -B $(VENV)/cpp \
		-DOpenVINO_DIR="$$($(BIN)/python -c 'import openvino; print(openvino.__path__[0])')/cmake"
	cmake --build $(VENV)/cpp
	LIMBWISE_CPP=$(VENV)/cpp/limbwise_film $(BIN)/pytest tests/test_cpp.py -rs

test-batch: $(VENV)/dev
	@$(BIN)/pip install --quiet -e ".[test-batch]"
	$(BIN)/pytest tests/test_shards.py tests/test_batch.py -rs

# In an environment of their own, since converters pin what others want newer.
test-exports: $(VENV)/exports/done
	$(VENV)/exports/bin/python -m pytest -p no:anyio tests/test_mobile.py -rs

$(VENV)/exports/done: pyproject.toml
	$(PYTHON) -m venv $(VENV)/exports
	$(VENV)/exports/bin/pip install --quiet "$(TORCH)"
	$(VENV)/exports/bin/pip install --quiet -e ".[mobile]" pytest pytest-timeout hypothesis
	@touch $@

VERSIONS ?= 3.11 3.12 3.13

test-matrix: $(VENV)/dev
	@$(BIN)/pip install --quiet uv
	for version in $(VERSIONS); do \
		$(BIN)/uv venv --quiet --clear --python $$version $(VENV)/python-$$version && \
		$(BIN)/uv pip install --quiet --python $(VENV)/python-$$version/bin/python "$(TORCH)" -e ".[dev]" && \
		$(VENV)/python-$$version/bin/python -m pytest -n 2 --dist worksteal || exit 1; done

release:
	@$(PYTHON) scripts/package_page.py
	@$(MAKE) dist

dist: $(VENV)/base
	@$(BIN)/pip install --quiet build twine
	rm -rf dist && $(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv --clear $(VENV)/wheel
	$(VENV)/wheel/bin/pip install --quiet dist/*.whl
	cd $(VENV)/wheel && bin/limbwise run ../../$(SAMPLE) --json - | head -c 200

fuzz-server: $(VENV)/dev
	@$(BIN)/pip install --quiet -e ".[fuzz]"
	$(BIN)/python scripts/fuzz_server.py

# The checker reads the pages as files; without its option it opens no address of another host.
docs: $(VENV)/docs
	$(BIN)/python docs/figures.py docs/figures
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/linkchecker --no-status --ignore-url='^(https?|mailto|data):' --no-warnings site/index.html

$(VENV)/docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet -e ".[docs]"
	@touch $@ $(VENV)/base

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/base

clean:
	rm -rf $(VENV) $(LOWEST) out site docs/figures
