# `make run` and `make test` are enough to start; both build the environment they need.
# Another interpreter: make run PY=/path/to/python3.12      Fewer tests: make test ARGS="-k policy" JOBS=0

PY ?= python3
JOBS ?= 2
ARGS ?=
VENV := .venv
PYTHON := $(VENV)/bin/python
TYPED := config console orchestra approvals sessions_app escalation tests/chaos
COMPILE := $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links

.PHONY: help run test chaos gate check lock fmt bench screenshots secrets
.DEFAULT_GOAL := help

help: ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1	/' | expand -t 14

run: ## start everything in the foreground; Ctrl-C stops it
	@$(PY) tools/environment.py runtime
	@exec $(PYTHON) manage.py up

test: ## run all tests, with a real PostgreSQL and a real Valkey
	@$(PY) tools/environment.py dev
	@exec $(PYTHON) -m pytest -q -n $(JOBS) $(ARGS)

chaos: ## kill and freeze processes for ten minutes, then check the database; ARGS="--seed 1 --seconds 60 --sqlite"
	@$(PY) tools/environment.py dev
	@$(PYTHON) -m tests.chaos $(ARGS) && $(PYTHON) -m tests.chaos.races && CHAOS_PARKS=20 $(PYTHON) -m pytest -q -s tests/chaos/test_real_cli_park.py

gate: ## run the conformance suite on three real CLIs; ARGS="--versions pinned"
	@$(PY) tools/environment.py dev
	@exec $(PYTHON) -m tests.gate $(ARGS)

bench: ## measure decisions and compare them with a program without a framework; see docs/performance.md
	@$(PY) tools/environment.py dev
	@exec $(PYTHON) -m bench.decision_latency $(ARGS)

screenshots: ## take the pictures of the docs from a running installation; ARGS=home takes those that begin with "home"
	@$(PY) tools/environment.py dev
	@exec $(PYTHON) -m tests.screenshots $(ARGS)

check: ## lint, format, types, migrations, templates
	@$(PY) tools/environment.py dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && set -ex \
		&& export ORCHESTRA_DATA_DIR="$$scratch" DATABASE_URL= REDIS_URL= \
		&& $(PYTHON) -m mypy $(TYPED) \
		&& $(PYTHON) manage.py makemigrations --check --dry-run \
		&& $(PYTHON) manage.py check
	$(PYTHON) -m djlint --lint --quiet templates

lock: ## compile requirements*.in into hashed requirements*.txt
	@$(PY) tools/environment.py dev
	$(COMPILE) -o requirements-uv.txt requirements-uv.in
	$(COMPILE) -o requirements.txt requirements.in
	$(COMPILE) -o requirements-s3.txt requirements-s3.in
	$(COMPILE) -o requirements-otel.txt requirements-otel.in
	$(COMPILE) -o requirements-dev.txt requirements-dev.in

fmt: ## format the code and fix what can be fixed
	@$(PY) tools/environment.py dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

secrets: ## create the secret files that docker-compose.yml names; existing ones are kept
	@$(PY) tools/make_secrets.py
