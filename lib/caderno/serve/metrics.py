"""Figures of the service at /metrics, in Prometheus' format (https://prometheus.io/docs/instrumenting/exposition_formats).

Labels are names of models and versions that are or were served, never what a caller sent. Memory, and what waits, is
read when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from caderno.serve.answering import Service
from caderno.serve.errors import code_of

if TYPE_CHECKING:
    from caderno.serve.journal import Journal
    from caderno.serve.shadow import Shadow

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = tuple(4**power for power in range(9))
_PROTOCOLS = {"v1": "tfserving", "v2": "inference", "invocations": "scoring"}


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        of = ("model", "version")
        self._requests = self._counter("requests", "Answers.", "protocol", *of, "status")
        self._errors = self._counter("errors", "Answers that are errors.", "protocol", *of, "code")
        self._seconds = self._histogram("request_seconds", "From a request to its answer.", _SECONDS, "protocol", *of)
        self._model = self._histogram("model_seconds", "The model's own time for a batch.", _SECONDS, *of)
        self._rows = self._histogram("batch_rows", "Rows that were answered together.", _ROWS, *of)
        self._swaps = self._counter("swaps", "Changes of the version that answers by default.", "model")
        self._replaced = self._counter("workers_replaced", "Processes that died, hung or grew too large.", *of)
        self._troubles = self._counter("troubles", "What went wrong otherwise.", *of)

    def show(self, app: Flask, service: Service) -> None:
        """Let an application answer at /metrics."""
        self._registry.register(_Now(service))

        @app.get("/metrics")
        def metrics() -> Response:
            """Return all figures."""
            encode, kind = choose_encoder(request.headers.get("Accept", ""))
            return Response(encode(self._registry), content_type=kind)

    def request(self, path: str, model: str | None, version: str | None, status: int, seconds: float) -> None:
        """Note an answer."""
        protocol = _PROTOCOLS.get(path.split("/", 2)[1], "other")
        of = protocol, model or "", version or ""
        self._requests.labels(*of, status).inc()
        self._seconds.labels(*of).observe(seconds)
        if status >= 400:
            self._errors.labels(*of, code_of(status)).inc()

    def batch(self, model: str, version: str, rows: int, seconds: float) -> None:
        """Note a batch."""
        self._rows.labels(model, version).observe(rows)
        self._model.labels(model, version).observe(seconds)

    def swap(self, model: str) -> None:
        """Note that another version answers."""
        self._swaps.labels(model).inc()

    def trouble(self, model: str, version: str, replaced: bool) -> None:
        """Note that something went wrong, or that a worker was replaced."""
        (self._replaced if replaced else self._troubles).labels(model, version).inc()

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"caderno_{name}", told, labels, registry=self._registry)

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"caderno_{name}", told, labels, buckets=buckets, registry=self._registry)


class _Now(Collector):
    """What is read from the shelf when somebody asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Give what is served, and what it holds."""
        of = ("model", "version")
        served = InfoMetricFamily("caderno_model", "Versions that are served.", labels=of)
        load = GaugeMetricFamily("caderno_load_seconds", "How long a version took to load.", labels=of)
        memory = GaugeMetricFamily("caderno_memory_bytes", "What a version's processes hold.", labels=of)
        waiting = GaugeMetricFamily("caderno_waiting_requests", "Requests that wait for a version.", labels=of)
        ready = GaugeMetricFamily("caderno_ready", "Whether a model has a version to answer with.", labels=["model"])
        for shown in self._service.shelf.shown.values():
            ready.add_metric([shown.name], shown.wanted.default in shown.versions)
            for number, version in shown.versions.items():
                labels = ",".join(sorted(label for label, named in shown.wanted.labels.items() if named == number))
                known = {"labels": labels, "digest": str(version.about.get("digest", ""))}
                served.add_metric([shown.name, number], known)
                load.add_metric([shown.name, number], version.load_seconds)
                memory.add_metric([shown.name, number], version.memory())
                waiting.add_metric([shown.name, number], version.waiting)
        yield from (served, load, memory, waiting, ready)
        if self._service.journal:
            yield from _logged(self._service.journal)
        if self._service.shadow:
            yield from _shadowed(self._service.shadow)


def _logged(journal: Journal) -> Iterator[Metric]:
    """Give how many rows the log of predictions took, and how many it had to leave out."""
    written = CounterMetricFamily("caderno_logged_rows", "Rows in the log of predictions.", labels=["model", "kind"])
    lost = CounterMetricFamily("caderno_lost_rows", "Rows that could not be kept.", labels=["model", "kind", "why"])
    for family, counts in ((written, journal.written), (lost, journal.lost)):
        for labels, rows in counts.copy().items():
            family.add_metric(list(labels), rows)
        yield family


def _shadowed(shadow: Shadow) -> Iterator[Metric]:
    """Give how near the challengers come to the champions."""
    of = ("model", "champion", "challenger")
    rows = GaugeMetricFamily("caderno_shadow_rows", "Rows that the challenger answered, too.", labels=of)
    mean = GaugeMetricFamily("caderno_shadow_difference", "Mean absolute difference of the scores.", labels=of)
    for model, found in shadow.agreements.items():
        rows.add_metric([model, found.champion, found.challenger], found.rows)
        mean.add_metric([model, found.champion, found.challenger], found.mean)
    yield from (rows, mean)
