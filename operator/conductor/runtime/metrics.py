"""The operator's own metrics, all named `mc_…`, and those of its process: memory, CPU, start."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

SWITCH_MS = Histogram(
    "mc_upgrade_switch_ms",
    "Milliseconds from the decision to move traffic to the last Service patched",
    ["direction"],
    buckets=(10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
    registry=REGISTRY,
)
UPGRADE_ERRORS = Counter(
    "mc_upgrade_errors_total", "Upgrades refused or taken back, by reason", ["reason"], registry=REGISTRY
)
UPGRADES = Counter("mc_upgrades_total", "Upgrades that ended, by outcome", ["outcome"], registry=REGISTRY)
CONTRACTS = Counter(
    "mc_contracts_total",
    "Contract steps that were run, by whether the old version's sessions were proven gone, and whether the server "
    "shows that a restore to the moment before is possible",
    ["sessions", "pitr"],
    registry=REGISTRY,
)
PREVIEWS = Counter(
    "mc_previews_total",
    "Previews of upgrades, by whether they were offered on routes or left out; one that is put back counts once",
    ["outcome"],
    registry=REGISTRY,
)
CLOCK_GAP = Gauge(
    "mc_clock_gap_seconds",
    "Seconds that the API server's clock is ahead of the time that deadlines are measured with: it jumped",
    registry=REGISTRY,
)
PASS_SECONDS = Histogram(
    "mc_pass_seconds",
    "Seconds that one pass took",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
LATE_SECONDS = Histogram(
    "mc_queue_wait_seconds",
    "Seconds from when a pass was due to when it began",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
DECISION_SECONDS = Histogram(
    "mc_wake_to_decision_seconds",
    "Seconds from when a release was due for a pass to when it was decided what to do, by what that was decided on",
    ["basis"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
SAMPLE_LATE_SECONDS = Histogram(
    "mc_sample_wait_seconds",
    "Seconds from when a release's Prometheus was due to be asked to when it was",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
PROBE_LATE_SECONDS = Histogram(
    "mc_probe_wait_seconds",
    "Seconds from when a request of ours was due to when it was sent",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
LOOKS = Counter(
    "mc_looks_total",
    "What passes decided on: what the watches showed, or a fresh read of everything",
    ["basis"],
    registry=REGISTRY,
)
WATCH_EVENTS = Counter(
    "mc_watch_events_total", "Changes that watches showed, by kind", ["kind"], registry=REGISTRY
)
RELISTS = Counter(
    "mc_watch_relists_total",
    "Times that a watch ended and everything was listed again, by kind and reason",
    ["kind", "reason"],
    registry=REGISTRY,
)
CACHED = Gauge(
    "mc_cache_objects", "Objects that are known from the watches, by kind", ["kind"], registry=REGISTRY
)
LOOKED_AT = Gauge(
    "mc_releases_looked_at", "Releases that were looked at since the process began", registry=REGISTRY
)
EFFECTS = Counter(
    "mc_effects_total", "Effects made, by kind and result", ["effect", "result"], registry=REGISTRY
)
STATUS_WRITES = Counter("mc_status_writes_total", "Status writes", registry=REGISTRY)
VERDICTS = Counter("mc_verdicts_total", "Health verdicts that were acted on", ["verdict"], registry=REGISTRY)
PASS_ERRORS = Counter("mc_pass_errors_total", "Passes that ended in an error", ["reason"], registry=REGISTRY)
EVENT_ERRORS = Counter(
    "mc_event_errors_total", "Kubernetes Events that could not be written", ["reason"], registry=REGISTRY
)
EVENTS_WAITING = Gauge("mc_events_waiting", "Kubernetes Events that are not written yet", registry=REGISTRY)
RECEIPTS = Counter(
    "mc_receipts_total", "Receipts written into statuses, by kind", ["kind"], registry=REGISTRY
)
RECEIPTS_OUTBOX = Gauge(
    "mc_receipts_outbox", "Receipts that are not kept outside of statuses yet", registry=REGISTRY
)
RECEIPT_ERRORS = Counter(
    "mc_receipt_errors_total", "Tries to keep receipts that failed", ["reason"], registry=REGISTRY
)
MIGRATION_ROWS_DONE = Gauge(
    "mc_migration_rows_done",
    "Rows that the backfill of a release has filled so far, while it runs",
    ["namespace", "release"],
    registry=REGISTRY,
)
MIGRATION_ROWS_ESTIMATED = Gauge(
    "mc_migration_rows_estimated",
    "Rows that it will have filled in the end, by what differed when it began",
    ["namespace", "release"],
    registry=REGISTRY,
)
QUEUE = Gauge("mc_queue_depth", "Releases that have a turn coming", registry=REGISTRY)
NODES_BEHIND = Gauge(
    "mc_nodes_behind",
    "Nodes through which connections are not yet known to go where the EndpointSlices say, for the last question",
    registry=REGISTRY,
)
NODE_PROOF_USABLE = Gauge(
    "mc_node_proof_usable",
    "1 while nodes can be asked through the operator's node port; 0: only time is waited for",
    registry=REGISTRY,
)
LEADING = Gauge(
    "mc_leading", "Shards that this replica leads; of one, unless there are more", registry=REGISTRY
)
