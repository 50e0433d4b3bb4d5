"""What a Lambda process has: the engine on its ports, and the ingress to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, Final

from pydantic import TypeAdapter
from starlette.types import ASGIApp

from adapter.aws.delays import QueueTimers
from adapter.aws.directory import Directory
from adapter.aws.dispatch import LambdaDispatcher
from adapter.aws.observability import CountedReports, Observed
from adapter.aws.scheduler import SchedulerTimers
from adapter.aws.settings import Settings, variable
from adapter.aws.store import DynamoStore
from adapter.aws.wire import Api
from adapter.clock import SystemClock
from adapter.engine.engine import Engine
from adapter.http.ingress import create_ingress
from adapter.observed import observe, observe_app
from adapter.registry import Registry

ALIAS: Final = "live"
"""The alias of a function's current version, as templates have it."""


class Host:
    """What the kinds of events work with, made once per process.

    Args:
        registry: The services that live here.
        engine: Runs them.
        directory: Knows the services of other functions.
        observed: Writes logs, metrics and traces.
        share: Has another process of this function clear a shard of the due index.
        operating: Returns the admin's further ports by their names: they are made when they are asked for.
        prepare: Connects and reads ahead, before the first event.

    Attributes:
        until: Until when the request at hand may wait, in milliseconds since the epoch.
    """

    def __init__(
        self,
        registry: Registry,
        engine: Engine,
        directory: Directory,
        observed: Observed,
        share: Callable[[int], Awaitable[None]] | None = None,
        operating: Callable[[], Mapping[str, Any]] = dict[str, Any],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.registry = registry
        self.engine = engine
        self.directory = directory
        self.observed = observed
        self.share = share
        self._operating = operating
        self._prepare = prepare
        self.until = 0
        self.ingress = observe_app(create_ingress(engine, registry, until=lambda: self.until, elsewhere=directory))

    async def prepare(self) -> None:
        """Do ahead of the first event what it would wait for."""
        if self._prepare is not None:
            await self._prepare()

    @cached_property
    def admin(self) -> ASGIApp:
        """The admin of the stack."""
        from adapter.http.admin import Admin  # when it is asked for: a cold start can do without

        return Admin(self.engine, self.directory, **self._operating())


def connect(registry: Registry) -> Host:
    """Return a host on the AWS resources that the environment names.

    Raises:
        ConfigurationError: If it does not.
    """
    name, version = variable("AWS_LAMBDA_FUNCTION_NAME"), variable("AWS_LAMBDA_FUNCTION_VERSION")
    deployment = f"{name}:{version}"
    settings = Settings.from_environment()
    _, partition, _, region, account, _ = settings.dead_letters.split(":", 5)
    # Not this version: what has not begun by then begins on the current one, and what has is found from there.
    target = f"arn:{partition}:lambda:{region}:{account}:function:{name}:{ALIAS}"
    dynamodb = Api("dynamodb")
    directory = Directory(settings.objects, dynamodb)
    dispatcher = LambdaDispatcher(directory)
    clock, observed = SystemClock(), Observed(settings.name, by_handler=settings.handler_metrics)
    observed.take_over_logs()
    schedules = SchedulerTimers(
        group=settings.schedules,
        target=target,
        role=settings.schedule_role,
        dead_letters=settings.dead_letters,
        dispatch=lambda ref: dispatcher.dispatch(ref, "", deployment, False),
        clock=clock,
    )
    timers = QueueTimers(
        queue=settings.delays, longest=settings.longest_delay, target=target, beyond=schedules, clock=clock
    )
    engine = Engine(
        store=DynamoStore(settings.invocations, settings.objects, api=dynamodb),
        timers=timers,
        dispatcher=dispatcher,
        clock=clock,
        handlers=[observe(spec) for spec in registry.specs],
        deployment=deployment,
        kinds=directory.kind,
        options=directory.options,
        reports=CountedReports(observed),
    )

    engine.sweeper.is_throttled = dispatcher.is_throttled

    async def prepare() -> None:
        # A process of Lambda's has CPU to spare until its first event. pydantic looks for plugins at its first schema.
        TypeAdapter(str)
        await asyncio.gather(dispatcher.prepare(), directory.prepare())

    def operating() -> Mapping[str, Any]:
        from adapter.aws.operating import DeadLetterQueue, LambdaVersions

        versions = LambdaVersions(directory, dispatcher)
        letters = DeadLetterQueue(settings.dead_letters)
        return {"versions": versions, "dead_letters": letters, "last_sweep": directory.last_sweep}

    return Host(
        registry,
        engine,
        directory,
        observed,
        share=lambda shard: dispatcher.share(deployment, shard),
        operating=operating,
        prepare=prepare,
    )
