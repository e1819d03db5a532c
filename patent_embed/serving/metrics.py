"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters and clocks of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        name = "patent_embed_"
        self.requests = Counter(
            f"{name}requests", "answers by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{name}request_seconds", "from request to answer", ["route"], buckets=_SECONDS, registry=registry
        )
        self.stages = Histogram(
            f"{name}stage_seconds", "stages of a search", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.running = Gauge(f"{name}requests_running", "requests being answered", registry=registry)
        self.texts = Counter(f"{name}embedded_texts", "texts embedded for clients", registry=registry)
        self.tokens = Counter(f"{name}embedded_tokens", "tokens of them", registry=registry)
        self.judgements = Counter(f"{name}judgements", "judgements taken", ["verdict"], registry=registry)
        self.reloads = Counter(f"{name}reloads", "changes of the model by outcome", ["outcome"], registry=registry)
        self.patents = Gauge(f"{name}patents", "patents that are searched", registry=registry)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
