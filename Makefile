# Every command a developer needs; `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := .venv/bin/python

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## make .venv with everything development needs, as locked
	@scripts/venv.sh

.PHONY: lock
lock: venv ## write the lock files anew (UPGRADE=1 takes newer versions)
	@scripts/lock.sh $(if $(UPGRADE),--upgrade)

.PHONY: lint
lint: venv ## check style, types, import contracts, shell and Go code
	@$(PY) scripts/stages.py lint

.PHONY: format
format: venv ## format the Python code and mend what can be mended
	@.venv/bin/ruff check --fix --quiet; .venv/bin/ruff format

.PHONY: test-unit
test-unit: venv ## run the unit tests (under 15 s, no cluster)
	@$(PY) scripts/stages.py test-unit

.PHONY: test
test: venv ## run everything: set up, lint, unit, migrator and e2e tests (KEEP=1 keeps the cluster)
	@$(PY) scripts/stages.py test

.PHONY: test-e2e
test-e2e: venv ## bring the cluster up where it is not, and run the e2e tests; the cluster stays
	@$(PY) scripts/stages.py test-e2e

.PHONY: cluster-up
cluster-up: venv ## start the cluster (MC_CLUSTER=local|kind|existing)
	@scripts/cluster.sh up

.PHONY: cluster-down
cluster-down: venv ## end the cluster and leave nothing of it behind
	@scripts/cluster.sh down

.PHONY: cluster-status
cluster-status: venv ## tell what runs
	@scripts/cluster.sh status

.PHONY: shell
shell: venv ## open a shell with the cluster's KUBECONFIG, kubectl and helm
	@scripts/cluster.sh exec bash

.PHONY: images
images: venv ## build the images and bring them into the cluster
	@scripts/cluster.sh images all

.PHONY: crds
crds: venv ## write crds/ anew from the models, and the chart's copy of it
	@$(PY) -m conductor.api.crd > crds/controlplanereleases.yaml.new
	@mv crds/controlplanereleases.yaml.new crds/controlplanereleases.yaml
	@cp crds/*.yaml charts/conductor/files/
