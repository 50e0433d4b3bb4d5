"""What is written is read back: what does not come back equal fails there, once, by place and type, never by value."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_serializer,
)

from adapter import (
    Context,
    ObjectContext,
    RetryPolicy,
    Service,
    TerminalError,
    UnreadableError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    serde,
)
from adapter.registry import Registry
from adapter.testing import Environment
from adapter.values import read, receive, write, write_any

SECRET = "hunter2"


class Order(BaseModel):
    id: str
    price: Decimal = Decimal(1)


class Special(Order):
    discount: int = 0


class Login(BaseModel):
    user: str
    password: SecretStr


class Kept(BaseModel):
    password: SecretStr

    @field_serializer("password", when_used="json")
    def clear(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


class Loose(Strict):
    model_config = ConfigDict(extra="allow")


class Blob(BaseModel):
    data: bytes


class Infinite(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float


class Cached(BaseModel):
    id: str
    _session: object = PrivateAttr(default_factory=object)


class Embedded(BaseModel):
    inner: Json[list[int]]


class Hidden(BaseModel):
    shown: int
    hidden: int = Field(0, exclude=True)


class Cat(BaseModel):
    name: str


class Dog(BaseModel):
    name: str


@dataclass
class Node:
    next: Node | None = None


@dataclass(eq=False)
class ByIdentity:
    value: float


class Opaque: ...


def nested(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels - 1):
        made = [made]
    return made


def chain(levels: int) -> Node:
    made = Node()
    for _ in range(levels - 1):
        made = Node(made)
    return made


def twice_a_year() -> datetime:
    """A time of the hour that the clocks of Berlin show twice."""
    return datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))


KEPT: list[tuple[Any, Any]] = [
    (Strict, Strict(side=3)),
    (Loose, Loose(side=3)),
    (Blob, Blob(data=b"\xff\xfe")),
    (list[bytes], [b"\xff", b""]),
    (Decimal, Decimal("1234567890123456789012.5")),
    (Infinite, Infinite(value=float("inf"))),
    (Infinite, Infinite(value=float("nan"))),
    (Kept, Kept(password=SecretStr(SECRET))),
    (Cached, Cached(id="x")),
    (Embedded, Embedded(inner="[1]")),  # type: ignore[arg-type]
    (datetime, twice_a_year()),
    (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
    (timedelta, timedelta(days=-3, microseconds=1)),
    (Sequence[int], (1, 2)),
    (Mapping[str, int], {"a": 1}),
    (ByIdentity, ByIdentity(1.5)),
    (Node, chain(90)),
    (Any, nested(100)),
    (Any, '\x1f[[["\\'),
    (float, 1),
    (Literal["a"], "a"),
]


@pytest.mark.parametrize(("type", "value"), KEPT, ids=lambda value: getattr(value, "__name__", None))
def test_what_comes_back_equal_is_kept(type: Any, value: Any) -> None:
    form = serde.of(type)
    data = write(form, value, "it")
    assert form.serialize(read(form, data, "it")) == data


REFUSED: list[tuple[Any, Any, str]] = [
    (Any, object(), "it is of type object, which cannot be turned into JSON"),
    (Any, {"a": [1, Opaque()]}, "a.1 is of type Opaque, which cannot be turned into JSON"),
    (dict[str, Any], {"at": datetime(2024, 1, 1)}, "at is of type datetime and comes back as str; annotate it"),
    (Any, Order(id="x"), "it is of type Order and comes back as dict; annotate it"),
    (Any, [(1, 2)], "0 is of type tuple and comes back as list; annotate it"),
    (Any, {1: "a"}, "it is of type dict and comes back with another value"),
    (Any, {1, 2}, "it is of type set and comes back as list; annotate it"),
    (Any, b"\xff", "it is of type bytes, which cannot be turned into JSON"),
    (Any, float("inf"), "it is not a finite number, and JSON has no other"),
    (float, float("nan"), "it is not a finite number, and JSON has no other"),
    (float | None, float("-inf"), "it is not a finite number, and JSON has no other"),
    (
        list[float],
        [1.0, float("inf")],
        "1 is not a finite number, and JSON has no other",
    ),
    (
        Login,
        Login(user="x", password=SecretStr(SECRET)),
        "password is a SecretStr, which is written as asterisks: keep",
    ),
    (SecretBytes, SecretBytes(SECRET.encode()), "it is a SecretBytes, which is written as asterisks"),
    (int, SECRET, "it is of type str and does not fit int: Input should be a valid integer"),
    (int, "5", "it is of type str and comes back as int"),
    (float, 2**53 + 1, "it is of type int and comes back as float"),
    (list[int], [1, None], "it is of type list and does not fit .*: 1: Input should be a valid integer"),
    (dict[str, int], {None: 1}, "it is of type dict and comes back with another value"),
    (Order, {"id": "x"}, "it is of type dict and comes back as Order"),
    (Order, Special(id="x", discount=5), "it is of type Special and comes back as Order"),
    (Order, None, "it is of type NoneType and does not fit Order: Input should be a valid dictionary"),
    (None, SECRET, "it is of type str and does not fit None: Input should be null"),
    (list[int], (1, 2), "it is of type tuple and comes back as list"),
    (Hidden, Hidden(shown=1, hidden=2), "hidden is of type int and comes back with another value"),
    (Cat | Dog, Dog(name="x"), "it is of type Dog and comes back as Cat"),
    (str, "\ud800", "it is text that is not Unicode: it has half of a surrogate pair"),
    (list[str], ["a", "\ud800"], "1 is text that is not Unicode"),
    (
        Annotated[str, Field(max_length=3)],
        SECRET,
        "it is of type str and does not fit .*: String should have at most 3",
    ),
    (Node, chain(101), "it has more than 100 levels of lists and objects"),
    (Any, nested(101), "it has more than 100 levels of lists and objects"),
    (Any, nested(5000), "it has more than 100 levels of lists and objects"),
    (serde.bytes, 5, "its serde, Bytes, raised TypeError"),
    (Opaque, Opaque(), ""),
]


def form_of(type: Any) -> serde.Serde[Any]:
    return type if isinstance(type, serde.Bytes) else serde.of(type)


@pytest.mark.parametrize(("type", "value", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
def test_what_does_not_come_back_equal_is_refused_by_place_and_type(type: Any, value: Any, reason: str) -> None:
    with pytest.raises(TerminalError, match=f"^the output of Shop.order .*({reason})") as refused:
        write(form_of(type), value, "the output of Shop.order", hint="annotate it")
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_number_that_python_does_not_read_is_refused() -> None:
    assert write(serde.of(int), 10**4000, "it") == b"1" + b"0" * 4000
    for use in (lambda: write(serde.of(int), 10**5000, "it"), lambda: write(serde.of(list[int]), [1, 10**5000], "it")):
        with pytest.raises(TerminalError, match=r"does not fit .*number out of range"):
            use()
    with pytest.raises(TerminalError, match=r"^it cannot be written and read back: "):
        write_any({"a": 10**5000}, "it")


def test_a_secret_without_a_type_is_called_one() -> None:
    for secret in (Secret("hunter2"), SecretStr("hunter2"), [Secret("hunter2")]):
        with pytest.raises(TerminalError, match=r"is a Secret(Str)?, which is written as asterisks"):
            write_any(secret, "it")


def test_an_iterable_is_read_as_a_list() -> None:
    assert read(serde.of(Iterable[int]), write(serde.of(Iterable[int]), [1, 2], "it"), "it") == [1, 2]
    with pytest.raises(TerminalError, match="it is of type generator and comes back as list"):
        write(serde.of(Iterable[int]), (n for n in [1]), "it")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle += [circle, circle]
    with pytest.raises(TerminalError, match=r"0 contains itself$"):
        write(serde.json, circle, "it")
    with pytest.raises(TerminalError, match="more than 100 levels"):
        write_any(circle, "it")


def test_without_a_type_each_part_is_read_as_its_own() -> None:
    value = {
        "orders": [Order(id="x", price=Decimal("1.10"))],
        "at": datetime(2024, 1, 1),
        "pair": (1, {2}),
        "blob": b"\xff",
    }
    data = write_any(value, "it")
    assert data == (b'{"orders":[{"id":"x","price":"1.10"}],"at":"2024-01-01T00:00:00","pair":[1,[2]],"blob":"_w=="}')
    assert read(serde.of(dict[int, str]), write_any({1: "a"}, "it"), "it") == {1: "a"}
    assert (write_any(b"\xff", "it"), write_any(None, "it"), write_any([None], "it")) == (b"\xff", b"", b"[null]")
    assert write_any(Counter("aab"), "it") == b'{"a":2,"b":1}'
    with pytest.raises(UnreadableError, match="it cannot be read as Opaque: Opaque cannot be turned into JSON: use a"):
        read(serde.of(Opaque), b"{}", "it")
    for reason, refused in {
        "a key of type tuple": {(1, object()): 1},
        "two keys that are one in JSON": {1: "a", "1": "b"},
        "at.0 is of type object": {"at": [object()]},
        "password is a SecretStr": {"login": Login(user="x", password=SecretStr(SECRET))},
    }.items():
        with pytest.raises(TerminalError, match=reason):
            write_any(refused, "it")


def test_sets_are_written_in_one_order() -> None:
    names = ["b", "c", "a", "é", "10", "9"]
    for type in (set[str], frozenset[str], list[set[str]], set[str] | None):
        made: Any = [set(names)] if type == list[set[str]] else set(names)
        made = frozenset(names) if type == frozenset[str] else made
        written = write(serde.of(type), made, "it")
        assert written in (expected := '["10","9","a","b","c","é"]'.encode(), b"[" + expected + b"]")
        assert read(serde.of(type), written, "it") == made
    assert write_any({3, 10, 2}, "it") == b"[10,2,3]"
    assert serde.json_of(set[int]).schema("serialization") == {
        "items": {"type": "integer"},
        "type": "array",
        "uniqueItems": True,
    }


class Words(serde.Serde[list[str]]):
    content_type = "text/csv"

    def serialize(self, value: list[str], /) -> bytes:
        return ",".join(value).encode()

    def deserialize(self, data: bytes, /) -> list[str]:
        if data == SECRET.encode():
            raise ValueError(f"cannot read {data!r}")
        return data.decode().split(",")


def test_a_format_of_ones_own_is_read_back_as_well() -> None:
    assert write(Words(), ["a", "b"], "it") == b"a,b"
    with pytest.raises(TerminalError, match="it is of type list and comes back with another value"):
        write(Words(), ["a,b"], "it")
    with pytest.raises(TerminalError, match="its serde, Words, raised TypeError"):
        write(Words(), [1], "it")  # type: ignore[list-item]
    with pytest.raises(TerminalError, match="does not fit Words: its serde raised ValueError") as refused:
        write(Words(), [SECRET], "it")
    assert SECRET not in str(refused.value)
    with pytest.raises(UnreadableError, match=r"^it cannot be read as Words: its serde raised ValueError$"):
        read(Words(), SECRET.encode(), "it")


def test_what_a_service_of_its_own_fails_with_is_not_the_values_fault() -> None:
    class Remote(serde.Bytes):
        def serialize(self, value: bytes, /) -> bytes:
            raise ConnectionError("the key service is down")

    with pytest.raises(ConnectionError):
        write(Remote(), b"", "it")


@pytest.mark.parametrize(
    ("type", "body", "reason"),
    [
        (float, b"NaN", "NaN is not JSON"),
        (Any, b"[Infinity]", "Infinity is not JSON"),
        (Any, b'{"a":-Infinity}', "-Infinity is not JSON"),
        (Any, b"1e400", "a number is too large"),
        (list[float], b"[1" + b"0" * 400 + b".5]", "a number is too large"),
        (
            Decimal,
            b"1.234567890123456789012",
            "a number has more digits than JSON readers keep: write decimals as strings",
        ),
        (Order, b'{"id":"x","price":0.12345678901234567891}', "more digits"),
        (Any, b"[" * 101 + b"]" * 101, "has more than 100 levels of lists and objects"),
    ],
)
def test_json_that_is_none_or_would_change_is_refused_at_the_edge(type: Any, body: bytes, reason: str) -> None:
    class Echo(Service):
        @handler
        async def echo(self, ctx: Context, value: type) -> None: ...

    with pytest.raises(TerminalError, match=reason) as refused:
        Registry(Echo).services["Echo"].handlers["echo"].validate_input(body)
    assert refused.value.code == 400
    with pytest.raises(TerminalError, match=f"^the value of signal 'x' cannot be read as .*{reason}"):
        receive(serde.of(type), body, "the value of signal 'x'")


def test_what_only_looks_like_it_passes_the_edge() -> None:
    for type, body in {
        "str": (str, b'"NaN Infinity 1e400"'),
        "decimal": (Decimal, b'"1.234567890123456789012"'),
        "exact": (Decimal, b"1234567890123456789012"),
        "half": (Decimal, b"0.5000000000000000000"),
        "number": (float, b"1e308"),
    }.values():
        assert receive(serde.of(type), body, "it") == TypeAdapter(type).validate_json(body)


def test_reasons_do_not_quote_the_tag_of_a_union() -> None:
    class A(BaseModel):
        kind: Literal["a"]

    class B(BaseModel):
        kind: Literal["b"]

    form: serde.Serde[Any] = serde.json_of(Annotated[A | B, Field(discriminator="kind")])
    with pytest.raises(UnreadableError, match=r"'kind' is none of 'a', 'b'$"):
        read(form, b'{"kind":"hunter2"}', "it")


# --- through the engine ---


class Runs(Service):
    def __init__(self, give: Callable[[], Any], type: Any = None) -> None:
        self.give = give
        self.type = type
        self.runs = 0

    def work(self) -> Any:
        self.runs += 1
        return self.give()

    @handler
    async def step(self, ctx: Context) -> bool:
        await ctx.run("work", self.work, type=self.type)
        return True

    @handler
    async def output(self, ctx: Context) -> int:
        self.runs += 1
        return self.give()  # type: ignore[no-any-return]

    @handler(retry=RetryPolicy(attempts=2))
    async def forgotten(self, ctx: Context) -> str:
        self.runs += 1
        return f"{ctx.run('work', self.work)}"


@pytest.mark.parametrize("give", [object, lambda: b"\xff", lambda: Order(id=SECRET), lambda: float("inf")])
async def test_a_step_whose_result_is_refused_runs_once(give: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    runs = Runs(give)
    async with Environment(runs) as env:
        with pytest.raises(
            TerminalError, match=r"^the result of step 'work' in Runs\.step cannot be written and"
        ) as got:
            await env.service_client(Runs).step()
    assert runs.runs == 1
    assert SECRET not in caplog.text + str(got.value)


async def test_a_step_of_a_type_without_a_format_does_not_run() -> None:
    runs = Runs(Opaque, Opaque)
    async with Environment(runs) as env:
        with pytest.raises(
            TerminalError, match=r"^the result of step 'work' in Runs.step has no format: Opaque cannot"
        ):
            await env.service_client(Runs).step()
    assert runs.runs == 0


async def test_type_makes_of_plain_data_what_it_says() -> None:
    async with Environment(Runs(lambda: {"id": "x", "price": "1.10"}, Order)) as env:
        assert await env.service_client(Runs).step()


async def test_an_output_of_another_type_fails_once_by_name(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(lambda: SECRET)
    async with Environment(runs) as env:
        with pytest.raises(
            TerminalError, match=r"^the output of Runs.output cannot .* does not fit int: Input"
        ) as refused:
            await env.service_client(Runs).output()
    assert (refused.value.code, runs.runs) == (500, 1)
    assert SECRET not in caplog.text + str(refused.value)


class Cell(VirtualObject):
    @handler
    async def put(self, ctx: ObjectContext) -> str | None:
        ctx.set("t", None)
        ctx.set("raw", b"x")
        assert await ctx.get("raw", bytes | None) == b"x"
        return await ctx.get("t", str)

    @handler
    async def refuse(self, ctx: ObjectContext) -> None:
        ctx.set("login", Login(user="x", password=SecretStr(SECRET)))

    @handler(retry=RetryPolicy(attempts=1, exhausted="kill"))
    async def misread(self, ctx: ObjectContext) -> int | None:
        ctx.set("t", SECRET)
        return await ctx.get("t", int)

    @handler
    async def words(self, ctx: ObjectContext) -> list[str] | None:
        ctx.set("words", ["a", "b"], serde=Words())
        return await ctx.get("words", serde=Words())

    @handler
    async def add(self, ctx: ObjectContext, tags: list[str] = []) -> list[str]:  # noqa: B006
        tags.append("x")
        return tags

    @handler
    async def step(self, ctx: ObjectContext, by: int | None = 7) -> int | None:
        return by

    @handler
    async def raw(self, ctx: ObjectContext, data: bytes = b"default") -> bytes:
        return data


class Caller(Service):
    @handler
    async def wrong(self, ctx: Context) -> None:
        await ctx.object_client(Cell, "x").step("hunter2")  # type: ignore[arg-type]


async def test_none_in_state_is_none_whatever_it_is_read_as() -> None:
    async with Environment(Cell) as env:
        assert await env.object_client(Cell, "x").put() is None


async def test_state_is_refused_where_it_is_written() -> None:
    async with Environment(Cell) as env:
        with pytest.raises(
            TerminalError, match=r"^state entry 'login' in Cell.refuse cannot .*: password is a SecretStr"
        ):
            await env.object_client(Cell, "x").refuse()


async def test_state_of_another_type_says_which_entry_and_not_what_is_in_it() -> None:
    async with Environment(Cell) as env:
        with pytest.raises(
            TerminalError, match=r"UnreadableError: state entry 't' in Cell.misread cannot be read as int"
        ) as e:
            await env.object_client(Cell, "x").misread()
    assert SECRET not in str(e.value)


async def test_defaults_are_not_shared() -> None:
    async with Environment(Cell) as env:
        assert [await env.object_client(Cell, "x").add() for _ in range(2)] == [["x"], ["x"]]


async def test_none_and_an_input_that_is_left_out_are_told_apart() -> None:
    async with Environment(Cell) as env:
        cell = env.object_client(Cell, "x")
        assert [await cell.step(None), await cell.step(), await cell.step(1)] == [None, 7, 1]
        assert [await cell.raw(), await cell.raw(b"x")] == [b"default", b"x"]
        with pytest.raises(
            TerminalError, match=r"the input of Cell.raw is empty, which stands for its default: leave it out"
        ):
            await cell.raw(b"")


async def test_an_input_of_another_type_is_refused_by_the_call() -> None:
    async with Environment(Cell, Caller) as env:
        with pytest.raises(
            TerminalError, match=r"^the input of Cell.step in Caller.wrong cannot .* of type str and does"
        ) as e:
            await env.service_client(Caller).wrong()
        assert (e.value.code, SECRET in str(e.value)) == (400, False)


class Approval(Workflow):
    ids: ClassVar[list[str]] = []

    @handler
    async def run(self, ctx: WorkflowContext) -> list[Any]:
        approved = ctx.awakeable(serde=Words())
        await ctx.run("tell", self.ids.append, ctx.request.id)
        await ctx.run("tell", self.ids.append, approved.id)
        words = [await approved, await ctx.signal("more", serde=Words()), await ctx.promise("last", serde=Words())]
        try:
            await ctx.signal("number", int)
        except TerminalError as error:
            return [*words, str(error)]
        return words

    @handler
    async def give(self, ctx: WorkflowSharedContext) -> None:
        run, approved = self.ids[-2:]
        ctx.resolve_awakeable(approved, ["a", "b"], serde=Words())
        ctx.send_signal(run, "more", ["c", "d"], serde=Words())
        await ctx.promise("last", serde=Words()).resolve(["e"])
        ctx.send_signal(run, "number", SECRET)

    @handler
    async def wrong(self, ctx: WorkflowSharedContext) -> list[str]:
        return [
            refused(lambda: ctx.resolve_awakeable("awk_1", object())),
            refused(lambda: ctx.send_signal("inv_1", "go", object())),
            refused(lambda: ctx.promise("code", int).resolve("x")),  # type: ignore[arg-type]
            refused(lambda: ctx.generic_call(service="A", method="b", parameter=object())),
        ]


def refused(use: Callable[[], object]) -> str:
    try:
        use()
    except TerminalError as error:
        return str(error)
    return ""


async def test_formats_of_awakeables_signals_and_promises() -> None:
    async with Environment(Approval) as env:
        approval = env.workflow_client(Approval, "1")
        run = approval.run()
        await env.settle()
        await approval.give()
        reason = "the value of signal 'number' in Approval.run cannot be read as int: Input should be a valid integer"
        *words, said = await run
        assert words == [["a", "b"], ["c", "d"], ["e"]]
        assert said.startswith(reason)
        assert SECRET not in said


async def test_values_for_others_are_refused_where_they_are_given() -> None:
    async with Environment(Approval) as env:
        said = await env.workflow_client(Approval, "1").wrong()
    assert [text.partition(" cannot be written")[0] for text in said] == [
        "the value of an awakeable in Approval.wrong",
        "the value of signal 'go' in Approval.wrong",
        "the value of promise 'code' in Approval.wrong",
        "the input of A.b in Approval.wrong",
    ]


class Csv(Service, serde=Words()):
    @handler
    async def sort(self, ctx: Context, words: list[str]) -> list[str]:
        return sorted(words)

    @handler(output_serde=serde.of(int))
    async def count(self, ctx: Context, words: list[str]) -> int:
        return len(words)

    @handler
    async def forget(self, ctx: Context) -> None: ...


async def test_a_format_of_a_whole_service() -> None:
    handlers = Registry(Csv).services["Csv"].handlers
    assert isinstance(handlers["sort"].output, Words)
    assert isinstance(handlers["count"].input, Words)
    async with Environment(Csv) as env:
        assert await env.service_client(Csv).sort(["b", "a"]) == ["a", "b"]
        assert await env.service_client(Csv).count(["b", "a"]) == 2
        assert await env.service_client(Csv).forget() is None


async def test_keyword_arguments_of_steps() -> None:
    def greet(name: str, *, greeting: str = "Hello", type: str = "") -> str:
        return f"{greeting} {name}{type}"

    async def fetch(url: str, *, limit: int) -> str:
        return f"{url} {limit}"

    class Greeter(Service):
        @handler
        async def greet(self, ctx: Context) -> list[str]:
            policy = RetryPolicy(attempts=2)
            return [
                await ctx.run("one", greet, "Mary", greeting="Hi"),
                await ctx.run("two", fetch, "/a", limit=3),
                await ctx.run("three", greet, name="Mary", retry=policy, type=str),  # type: ignore[call-overload]
            ]

    async with Environment(Greeter) as env:
        assert await env.service_client(Greeter).greet() == ["Hi Mary", "/a 3", "Hello Mary"]


async def test_plain_json_is_taken_for_an_input_as_over_http() -> None:
    class Shop(Service):
        @handler
        async def order(self, ctx: Context, order: Order) -> Order:
            return order

        @handler
        async def hidden(self, ctx: Context, value: Hidden) -> None: ...

        @handler
        async def login(self, ctx: Context, value: dict[str, SecretStr | datetime]) -> None: ...

    async with Environment(Shop) as env:
        shop: Any = env.service_client(Shop)
        assert await shop.order({"id": "x", "price": 2}) == Order(id="x", price=Decimal(2))
        for refused in (
            lambda: shop.hidden(Hidden(shown=1, hidden=2)),
            lambda: shop.login({"a": SecretStr(SECRET)}),
            lambda: shop.order({"id": 5}),
            lambda: shop.order({"id": "x", "price": float("inf")}),
        ):
            with pytest.raises(TerminalError, match=r"^the input of Shop"):
                await refused()


@pytest.mark.parametrize("in_step", [True, False])
async def test_what_pydantic_refuses_in_handler_code_is_not_quoted(
    in_step: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def parse() -> Login:
        return Login.model_validate({"user": [SECRET]})

    class Parser(Service):
        @handler(retry=RetryPolicy(attempts=1, exhausted="kill"))
        async def parse(self, ctx: Context) -> None:
            _ = await ctx.run("parse", parse) if in_step else parse()

    async with Environment(Parser) as env:
        with pytest.raises(
            TerminalError, match=r"UnreadableError: .* read a value that does not fit Login: user: Input"
        ) as e:
            await env.service_client(Parser).parse()
    assert SECRET not in str(e.value) + caplog.text
    assert "in parse" in caplog.text  # where it happened
