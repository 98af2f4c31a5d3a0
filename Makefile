# make demo [MODEL=path] [IMAGE=path]   finds the skeletons in a picture and says where the drawing is
# make test                             everything CI checks: format, lint, types, tests
# make fuzz                             all of the bad and odd input of which make test draws a sample
# make fuzz-server                      a running server against its OpenAPI document; installs schemathesis
# make docs                             the site in site/: figures and notebooks are run, links and docstrings checked
# make test-browser                     the page in Chromium; installs it (Debian, as root or by sudo)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pinned, since the newest build may bring gigabytes of GPU libraries.
TORCH ?= torch==2.13.0
SAMPLE := src/limbwise/models/sample.jpg
IMAGE ?= $(SAMPLE)
MODEL ?=
SIZE ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo docs test fuzz fuzz-server test-browser format clean

# A checkpoint needs PyTorch, a model file does not.
demo: $(if $(filter %.pth,$(MODEL)),$(VENV)/dev,$(VENV)/base)
	@mkdir -p out
	@$(BIN)/limbwise run $(IMAGE) $(if $(MODEL),--model $(MODEL)) $(if $(SIZE),--size $(SIZE)) --save out/demo.png --json out/demo.jsonl
	@echo "The drawn picture is out/demo.png, the keypoints are in out/demo.jsonl"

test: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

fuzz: $(VENV)/dev
	LIMBWISE_FUZZ=all $(BIN)/pytest -n 2 tests/fuzz

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

test-browser: $(VENV)/dev
	@command -v chromedriver >/dev/null || { $(SUDO) apt-get update -q && \
		$(SUDO) apt-get install -qy --no-install-recommends chromium chromium-driver; }
	$(BIN)/pytest tests/test_browser.py -rs

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
	rm -rf $(VENV) out site docs/figures
