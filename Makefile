# Everything sets itself up; nothing but python3 (>= 3.11) with venv and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo install parsers test test-slow test-pythons lint format bench bench-compress docs accuracy clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m compileall -q src  # start-up is imports: compile even where Python is told to write no bytecode
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev
	@touch $@

demo: $(VENV)/.core ## install the core alone, answer three questions, and say what to do next
	@echo '$$ oomless infer deepseek-r1 --gpu h200:8'
	@$(BIN)/oomless infer deepseek-r1 --gpu h200:8
	@echo
	@echo '$$ oomless infer deepseek-r1 --gpu h100:16'
	@$(BIN)/oomless infer deepseek-r1 --gpu h100:16
	@echo
	@echo '$$ oomless infer deepseek-r1-distill-qwen-7b --gpu rtx-4090 --max-model-len 32768'
	@$(BIN)/oomless infer deepseek-r1-distill-qwen-7b --gpu rtx-4090 --max-model-len 32768
	@echo
	@echo 'oomless is in $(BIN). To call it by its name: export PATH="$$PWD/$(BIN):$$PATH"'
	@echo 'Ask your own: oomless infer MODEL --gpu G, oomless plan MODEL, oomless train MODEL --gpu G; oomless --help lists all.'

install: $(VENV)/.dev ## set up .venv with every extra that a CPU machine can use and the development tools
	@echo 'ready: $(BIN)/oomless'

PARSERS := .parsers
FRAMEWORKS := vllm llamacpp flower deepspeed torchtitan megatron-lm llama-factory axolotl

parsers: $(FRAMEWORKS:%=$(PARSERS)/%/.done) ## environments with the frameworks' own parsers, for slow tests of launch files (gigabytes)

$(PARSERS)/%/.done: pyproject.toml
	$(PYTHON) -m venv $(PARSERS)/$*
	$(PARSERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(PARSERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --group parser-torch
	DS_BUILD_OPS=0 $(PARSERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --group parser-$*
	if grep -q '^parser-$*-alone' pyproject.toml; then \
	  $(PARSERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --group parser-$*-alone; fi
	if grep -q '^parser-$*-newer' pyproject.toml; then \
	  $(PARSERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
	    --target $$($(PARSERS)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --group parser-$*-newer; fi
	$(PARSERS)/$*/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec  # builds for GPUs, which stop an import here
	@touch $@

test: $(VENV)/.dev ## all tests that this machine can run, but the slow ones
	$(BIN)/python -m pytest -m 'not slow' -n auto --dist worksteal

test-slow: $(VENV)/.dev ## the slow ones
	$(BIN)/python -m pytest -m slow

PYTHONS := .pythons
RELEASES ?= 3.11 3.12 3.13 3.14
CORE := $(addprefix tests/,facts model run recording engines frameworks estimate speed plan truth api cli property hostile)

test-pythons: ## the tests of the core on every Python from 3.11 on that is installed here
	@for release in $(RELEASES); do \
	  python=; for one in python$$release $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$release.*/bin/python; do \
	    "$$one" -c '' 2>/dev/null && { python=$$one; break; }; done; \
	  [ -n "$$python" ] || { echo "Python $$release: not installed here"; continue; }; \
	  echo "Python $$release: $$python"; \
	  [ -e $(PYTHONS)/$$release/.done ] || { \
	    "$$python" -m venv $(PYTHONS)/$$release && \
	    $(PYTHONS)/$$release/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
	    $(PYTHONS)/$$release/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group dev && \
	    touch $(PYTHONS)/$$release/.done; } || exit 1; \
	  $(PYTHONS)/$$release/bin/python -m pytest -p no:cacheprovider -m 'not slow and not torch' $(CORE) || exit 1; \
	done

lint: $(VENV)/.dev ## ruff and mypy --strict
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff format the code
	$(BIN)/ruff check --fix src tests bench
	$(BIN)/ruff format src tests bench

bench: $(VENV)/.dev ## the figures of docs/en/benchmarks.md, as ratios in one run
	$(BIN)/python -m bench
	$(BIN)/python -m bench.watched
	$(BIN)/python -m bench.monitor
	$(BIN)/python -m bench.server
	[ ! -d .pyodide ] || $(BIN)/python -m bench.site

$(PARSERS)/llama-quantize/.done:
	mkdir -p $(PARSERS)/llama-quantize
	cd $(PARSERS)/llama-quantize && npm pack --silent @node-llama-cpp/linux-x64@3 && tar xzf node-llama-cpp-linux-x64-*.tgz
	@touch $@

FOLDER ?= .bench
BYTES ?= 3400000000

bench-compress: $(VENV)/.dev $(PARSERS)/llmcompressor/.done $(PARSERS)/llama-quantize/.done $(PARSERS)/gemma/.done ## compress beside copies and other tools, quality on a model of 270M, losses over seeds (a quarter of an hour, 20 GB)
	$(BIN)/python -m bench.compress $(FOLDER)/random $(FOLDER)/out --make $(BYTES)
	$(BIN)/python -m bench.compressors $(FOLDER)/random $(FOLDER)/out
	$(BIN)/python -m bench.quality $(FOLDER)/gemma-3-270m $(FOLDER)/out
	$(BIN)/python -m bench.quality tests/compress/small_model $(FOLDER)/out int8 fp8-block int4 int4-g32 int4:diagonal int4:gptq 2000000 2300000 2600000 2888480
	$(BIN)/python -m bench.losses

SITE ?= site

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

docs: $(VENV)/.docs ## docs/en and docs/zh as a site with search, in $(SITE); a link that leads nowhere is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs $(SITE)

accuracy: $(VENV)/.core ## what was predicted beside what was measured; the facts that `oomless accuracy` and the page show
	@$(BIN)/oomless validate tests/tables/inference.csv --confidence A
	@$(BIN)/oomless validate tests/tables/verdicts.csv
	@$(BIN)/python -m bench.accuracy

clean: ## remove what make made
	rm -rf $(VENV) $(PARSERS) $(FOLDER)
