# mypy: ignore-errors

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from adapter import (
    Context,
    DefinitionError,
    ObjectContext,
    ObjectSharedContext,
    RetryPolicy,
    Service,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    serde,
)
from adapter.definitions import Description, describe
from adapter.engine.types import Kind, Options
from adapter.registry import Registry
from tests.unit.issuer import FakeIssuer

if TYPE_CHECKING:
    from decimal import Decimal as NeverImported


class Counter(VirtualObject):
    """Counts."""

    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        """Add to the total."""
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

    @handler
    async def total(self, ctx: ObjectSharedContext) -> int:
        return await ctx.get("total", int) or 0

    @handler
    async def twice(self, ctx: ObjectContext, amount: int = 1) -> int:
        await self.add.fn(ctx, amount)
        return await self.add.fn(ctx, amount)

    @handler
    async def wrong(self, ctx: ObjectContext) -> int:
        return await self.add(1)


def test_kinds_come_from_the_context() -> None:
    class SignUp(Workflow):
        @handler
        async def run(self, ctx: WorkflowContext) -> None: ...

        @handler
        async def status(self, ctx: WorkflowSharedContext) -> None: ...

    class Greeter(Service):
        @handler
        async def greet(self, ctx: Context) -> None: ...

    assert {method.name: method.kind for method in describe(Counter).methods.values()} == {
        "add": Kind.EXCLUSIVE,
        "total": Kind.SHARED,
        "twice": Kind.EXCLUSIVE,
        "wrong": Kind.EXCLUSIVE,
    }
    assert describe(SignUp).methods["run"].kind is Kind.WORKFLOW
    assert describe(SignUp).methods["status"].kind is Kind.SHARED
    assert describe(Greeter).methods["greet"].kind is Kind.SERVICE
    assert [describe(cls).category for cls in (Counter, SignUp, Greeter)] == ["object", "workflow", "service"]


def test_docs() -> None:
    assert describe(Counter).doc == "Counts."
    assert describe(Counter).methods["add"].doc == "Add to the total."
    assert Counter.add.__doc__ == "Add to the total."


# --- definitions that make no sense ---


def two_inputs() -> type:
    class Bad(Service):
        @handler
        async def two(self, ctx: Context, a: int, b: int) -> None: ...

    return Bad


def no_context() -> type:
    class Bad(Service):
        @handler
        async def none(self) -> None: ...

    return Bad


def unannotated_context() -> type:
    class Bad(Service):
        @handler
        async def bare(self, ctx) -> None: ...

    return Bad


def unknown_context() -> type:
    class Bad(Service):
        @handler
        async def unknown(self, ctx: dict[str, int]) -> None: ...

    return Bad


def context_of_another_definition() -> type:
    class Bad(Service):
        @handler
        async def other(self, ctx: ObjectContext) -> None: ...

    return Bad


def context_too_general() -> type:
    class Bad(VirtualObject):
        @handler
        async def general(self, ctx: Context) -> None: ...

    return Bad


def name_twice() -> type:
    class Bad(Service):
        @handler(name="same")
        async def one(self, ctx: Context) -> None: ...

        @handler(name="same")
        async def other(self, ctx: Context) -> None: ...

    return Bad


def method_twice() -> type:
    class Bad(Service):
        @handler
        async def one(self, ctx: Context) -> None: ...

        @handler
        async def one(self, ctx: Context) -> None: ...  # noqa: F811

    return Bad


def workflow_without_run() -> type:
    class Bad(Workflow):
        @handler
        async def status(self, ctx: WorkflowSharedContext) -> None: ...

    return Bad


def shared_run() -> type:
    class Bad(Workflow):
        @handler
        async def run(self, ctx: WorkflowSharedContext) -> None: ...

    return Bad


def second_run() -> type:
    class Bad(Workflow):
        @handler
        async def run(self, ctx: WorkflowContext) -> None: ...

        @handler
        async def again(self, ctx: WorkflowContext) -> None: ...

    return Bad


def not_async() -> type:
    class Bad(Service):
        @handler
        def plain(self, ctx: Context) -> None: ...

    return Bad


def no_method() -> type:
    class Bad(Service):
        @handler
        @staticmethod
        async def static(ctx: Context) -> None: ...

    return Bad


def var_args() -> type:
    class Bad(Service):
        @handler
        async def many(self, ctx: Context, *names: str) -> None: ...

    return Bad


def var_keywords() -> type:
    class Bad(Service):
        @handler
        async def many(self, ctx: Context, **names: str) -> None: ...

    return Bad


def keyword_only() -> type:
    class Bad(Service):
        @handler
        async def keyword(self, ctx: Context, *, name: str = "") -> None: ...

    return Bad


def bad_handler_name() -> type:
    class Bad(Service):
        @handler(name="a/b")
        async def named(self, ctx: Context) -> None: ...

    return Bad


def bad_service_name() -> type:
    class Bad(Service, name="1st"): ...

    return Bad


def no_ascii_name() -> type:
    class Bäd(Service):
        @handler
        async def named(self, ctx: Context) -> None: ...

    return Bäd


def no_ascii_handler() -> type:
    class Bad(Service):
        @handler
        async def größe(self, ctx: Context) -> None: ...

    return Bad


def reserved_name() -> type:
    class Bad(Service, name="restate"): ...

    return Bad


def retention_kind() -> type:
    class Bad(Service):
        @handler(journal_retention=5)
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def retention_range() -> type:
    class Bad(Service):
        @handler(idempotency_retention=-timedelta(1))
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def class_option_kind() -> type:
    class Bad(Service, retry=3): ...

    return Bad


def class_option_range() -> type:
    class Bad(Service, journal_retention=-timedelta(1)): ...

    return Bad


def workflow_retention_kind() -> type:
    class Bad(Workflow, workflow_retention=86_400):
        @handler
        async def run(self, ctx: WorkflowContext) -> None: ...

    return Bad


def workflow_retention_range() -> type:
    class Bad(Workflow):
        @handler(workflow_retention=-timedelta(1))
        async def run(self, ctx: WorkflowContext) -> None: ...

    return Bad


def workflow_retention_of_a_service() -> type:
    class Bad(Service, workflow_retention=timedelta(1)):
        @handler
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def idempotency_of_a_run() -> type:
    class Bad(Workflow):
        @handler(idempotency_retention=timedelta(1))
        async def run(self, ctx: WorkflowContext) -> None: ...

    return Bad


def inactivity_kind() -> type:
    class Bad(Service):
        @handler(inactivity_timeout=60)
        async def waits(self, ctx: Context) -> None: ...

    return Bad


def inactivity_range() -> type:
    class Bad(Service):
        @handler(inactivity_timeout=timedelta(0))
        async def waits(self, ctx: Context) -> None: ...

    return Bad


def abort_kind() -> type:
    class Bad(Service, abort_timeout="1m"): ...

    return Bad


def abort_range() -> type:
    class Bad(Service):
        @handler(abort_timeout=-timedelta(1))
        async def waits(self, ctx: Context) -> None: ...

    return Bad


def lazy_state_kind() -> type:
    class Bad(VirtualObject):
        @handler(lazy_state="no")
        async def reads(self, ctx: ObjectContext) -> None: ...

    return Bad


def lazy_state_of_a_service() -> type:
    class Bad(Service):
        @handler(lazy_state=False)
        async def reads(self, ctx: Context) -> None: ...

    return Bad


def deadlocks_kind() -> type:
    class Bad(VirtualObject, deadlocks=True): ...

    return Bad


def deadlocks_range() -> type:
    class Bad(VirtualObject):
        @handler(deadlocks="ignore")
        async def locks(self, ctx: ObjectContext) -> None: ...

    return Bad


def retry_of_a_step() -> type:
    class Bad(Service):
        @handler(retry=RetryPolicy(duration=timedelta(1)))
        async def tries(self, ctx: Context) -> None: ...

    return Bad


def private_kind() -> type:
    class Bad(Service):
        @handler(private=1)
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def metadata_kind() -> type:
    class Bad(Service):
        @handler(metadata={"pages": 7})
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def class_metadata_kind() -> type:
    class Bad(Service, metadata="text"): ...

    return Bad


def metadata_size() -> type:
    class Bad(Service, metadata={"notes": "x" * 8200}): ...

    return Bad


def bad_serde() -> type:
    class Bad(Service):
        @handler(input_serde="json")
        async def kept(self, ctx: Context) -> None: ...

    return Bad


def two_categories() -> type:
    class Bad(Service, VirtualObject): ...

    return Bad


def handler_replaced() -> type:
    class Bad(Counter):
        async def add(self, ctx: ObjectContext, amount: int) -> int:
            return amount

    return Bad


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (two_inputs, r"Bad.two takes 2 inputs, a, b: put them into one"),
        (no_context, "Bad.none takes no context"),
        (unannotated_context, "`ctx` has no annotation; annotate the context of a service's handler with Context"),
        (unknown_context, "`ctx` is annotated with dict; annotate the context of a service's handler with Context"),
        (context_of_another_definition, "is annotated with ObjectContext; annotate .* with Context"),
        (context_too_general, "a virtual object's handler with ObjectSharedContext or ObjectContext"),
        (name_twice, "Bad has two handlers called same"),
        (method_twice, "Bad.one is defined twice"),
        (workflow_without_run, "Bad is a workflow and has no handler called run"),
        (shared_run, "a workflow's `run` with WorkflowContext"),
        (second_run, "its other handlers with WorkflowSharedContext"),
        (not_async, "Bad.plain cannot be a handler: make it an `async def` method"),
        (no_method, "Bad.static cannot be a handler"),
        (var_args, r"takes `\*names"),
        (var_keywords, r"takes `\*\*names"),
        (keyword_only, "takes `name"),
        (bad_handler_name, "'a/b' cannot be a name"),
        (bad_service_name, "'1st' cannot be a name"),
        (no_ascii_name, "'Bäd' cannot be a name"),
        (no_ascii_handler, "'größe' cannot be a name"),
        (reserved_name, "a service cannot be called restate"),
        (retention_kind, "journal_retention is of type timedelta, not int"),
        (retention_range, "idempotency_retention is not negative"),
        (class_option_kind, "retry is of type RetryPolicy, not int"),
        (class_option_range, "journal_retention is not negative"),
        (workflow_retention_kind, "workflow_retention is of type timedelta, not int"),
        (workflow_retention_range, "workflow_retention is not negative"),
        (workflow_retention_of_a_service, "Bad.kept is not a workflow's"),
        (idempotency_of_a_run, "Bad.run takes no idempotency key: set workflow_retention"),
        (inactivity_kind, "inactivity_timeout is of type timedelta, not int"),
        (inactivity_range, "inactivity_timeout is positive"),
        (abort_kind, "abort_timeout is of type timedelta, not str"),
        (abort_range, "abort_timeout is positive"),
        (lazy_state_kind, "lazy_state is of type bool, not str"),
        (lazy_state_of_a_service, "Bad.reads is a service's, which has no state: remove lazy_state"),
        (deadlocks_kind, "deadlocks is of type str, not bool"),
        (deadlocks_range, 'deadlocks is "fail" or "report"'),
        (retry_of_a_step, "a duration is for a step's policy"),
        (private_kind, "private is of type bool, not int"),
        (metadata_kind, "metadata maps strings to strings, not str to int"),
        (class_metadata_kind, "metadata is of type Mapping, not str"),
        (metadata_size, "metadata has up to 8192 bytes, not 8205"),
        (bad_serde, "input_serde is not a serde"),
        (two_categories, "Bad is a service and a virtual object: derive it from one of them"),
        (handler_replaced, "Bad.add replaces a handler"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_nonsense_is_refused_where_it_is_defined(definition: Callable[[], type], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        definition()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="typo"):

        class Bad(Service, typo=1): ...


# --- names, options, inheritance ---


def test_options_of_the_handler_come_before_those_of_the_class() -> None:
    class Base(Service, idempotency_retention=timedelta(days=1), retry=RetryPolicy(attempts=2)):
        """No handlers yet: derived classes have their own names."""

    class Greeter(Base, private=True):
        @handler(idempotency_retention=timedelta(days=2), private=False)
        async def kept(self, ctx: Context) -> None: ...

        @handler
        async def plain(self, ctx: Context) -> None: ...

    assert describe(Greeter).name == "Greeter"
    assert describe(Greeter).methods["plain"].options == Options(
        idempotency_retention=timedelta(days=1), retry=RetryPolicy(attempts=2), private=True
    )
    assert describe(Greeter).methods["kept"].options == Options(
        idempotency_retention=timedelta(days=2), retry=RetryPolicy(attempts=2)
    )


def test_the_metadata_of_a_class_is_not_that_of_its_handlers() -> None:
    class Contract(Service, name="Billing", metadata={"team": "billing"}):
        @handler(metadata={"page": "https://example.com/pay"})
        @abstractmethod
        async def pay(self, ctx: Context) -> None: ...

        @handler
        @abstractmethod
        async def refund(self, ctx: Context) -> None: ...

    class Billing(Contract):
        @handler
        async def pay(self, ctx: Context) -> None: ...

        @handler
        async def refund(self, ctx: Context) -> None: ...

    billing = Registry(Billing).services["Billing"]
    assert billing.metadata == {"team": "billing"}
    assert billing.handlers["pay"].metadata == {"page": "https://example.com/pay"}
    assert billing.handlers["refund"].metadata == {}


class ShopContract(Service, name="Shop"):
    @handler(name="place", output_serde=serde.bytes)
    @abstractmethod
    async def order(self, ctx: Context, item: str) -> bytes: ...

    @handler
    @abstractmethod
    async def close(self, ctx: Context) -> None: ...


class CornerShop(ShopContract):
    @handler(private=True)
    async def order(self, ctx: Context, item: str = "bread") -> bytes:
        return item.encode()

    @handler
    async def close(self, ctx: Context) -> None: ...


def test_an_implementation_inherits_the_names_and_formats_of_its_contract() -> None:
    description = describe(CornerShop)
    assert description.name == "Shop"
    order = description.methods["order"]
    assert str(order) == "Shop.place"
    assert order.signature.output is serde.bytes
    assert order.options.private
    assert not describe(ShopContract).methods["order"].options.private
    assert CornerShop.__abstractmethods__ == frozenset()
    assert ShopContract.__abstractmethods__ == {"order", "close"}
    with pytest.raises(TypeError, match="abstract"):
        ShopContract()


def test_a_contract_without_a_name_gives_its_own() -> None:
    class Billing(Service):
        @handler
        @abstractmethod
        async def bill(self, ctx: Context) -> None: ...

    class Monthly(Billing):
        @handler
        async def bill(self, ctx: Context) -> None: ...

    class Renamed(Monthly, name="Other"): ...

    class RenamedAgain(Renamed): ...

    assert [describe(cls).name for cls in (Billing, Monthly, Renamed, RenamedAgain)] == [
        "Billing",
        "Billing",
        "Other",
        "Other",
    ]


def test_handlers_may_come_from_a_mixin() -> None:
    class Health:
        @handler
        async def ping(self, ctx: Context) -> str:
            return "pong"

    class Greeter(Health, Service):
        @handler
        async def greet(self, ctx: Context) -> None: ...

    assert list(describe(Greeter).methods) == ["ping", "greet"]


def test_what_is_no_definition_is_refused() -> None:
    for thing in (int, Service, VirtualObject, "Counter", Counter(), lambda: Counter()):
        with pytest.raises(TypeError, match=r"(is not a class that derives from|pass the class)"):
            describe(thing)


# --- annotations ---


def test_annotations_of_classes_in_functions_are_found() -> None:
    from dataclasses import dataclass

    @dataclass
    class Local:
        x: int

    class Greeter(Service):
        class Inner(dict[str, int]): ...

        @handler
        async def list(self, ctx: Context, local: Local) -> list[int]:
            return [local.x]

        @handler
        async def inner(self, ctx: Context, inner: Inner) -> list[Inner]:
            return []

    methods: dict[str, Any] = describe(Greeter).methods
    assert methods["list"].signature.input.deserialize(b'{"x": 1}') == Local(1)
    assert methods["list"].signature.output.deserialize(b"[1]") == [1]
    assert methods["inner"].kind is Kind.SERVICE


def test_forward_references_are_looked_at_on_first_use() -> None:
    class Greeter(Service):
        @handler
        async def greet(self, ctx: Context, later: Later) -> None: ...

    method = describe(Greeter).methods["greet"]
    with pytest.raises(DefinitionError, match=r"annotations of .*Greeter.greet cannot be resolved: name 'Later'"):
        _ = method.kind

    class Later(str): ...

    assert method.kind is Kind.SERVICE
    assert method.signature.input is serde.of(Later)


def test_what_is_imported_for_checkers_only_is_named() -> None:
    class Greeter(Service):
        @handler
        async def greet(self, ctx: Context, amount: NeverImported) -> None: ...

    with pytest.raises(DefinitionError, match=r"NeverImported.*at run time, not under TYPE_CHECKING"):
        _ = describe(Greeter).methods["greet"].signature


def test_no_annotations_mean_plain_json() -> None:
    class Greeter(Service):
        @handler
        async def greet(self, ctx: Context, name):
            return name

    signature = describe(Greeter).methods["greet"].signature
    assert signature.input is not None
    assert signature.input.deserialize(b'{"a": [1]}') == {"a": [1]}
    assert signature.output.serialize({"a": 1}) == b'{"a":1}'


# --- own code ---


async def test_fn_runs_own_code() -> None:
    issuer = FakeIssuer(Kind.EXCLUSIVE, "Mary")
    assert await Counter().add.fn(ObjectContext(issuer), 2) == 2
    assert await Counter().twice.fn(ObjectContext(issuer)) == 4
    assert await Counter().total.fn(ObjectSharedContext(issuer)) == 4
    assert Counter().add.context is ObjectContext


async def test_super_runs_the_code_that_was_overridden() -> None:
    class Doubling(Counter):
        @handler
        async def add(self, ctx: ObjectContext, amount: int) -> int:
            return await super().add.fn(ctx, 2 * amount)

    assert await Doubling().add.fn(ObjectContext(FakeIssuer(Kind.EXCLUSIVE, "Mary")), 2) == 4


async def test_calling_a_handler_on_self_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"Counter.add was called on the definition itself.*`.add.fn\(ctx, …\)`"):
        await Counter().wrong.fn(ObjectContext(FakeIssuer(Kind.EXCLUSIVE, "Mary")))


def test_the_scope_of_a_class_is_not_kept() -> None:
    assert Counter.add._scope is None
    assert isinstance(Counter.__description__, Description)
