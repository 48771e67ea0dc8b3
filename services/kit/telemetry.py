"""The core's counters as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0)


class PrometheusTelemetry:
    """`Telemetry` whose metrics are in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._operations = Counter(
            "pvesmb_operations",
            "Operations that ended, by what they did and how they ended (ok, or the reason of the error).",
            ["verb", "kind", "outcome"],
            registry=registry,
        )
        self._operation_seconds = Histogram(
            "pvesmb_operation_duration_seconds",
            "Time from the acceptance of an operation to its end.",
            ["verb", "kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._steps = Histogram(
            "pvesmb_step_duration_seconds",
            "Time that a step took.",
            ["step", "action", "ok"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue = Gauge("pvesmb_operations_waiting", "Operations that wait for a worker.", registry=registry)
        self._found = Counter("pvesmb_drift_found", "Differences that drift checks found.", registry=registry)
        self._repaired = Counter("pvesmb_drift_repaired", "Differences that were repaired.", registry=registry)

    def operation_ended(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        self._operations.labels(verb, kind, outcome).inc()
        self._operation_seconds.labels(verb, kind).observe(max(seconds, 0.0))

    def step_ended(self, step: str, action: str, ok: bool, seconds: float) -> None:
        self._steps.labels(step, action, str(ok).lower()).observe(seconds)

    def queue_length(self, waiting: int) -> None:
        self._queue.set(waiting)

    def drift(self, found: int, repaired: int) -> None:
        self._found.inc(found)
        self._repaired.inc(repaired)
