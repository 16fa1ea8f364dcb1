"""The operator's own metrics, all named `mc_…`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

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
PASS_SECONDS = Histogram(
    "mc_pass_seconds",
    "Seconds that one pass took",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
LATE_SECONDS = Histogram(
    "mc_queue_wait_seconds",
    "Seconds from when a pass was due to when it began",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
EFFECTS = Counter(
    "mc_effects_total", "Effects made, by kind and result", ["effect", "result"], registry=REGISTRY
)
STATUS_WRITES = Counter("mc_status_writes_total", "Status writes", registry=REGISTRY)
VERDICTS = Counter("mc_verdicts_total", "Health verdicts that were acted on", ["verdict"], registry=REGISTRY)
PASS_ERRORS = Counter("mc_pass_errors_total", "Passes that ended in an error", ["reason"], registry=REGISTRY)
QUEUE = Gauge("mc_queue_depth", "Releases that have a turn coming", registry=REGISTRY)
LEADING = Gauge("mc_leading", "1 while this replica leads", registry=REGISTRY)
