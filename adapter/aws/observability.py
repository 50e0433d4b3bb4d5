"""Logs and metrics by Powertools, traces by OpenTelemetry.

- Every log line of the process, handlers' own among them, is JSON on standard output, with the Lambda request's id and,
  within a handler and its steps, ``invocation_id``, ``target``, ``attempt`` and ``replaying``.
- Metrics in CloudWatch's embedded format: ``InvocationsCompleted``, ``InvocationsFailed``, ``InvocationsSuspended``,
  ``AttemptsFailed``, ``SweepsCompleted``, ``SweepsUnfinished``, ``Overdue``, ``OverdueSeconds``, ``ColdStarts``. Their
  dimension ``service`` is the application's name.
- With ``handler_metrics``, also ``Duration`` and ``Failures`` with the dimensions ``definition`` and ``handler``.
- Spans by OpenTelemetry, if the extra ``otel`` is installed: see `adapter.tracing`.

`Powertools' variables <https://docs.powertools.aws.dev/lambda/python/latest/#environment-variables>`_ apply:
``LOG_LEVEL``, ``POWERTOOLS_SERVICE_NAME``, ``POWERTOOLS_METRICS_NAMESPACE``, ``POWERTOOLS_METRICS_DISABLED`` …
"""

from __future__ import annotations

import logging
import os
from typing import Final

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, Metrics, MetricUnit

from adapter.engine.ids import INVOCATION_ID
from adapter.engine.records import Meta
from adapter.engine.reports import Reports
from adapter.engine.types import Outcome, RetryPolicy, Target
from adapter.observed import flush, name_attempt

NOISY: Final = ("boto3", "botocore", "pynamodb", "urllib3", "mangum", "asyncio")
"""Loggers of which only warnings are shown."""


class Observed:
    """What a process tells of itself.

    Args:
        application: The application's name, which the stack's alarms look for.
        by_handler: True to have metrics of each handler.
    """

    def __init__(self, application: str | None = None, *, by_handler: bool = False) -> None:
        self._logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME") or application)
        self._name = application
        self._metrics = Metrics(
            namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Adapter"), service=application
        )
        self._by_handler = by_handler
        self._handlers: dict[tuple[str, str], EphemeralMetrics] = {}
        self._cold = True

    def take_over_logs(self) -> None:
        """Have everything that the process logs written as JSON."""
        handler = self._logger.registered_handler
        handler.addFilter(name_attempt)
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL") or os.environ.get("LOG_LEVEL", "INFO"))
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def begin(self, request_id: str) -> None:
        """A Lambda request begins."""
        self._logger.append_keys(request_id=request_id, cold_start=self._cold)
        if self._cold:
            self._cold = False
            self.count("ColdStarts")

    def end(self) -> None:
        """It ends: write the metrics, and export the spans."""
        if self._metrics.metric_set:
            self._metrics.flush_metrics()
        for metrics in self._handlers.values():
            metrics.flush_metrics()
        self._handlers.clear()
        flush()

    def count(self, metric: str) -> None:
        """Add one to a metric."""
        self._metrics.add_metric(metric, MetricUnit.Count, 1)

    def measure(self, metric: str, value: float, unit: MetricUnit) -> None:
        """Add a value to a metric."""
        self._metrics.add_metric(metric, unit, value)

    def completed(self, target: Target, duration: int, *, failed: bool) -> None:
        """An invocation of a handler has completed, after so many milliseconds."""
        if not self._by_handler:
            return
        place = (target.service, target.handler)
        metrics = self._handlers.get(place)
        if metrics is None:
            metrics = self._handlers[place] = EphemeralMetrics(namespace=self._metrics.namespace, service=self._name)
            metrics.add_dimension("definition", target.service)
            metrics.add_dimension("handler", target.handler)
        metrics.add_metric("Duration", MetricUnit.Milliseconds, duration)
        metrics.add_metric("Failures", MetricUnit.Count, int(failed))


class CountedReports(Reports):
    """Counts what becomes of invocations, and logs it."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def completed(self, meta: Meta, outcome: Outcome, now: int) -> None:
        failed = outcome.failure is not None
        self._observed.count("InvocationsFailed" if failed else "InvocationsCompleted")
        if INVOCATION_ID.fullmatch(meta.id):
            self._observed.completed(meta.target, max(0, (meta.completed or now) - meta.created), failed=failed)
        super().completed(meta, outcome, now)

    def suspended(self, meta: Meta) -> None:
        self._observed.count("InvocationsSuspended")

    def attempt_failed(
        self, meta: Meta, policy: RetryPolicy, failures: int, error: BaseException, wait: int | None
    ) -> None:
        self._observed.count("AttemptsFailed")
        super().attempt_failed(meta, policy, failures, error, wait)
