# Everything a developer runs. Every target first makes .venv what requirements/dev.lock says, which takes no time
# when it is that already.

PYTHON := .venv/bin/python
PACKAGES := analytics config desk inventory notifications orders outbox payments sagas shipping simulator
# A release of the last days cannot slip in unseen: `make lock` resolves what was public a week ago.
LOCK_DATE ?= $(shell python3 -c 'import datetime as d; print(d.date.today() - d.timedelta(days=7))')
LOCK := .venv/bin/uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-annotate \
	--no-emit-index-url --no-header --python-version 3.11 --exclude-newer $(LOCK_DATE)
# mypy's Django plugin loads the settings, which ask for servers; it does not use them.
UNUSED_SERVERS := DATABASE_URL=postgresql://unused/unused REDIS_URL=redis://unused
PORT ?= 8000
CUSTOMERS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo up test test-faults chaos check bench bench-desk screenshots test-browser lock
export TOPOLOGY FLOW TRANSPORT
# A shop is a dozen Python processes. Where compiled files are not kept, each compiles all libraries again: three seconds.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/var/pycache

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.synced ## run the product end to end and check every order (ORDERS=n adds n generated ones)
	@exec $(PYTHON) -m config.local.demo --with-parent $(if $(ORDERS),--orders $(ORDERS))

up: .venv/.synced ## run the product until Ctrl-C (PORT=8000, CUSTOMERS=1)
	@exec $(PYTHON) -m config.local.up --with-parent --port $(PORT) --customers $(CUSTOMERS)

test: .venv/.synced ## run all tests that need nothing but the embedded servers
	@$(PYTHON) -m pytest

test-faults: .venv/.synced ## kill, cut, flood: every fault of the matrix, the crash sweep, the seeded bugs
	@$(PYTHON) -m pytest tests/faults -m "not alone" -n 4
	@$(PYTHON) -m pytest tests/faults -m alone -n 0

test-browser: .venv/.synced ## the operators' desk in Chromium, which it installs when it can
	@$(PYTHON) -m tests.browser.chromium
	@$(PYTHON) -m pytest tests/browser -n 0

screenshots: .venv/.synced ## take the pictures of the desk anew, into docs/images/desk
	@$(PYTHON) -m tests.browser.chromium
	@SCREENSHOTS=docs/images/desk $(PYTHON) -m pytest tests/browser/test_the_story.py -n 0

check: .venv/.synced ## lint, format, types, import contracts, migrations, security
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(UNUSED_SERVERS) $(PYTHON) -m mypy .
	.venv/bin/lint-imports
	$(PYTHON) manage.py makemigrations --check --dry-run
	$(PYTHON) -m bandit --quiet --configfile pyproject.toml --recursive $(PACKAGES)
	$(PYTHON) requirements/audit.py

bench: .venv/.synced ## measure orders per second and latency; writes var/bench.json (ORDERS=5000, RATE=20)
	@exec $(PYTHON) -m bench $(if $(ORDERS),--orders $(ORDERS)) $(if $(RATE),--rate $(RATE))

bench-desk: .venv/.synced ## measure the desk's pages on full tables; writes var/bench-desk.json (CASES=100000, MESSAGES=10000000)
	@exec $(PYTHON) -m bench.desk $(if $(CASES),--cases $(CASES)) $(if $(MESSAGES),--messages $(MESSAGES))

chaos: .venv/.synced ## orders while everything is killed and cut off, then a verdict; writes var/chaos.json (SECONDS=60, SEED=1)
	@exec $(PYTHON) -m bench.chaos --with-parent $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

lock: .venv/.synced ## resolve requirements/*.lock anew (LOCK_DATE=YYYY-MM-DD)
	$(LOCK) --extra local --group dev --output-file requirements/dev.lock
	$(LOCK) --constraint requirements/dev.lock --output-file requirements/base.lock
	echo uv | $(subst pyproject.toml,-,$(LOCK)) --output-file requirements/bootstrap.lock

.venv/.synced: requirements/bootstrap.lock requirements/dev.lock
	@python3 requirements/bootstrap.py
