"""What the gateway counts, for Prometheus. Labels are names that the administrator gave and words of this program."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from medveil.gateway.queue import Queue


class Metrics:
    """The counters of one gateway, in a registry of its own."""

    def __init__(self, queue: Queue) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "medveil_gateway_received", "Instances that arrived, by what came of them", ["via", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.received_bytes = Counter("medveil_gateway_received_bytes", "Bytes accepted", registry=self.registry)
        self.sealed = Counter("medveil_gateway_sealed", "Instances sealed and spread", registry=self.registry)
        self.seal_failures = Counter(
            "medveil_gateway_seal_failures", "Tries to seal that failed and will be repeated", ["error"],
            registry=self.registry,
        )  # fmt: skip
        self.seal_seconds = Histogram(
            "medveil_gateway_seal_seconds", "Seconds to seal and spread an instance",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60), registry=self.registry,
        )  # fmt: skip
        self.sent = Counter("medveil_gateway_sent", "Instances handed out", ["via"], registry=self.registry)
        self.searches = Counter("medveil_gateway_searches", "Searches answered", ["via"], registry=self.registry)
        self.refused = Counter("medveil_gateway_refused", "Requests refused", ["via", "reason"], registry=self.registry)
        self.findings = Counter(
            "medveil_gateway_findings", "What was wrong at a store", ["store", "kind"], registry=self.registry
        )
        self.associations = Gauge("medveil_gateway_associations", "DICOM associations now", registry=self.registry)
        waiting = Gauge("medveil_gateway_queue_instances", "Instances that wait to be sealed", registry=self.registry)
        waiting.set_function(lambda: queue.depth[0])
        held = Gauge("medveil_gateway_queue_bytes", "Bytes that wait to be sealed", registry=self.registry)
        held.set_function(lambda: queue.depth[1])
        damaged = Gauge(
            "medveil_gateway_queue_damaged", "Acknowledged instances that the disk of the queue destroyed",
            registry=self.registry,
        )  # fmt: skip
        damaged.set_function(lambda: queue.damaged)
