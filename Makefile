# Two commands matter: `make demo` and `make test`. Each sets up all it needs in .venv; `make help` names the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format lint types imports house walks pages test-pg14 test-pg15 test-pg16 test-pg17 \
  test-schema test-pgbouncer test-prometheus test-browser fuzz-api test-image provider-sim bench bench-gate bench-events mutants lock clean \
  ready-run ready-dev

# The first one that is new enough. For another: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

# As many processes as there are processors, but each has a PostgreSQL of its own.
# Whoever starts make in the background has it ignore Ctrl-C, and everything below it: some tests send that very signal.
LISTEN := $(shell env --default-signal=INT true 2>/dev/null && echo env --default-signal=INT)
PYTEST := $(LISTEN) $(BIN)/python -m pytest
PARALLEL := -n logical --maxprocesses 4

help: ## Say what there is
	@echo 'make demo   to see it work, make test   to test it; neither needs a database, a key or anything installed.'
	@echo
	@sed -n 's/^\([a-z0-9 -]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | sed 's/^test-pg14 .*test-pg17/test-pg14..17/' | \
	  awk -F '\t' '{ printf "  %-16s %s\n", $$1, $$2 }'

demo: ready-run ## Watch a worker make pictures, meet faults and keep the books
	@$(BIN)/generation-worker demo $(ARGS)

test: ready-dev ## Run every test (ARGS="-k settle" for some)
	$(PYTEST) $(PARALLEL) $(ARGS)

test-fast: ready-dev ## Run the tests that need no database: seconds
	$(PYTEST) tests/domain tests/worker $(ARGS)

# The parts run side by side; the output of each comes in one piece where make can do that.
check: ready-dev ## Format, lint, types, layers, structure, generated pages, names, locks: seconds
	@$(MAKE) --no-print-directory -kj2 $(if $(filter output-sync,$(.FEATURES)),-Otarget) types format lint imports house pages
	@echo 'All checks passed.'

format:
	@$(BIN)/ruff format --check .
lint:
	@$(BIN)/ruff check .
types:
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
imports:
	@$(BIN)/lint-imports --no-logo
house:
	@$(BIN)/python scripts/house.py --check
pages:
	@$(PYTEST) -q tests/checks tests/docs/test_pages.py tests/db/test_schema_page.py

test-pg14 test-pg15 test-pg16 test-pg17: ready-dev ## Run the tests that use a database on an older PostgreSQL
	$(LISTEN) $(BIN)/python -m tests.postgres_versions $(@:test-pg%=%) $(ARGS)

test-schema: ready-dev ## Run the tests of the database with a schema that needs quotes
	TEST_DATABASE_SCHEMA=My-Queue $(PYTEST) $(PARALLEL) tests/db tests/sql $(ARGS)

test-pgbouncer: ready-dev ## Run the tests that use a database through PgBouncer
	$(LISTEN) $(BIN)/python -m tests.pgbouncer $(ARGS)

test-image: ready-dev ## Carry out the Dockerfile without Docker, and run what it makes
	$(BIN)/python scripts/image.py

test-prometheus: ready-dev ## Have a real Prometheus scrape a worker, and try out the alerts
	$(LISTEN) $(BIN)/python -m tests.prometheus $(ARGS)

test-browser: ready-dev ## Look at the dashboard with a real Chromium
	$(LISTEN) $(BIN)/python -m tests.browser $(ARGS)

fuzz-api: ready-dev ## Send every operation of the HTTP API hundreds of requests, as two tenants and an operator
	API_EXAMPLES=$${API_EXAMPLES:-200} $(PYTEST) $(PARALLEL) tests/web/test_whole_document.py $(ARGS)

provider-sim: ready-dev ## Start servers that answer as the providers do, and print the environment to use
	@$(BIN)/python -m tests.simulators $(ARGS)

bench: ready-dev ## Measure: jobs per second, pick-up, claim time
	$(BIN)/python -m benchmarks $(ARGS)

bench-gate: ready-dev ## Measure a provider's limit: four workers, three minutes
	$(BIN)/python -m benchmarks.gate $(ARGS)

bench-events: ready-dev ## Measure streams of events: how late, and what they ask of the database
	$(BIN)/python -m benchmarks.events $(ARGS)

walks: ready-dev ## Count the files that a job, a request, a page and a setting enter (ARGS=--names)
	$(BIN)/python scripts/walks.py $(ARGS)

mutants: ready-dev ## Take each guard out and see a test fail
	$(LISTEN) $(BIN)/python scripts/mutants.py $(ARGS)

lock: ready-dev ## Bring locks/ up to date with pyproject.toml (ARGS=--upgrade for newer versions)
	$(BIN)/python scripts/lock.py $(ARGS)

clean: ## Remove what these commands have made, .venv and the demo's data too
	rm -rf $(VENV) .demo .cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

ready-run ready-dev:
	@python='$(PYTHON)'; if [ -z "$$python" ]; then \
	  echo 'Python 3.11 or newer is needed and was not found. Name one: make PYTHON=/path/to/python3'; exit 1; fi; \
	"$$python" -c 'import sys; sys.version_info >= (3, 11) or \
	  sys.exit("Python 3.11 or newer is needed; " + sys.executable + " is " + sys.version.split()[0])' && \
	"$$python" scripts/prepare.py $(@:ready-%=%) $(VENV)
