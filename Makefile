# Every target sets up what it needs on a bare Debian 12 machine. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PROTOS := $(wildcard protos/pvesmb/v1/*.proto)
STUBS := clients/python/src/pvesmb/v1

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.make/apt: packaging/apt.txt
	mkdir -p .make && packaging/apt-install $< && touch $@

.make/apt-bench: packaging/apt-bench.txt .make/apt
	packaging/apt-install $< && touch $@

.make/venv: pyproject.toml clients/python/pyproject.toml packaging/requirements.lock .make/apt
	test -x $(PY) || /usr/bin/python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r packaging/requirements.lock
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e . && touch $@

proto: .make/proto ## Generate Python code from the protos
.make/proto: .make/venv $(PROTOS) packaging/generate
	packaging/generate $(STUBS) && touch $@

install: .make/proto ## Packages, virtual environment, generated code

lint: install ## ruff, buf lint, breaking changes, architecture
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/buf lint && .venv/bin/buf breaking --against protos/lock.binpb
	.venv/bin/lint-imports

typecheck: install ## mypy --strict
	.venv/bin/mypy

check: lint typecheck ## lint and typecheck

test: install ## Every test
	$(PY) -m pytest $(ARGS)

faults: install ## Faults, load and fuzzing at full length; figures to docs/reliability.md
	$(PY) -m pytest tests/e2e/faults tests/e2e/load tests/e2e/fuzz --full --write docs/reliability.md $(ARGS)

conformance: install ## smbtorture against our shares; figures to docs/reliability.md
	$(PY) -m pytest tests/e2e/conformance --full --write docs/reliability.md $(ARGS)

bench: install .make/apt-bench ## Measure, and write docs/benchmarks.md
	$(PY) -m tests.bench --write docs/benchmarks.md

quickstart: install ## Run the sessions of docs/quickstart.md and docs/quickstart-lxc.md, and write them anew
	$(PY) -m packaging.quickstart --write docs/quickstart.md
	$(PY) -m packaging.quickstart --mode lxc --write docs/quickstart-lxc.md

run: install ## The whole product on this machine: DETACH=1 MODE=native|lxc NETNS=name STATE=var
	@$(PY) -m packaging.stack run $(if $(DETACH),--detach) --mode $(or $(MODE),native) $(if $(NETNS),--netns $(NETNS)) $(if $(STATE),--state $(STATE))

guests: install ## Containers of the stand-in node that MODE=lxc runs on
	@$(PY) -m packaging.stack guests $(if $(STATE),--state $(STATE))

stop: ## End what `make run DETACH=1` started
	@if [ -x $(PY) ]; then $(PY) -m packaging.stack stop $(if $(STATE),--state $(STATE)); fi

lock: install ## Accept the contract as it is now: protos/lock.binpb
	.venv/bin/buf build -o protos/lock.binpb

clean: stop ## Remove everything that was made, state included
	if [ -d var ]; then chattr -R -f -i var || true; fi # the empty mount points of volumes
	rm -rf .make .venv var $(STUBS)

.PHONY: help proto install lint typecheck check test faults conformance bench quickstart run guests stop lock clean
