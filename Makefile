# What one does with Roost. `make` alone lists it.

PYTHON ?= python3
KEY ?= has_url
VENV := .venv/bin
LOCK := $(VENV)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet
CLIENT := services/gateway/web/vendor/socket.io.esm.min.js

# The Node.js that `make setup` may have put there.
export PATH := $(PATH):$(CURDIR)/$(VENV)

.PHONY: help setup up down logs status tail forget dead-letters explain test test-all chaos soak lint format lock python
.DEFAULT_GOAL := help

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.complete $(CLIENT) ## the locked dependencies, into .venv and node_modules

up: setup ## bring Roost up: with Docker where there is one, as local processes elsewhere
	@$(VENV)/python -m deploy up

down: ## end what `make up` began, however far it came
	@$(or $(wildcard $(VENV)/python),$(PYTHON)) -m deploy down

status: setup ## tell what runs, and what became of all that was ingested
	@$(VENV)/python -m deploy status

logs: setup ## follow the logs
	@$(VENV)/python -m deploy logs

tail: setup ## print the tweets of KEY (has_url, term.nfl, 'lang.*', '#', or several)
	@url=$$($(VENV)/python -m deploy amqp-url) && set -f && \
	for key in $$KEY; do case $$key in *.*|*'#'*|*'*'*|all|has_url|has_media) ;; \
	*) echo "roost: nothing has the key '$$key'; for tweets that contain it: make tail KEY=term.$$key" >&2 ;; esac; done && \
	ROOST_AMQP_URL=$${ROOST_AMQP_URL:-$$url} $(VENV)/python examples/tail.py $$KEY

forget: setup ## take the tweet with ID off every page (x:1377…, or the post's address; several with spaces)
	@test -n "$$ID" || { echo "roost: which tweet? make forget ID=x:1377650090978992134" >&2; exit 2; }
	@url=$$($(VENV)/python -m deploy amqp-url ingest) && set -f && \
	ROOST_INGEST_AMQP_URL=$${ROOST_INGEST_AMQP_URL:-$$url} $(VENV)/python -m services.ingest.forget $$ID

dead-letters: setup ## list what could not be read (N=50: so many); REQUEUE=1 sends it back, all or N
	@url=$$($(VENV)/python -m deploy amqp-url operator) && set -f && \
	ROOST_OPERATOR_AMQP_URL=$$url $(VENV)/python -m deploy.dead_letters $(if $(filter-out 0 no,$(REQUEUE)),--requeue) -- $$N

explain: setup ## tell who would get a tweet with the text TEXT, and why
	@test -n "$$TEXT" || { echo 'roost: which text? make explain TEXT="the text of a tweet"' >&2; exit 2; }
	@amqp=$$($(VENV)/python -m deploy amqp-url router) && management=$$($(VENV)/python -m deploy management-url) && \
	ROOST_ROUTER_AMQP_URL=$$amqp ROOST_ROUTER_MANAGEMENT_URL=$$management $(VENV)/python -m services.router explain -- "$$TEXT"

test: setup ## the tests, but for the slow ones; PYTEST_ARGS is passed on
	@$(VENV)/python -m deploy.local.packages --if-possible broker browser driver
	$(VENV)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: setup ## all tests, as CI runs them
	@$(VENV)/python -m deploy.local.packages --if-possible broker browser driver
	$(VENV)/python -m pytest $(PYTEST_ARGS)

chaos: setup ## kill everything in turn under load, for two minutes: nobody may lose anything
	@$(VENV)/python -m deploy.local.packages --if-possible broker
	$(VENV)/python -m tests.chaos --seconds 120

soak: setup ## the same for ten minutes, and ten minutes at 6,000 tweets a second: all in time
	@$(VENV)/python -m deploy.local.packages --if-possible broker
	$(VENV)/python -m tests.chaos --seconds 600
	$(VENV)/python -m tests.latency --seconds 600

lint: setup ## ruff and mypy
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

format: setup ## let ruff format and fix what it can
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

lock: setup ## resolve the dependencies anew, from pyproject.toml and package.json
	$(VENV)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --upgrade pyproject.toml -o requirements.lock
	$(LOCK) --upgrade pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --upgrade --group node -o requirements-node.lock
	$(LOCK) --upgrade -c requirements-dev.lock benchmarks/plot.in -o benchmarks/plot.lock
	npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund
	npm install --prefix benchmarks --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund

# KEY goes through the environment, because `#` and `*` mean something to the shell.
tail: export KEY := $(KEY)
forget: export ID := $(ID)
dead-letters: export N := $(N)
explain: export TEXT := $(value TEXT)

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "roost: Python 3.11 or newer is needed; name it, for example: make PYTHON=python3.12 setup" >&2; exit 1; }

.venv/.complete: requirements-dev.lock | python
	@$(PYTHON) -m deploy.prepare environment
	@touch $@

$(CLIENT): package-lock.json | .venv/.complete
	@$(VENV)/python -m deploy.prepare page
	@touch $@
