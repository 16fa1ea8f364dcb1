# Every command a developer needs; `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := .venv/bin/python

# Modules are compiled once, and not in each of the many processes that a run starts.
unexport PYTHONDONTWRITEBYTECODE

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
lint: venv ## check style, types, import contracts, shell and Go code; look for secrets and bad packages
	@$(PY) scripts/stages.py lint

.PHONY: format
format: venv ## format the Python code and mend what can be mended
	@.venv/bin/ruff check --fix --quiet; .venv/bin/ruff format

.PHONY: test-unit
test-unit: venv ## run the fast unit tests (under 15 s; no cluster, no database)
	@$(PY) scripts/stages.py test-unit

.PHONY: test
test: venv ## run everything: set up, lint, unit, database and e2e tests (KEEP=1 keeps the cluster)
	@$(PY) scripts/stages.py test

.PHONY: model
model: venv ## explore the engine's model, look for every deliberate bug, walk at random (some minutes, one core)
	@nice -n 19 $(PY) -m tests.model $(MODEL)

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

.PHONY: demo
demo: ## show three upgrades under load on a cluster of its own; the cluster stays (DEMO="--json" and the like)
	@[ -x $(PY) ] || echo "demo: makes the Python environment first (about a minute), then says how long the rest takes"
	@DEMO_STARTED=$$(date +%s) bash -c 'scripts/venv.sh && exec $(PY) -m demo run $(DEMO)'

.PHONY: demo-down
demo-down: venv ## remove every trace of the demo, and prove it
	@$(PY) -m demo down $(DEMO)

.PHONY: bench-ready
bench-ready: venv
	@scripts/cluster.sh up
	@scripts/cluster.sh images all

.PHONY: bench-switch
bench-switch: bench-ready ## no failed request over a good and a bad upgrade of mc, five runs
	@scripts/cluster.sh exec python bench/measure.py switch

.PHONY: bench-podinfo
bench-podinfo: bench-ready ## the same for podinfo, which knows nothing of us
	@scripts/cluster.sh exec python bench/measure.py podinfo

.PHONY: bench-rollback
bench-rollback: bench-ready ## last answer of the bad colour after the decision to go back
	@scripts/cluster.sh exec python bench/measure.py rollback

.PHONY: bench-refusal
bench-refusal: bench-ready ## mc 1.2.0-bad is refused, twenty tries
	@scripts/cluster.sh exec python bench/measure.py refusal

.PHONY: bench-shedding
bench-shedding: bench-ready ## how HTTP/1.1, HTTP/2, gRPC and WebSocket clients are moved, five repeats (SHEDDING="--clients 20")
	@scripts/cluster.sh images shedapp drain
	@scripts/cluster.sh exec python bench/shedding.py $(SHEDDING)

.PHONY: bench-consistency
bench-consistency: bench-ready ## how long two components show mixed versions, by default and with Strict (CONSISTENCY="--repeats 5")
	@scripts/cluster.sh exec python bench/consistency.py $(CONSISTENCY)

.PHONY: bench-traffic
bench-traffic: bench-ready ## requests lost of a million over ramp, switch and rollback, by Services and by routes (TRAFFIC="--provider Service")
	@scripts/cluster.sh images shedapp traefik
	@scripts/cluster.sh exec python bench/traffic.py $(TRAFFIC)

.PHONY: bench-migrations
bench-migrations: venv ## how long expand, backfill and contract keep 50 writers waiting, beside a naive script (MIGRATIONS="--rows 200000")
	@PYTHONPATH=. $(PY) bench/migrations.py $(MIGRATIONS)

.PHONY: chaos
chaos: bench-ready ## kill the operator at every write, and every fault of docs/faults.md (CHAOS="--lanes 3 --story upgrade")
	@scripts/cluster.sh exec python bench/chaos.py --docs --json bench/results/chaos.json $(CHAOS)
	@scripts/cluster.sh images shedapp drain
	@scripts/cluster.sh exec python -m pytest tests/e2e -m "chaos and not two_nodes" --durations=0 --durations-min=5
	@$(MAKE) --no-print-directory chaos-nodes

.PHONY: chaos-migrations
chaos-migrations: venv ## kill the migration runner, its backend and the database at every line of the ledger
	@$(PY) -m pytest tests/migrator -m "chaos and not java" --durations=5

.PHONY: chaos-ledger
chaos-ledger: bench-ready ## kill operator, Job pod, backend and database at every line of the ledger, in the cluster (KILLS="--lanes 3 --victim pod")
	@scripts/cluster.sh exec python bench/kill_migrations.py --docs --json bench/results/kill-migrations.json $(KILLS)

.PHONY: test-postgres-versions
test-postgres-versions: venv ## run tests/migrator with PostgreSQL 14, 16 and 17; needs Maven (POSTGRES="--only 16 -k logins")
	@$(PY) scripts/postgres_versions.py $(POSTGRES)

.PHONY: test-flyway
test-flyway: venv ## move a database by Flyway under the migration runner; needs Java and Maven
	@$(PY) -m pytest tests/migrator/test_flyway.py

.PHONY: test-gateway
test-gateway: venv ## upgrades by HTTPRoutes on a cluster with Traefik as its Gateway (a cold start builds it, some minutes)
	@scripts/cluster.sh up
	@scripts/cluster.sh images all
	@scripts/cluster.sh images traefik:dev
	@scripts/cluster.sh exec python -m pytest tests/e2e/test_gateway.py -m gateway --durations=0 --durations-min=5

.PHONY: chaos-nodes
chaos-nodes: export MC_CLUSTER_INSTANCE := pair
chaos-nodes: export MC_NODES := 2
chaos-nodes: venv ## the faults of docs/faults.md that need two nodes, on a cluster of their own that goes at the end
	@trap 'scripts/cluster.sh down' EXIT; scripts/cluster.sh up && scripts/cluster.sh images all \
		&& scripts/cluster.sh exec python -m pytest tests/e2e -m two_nodes --durations=0 --durations-min=5

.PHONY: bench-scale
bench-scale: venv ## 1,000 releases at rest and 100 upgrades at once beside Argo Rollouts, on a cluster of its own
	@MC_CLUSTER_INSTANCE=scale scripts/cluster.sh up
	@MC_CLUSTER_INSTANCE=scale scripts/cluster.sh exec python bench/scale.py; \
	  ended=$$?; MC_CLUSTER_INSTANCE=scale scripts/cluster.sh down; exit $$ended

.PHONY: clean
clean: ## remove .venv, caches, and what was built for the cluster
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/maestro-conductor"
