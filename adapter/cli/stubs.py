"""``adapter stubs``: definitions of a deployed stack's services, made of its OpenAPI document.

What comes out is a module of contracts, as a caller in another repository would write them by hand: handlers without
code, and what they take and give as TypedDicts, which are exactly what is on the wire.
"""

from __future__ import annotations

import builtins
import json
import keyword
import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from adapter.http.foreign import object_of

IMPORTS: Final = {
    "abc": ("abstractmethod",),
    "datetime": ("date", "datetime", "time", "timedelta"),
    "typing": ("Any", "Literal", "cast"),
    "uuid": ("UUID",),
    "adapter": (
        "Context",
        "ObjectContext",
        "ObjectSharedContext",
        "Service",
        "VirtualObject",
        "Workflow",
        "WorkflowContext",
        "WorkflowSharedContext",
        "handler",
    ),
    "typing_extensions": ("NotRequired", "TypedDict"),
}

FORMATS: Final = {
    "base64url": "bytes",
    "binary": "bytes",
    "date": "date",
    "date-time": "datetime",
    "duration": "timedelta",
    "time": "time",
    "uuid": "UUID",
}

TYPES: Final = {"boolean": "bool", "integer": "int", "null": "None", "number": "float", "string": "str"}

BASES: Final = {"service": "Service", "object": "VirtualObject", "workflow": "Workflow"}

CONTEXTS: Final = {
    ("service", "service"): "Context",
    ("object", "exclusive"): "ObjectContext",
    ("object", "shared"): "ObjectSharedContext",
    ("workflow", "shared"): "WorkflowSharedContext",
    ("workflow", "workflow"): "WorkflowContext",
}

IMPORTED: Final = {name for names in IMPORTS.values() for name in names}
RESERVED: Final = IMPORTED | set(dir(builtins)) | set(keyword.kwlist)
HIDING: Final = IMPORTED | {"bool", "bytes", "dict", "float", "int", "list", "str", "tuple"} | set(keyword.kwlist)
"""What no handler may be called in a class body, where annotations name it."""


REFERENCE: Final = "#/components/schemas/"

UNPRINTABLE: Final = re.compile("[\0-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What a file of Python, or one in UTF-8, cannot contain."""


def generate(document: Any, source: str) -> str:
    """Return the module. Where a schema is not valid, its type is ``Any``.

    Args:
        document: An OpenAPI document, as the ingress gives it.
        source: Where it is from; for those who read the module.

    Raises:
        ValueError: If the document is not one of this engine, or a schema in it nests too deeply.
    """
    calls: dict[str, list[Mapping[str, Any]]] = {}
    for path, item in object_of(object_of(document).get("paths")).items():
        call = object_of(object_of(item).get("post"))
        if "x-adapter" in call:
            calls.setdefault(_told(path, call)["service"], []).append(call)
    if not calls:
        raise ValueError("no OpenAPI document with services in it")
    tags = [object_of(tag) for tag in _list(document.get("tags"))]
    docs = {tag["name"]: tag.get("description") for tag in tags if isinstance(tag.get("name"), str)}
    writer = _Writer(object_of(object_of(document.get("components")).get("schemas")), calls)
    try:
        services = [writer.service(name, docs.get(name), handlers) for name, handlers in calls.items()]
        body = "\n\n\n".join([*writer.models.values(), *filter(None, ["\n".join(writer.aliases.values())]), *services])
        compile(body, "stubs", "exec", dont_inherit=True)
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ValueError(f"a schema of this document nests too deeply for a module of Python: {error}") from None
    head = f'"""The services at {_escaped(source)}, for callers. Made by `adapter stubs`; not to be edited."""\n\n'
    gap = "\n\n\n" if body.startswith(("class ", "@")) else "\n\n"  # as formatters want it
    return f"{head}from __future__ import annotations\n\n{_imports(body)}{gap}{body}\n"


def _told(path: str, call: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what a call says of its handler.

    Raises:
        ValueError: If this version has no words for it.
    """
    told = object_of(call["x-adapter"])
    texts = [told.get(name) for name in ("service", "handler", "category", "kind")]
    if not all(isinstance(text, str) for text in texts) or tuple(texts[2:]) not in CONTEXTS:
        raise ValueError(f"POST {path} has an `x-adapter` that this version does not know: use another `adapter`")
    return told


def _imports(body: str) -> str:
    """Return the import statements, in the order that isort and ruff give them."""
    lines: list[str] = []
    code = re.sub(r'""".*?"""', "", body, flags=re.DOTALL)
    for module, names in IMPORTS.items():
        used = [name for name in names if re.search(rf"\b{name}\b", code)]
        if module == "adapter":
            lines.append("")  # from here on it is not the standard library
            lines += [f"from {module} import (", *(f"    {name}," for name in used), ")"]
        elif used:
            lines.append(f"from {module} import {', '.join(used)}")
    return "\n".join(lines)


class _Writer:
    """Writes types and services; the types are kept by their names, in an order in which they can be executed."""

    def __init__(self, schemas: Mapping[str, Any], services: Iterable[str]) -> None:
        self.models: dict[str, str] = {}
        """TypedDicts. Their annotations are read later, so they may name each other, and aliases."""
        self.aliases: dict[str, str] = {}
        """Everything else that has a name; each after those that it names."""
        self._schemas = schemas
        self._names: dict[str, str] = {}
        self._taken = set(RESERVED)
        self._open: set[str] = set()
        """Aliases of which the text is being written."""
        self._waiting: dict[str, Mapping[str, Any]] = {}
        """The schemas of TypedDicts that are named already, and are written when no alias is open."""
        self._classes = {name: self._name(name) for name in services}

    # --- services ---

    def service(self, name: str, doc: object, calls: Iterable[Mapping[str, Any]]) -> str:
        """A contract."""
        told = [call["x-adapter"] for call in calls]
        category = told[0]["category"]
        if category == "workflow" and not any(each["kind"] == "workflow" for each in told):
            category = "object"  # its run is private; without one it would be no workflow
        cls = self._classes[name]
        named = "" if cls == name else f", name={_quoted(name)}"
        signatures = [self._signature(call, category) for call in calls]
        attributes = HIDING | set(re.findall(r"\w+", " ".join(signatures)))
        methods = [_method(call, text, attributes) for call, text in zip(calls, signatures, strict=True)]
        text = f"class {cls}({BASES[category]}{named}):\n{(docstring := _docstring(doc))}"
        return text + ("\n" if docstring else "") + "\n\n".join(methods)

    def _signature(self, call: Mapping[str, Any], category: str) -> str:
        """Return the parameters and the result of a handler."""
        told, body = call["x-adapter"], call.get("requestBody")
        hint = f"{_identifier(told['service'])}{_identifier(told['handler']).capitalize()}"
        parameters = ["self", f"ctx: {CONTEXTS[category, told['kind']]}"]
        if body is not None:
            schema = _json_of(body)
            type = self._content(schema, f"{hint}Input")
            default = "" if schema is None or object_of(body).get("required") else f" = {_default(schema, type)}"
            parameters.append(f"input: {type}{default}")
        result = object_of(object_of(call.get("responses")).get("200"))
        output = self._content(_json_of(result), f"{hint}Output") if "content" in result else "None"
        return f"({', '.join(parameters)}) -> {output}"

    def _content(self, schema: object, hint: str) -> str:
        type = "bytes" if schema is None else self.type(schema, hint)
        while self._waiting:
            name = next(iter(self._waiting))
            self.models[name] = self._model(name, self._waiting.pop(name))
        return type

    # --- types ---

    def type(self, schema: Any, hint: str) -> str:
        """The annotation that a schema stands for.

        Args:
            schema: The schema.
            hint: What to call it, if it needs a name and has none.
        """
        match schema:
            case {"$ref": str(ref)}:
                return self._named(ref.removeprefix(REFERENCE)) if ref.startswith(REFERENCE) else "Any"
            case {"const": value}:
                return _literal([value])
            case {"enum": [_, *_] as values}:
                return _literal(values)
            case {"anyOf": [_, *_] as options} | {"oneOf": [_, *_] as options}:
                return _union(self.type(option, f"{hint}{n}") for n, option in enumerate(options, 1))
            case {"allOf": [only]}:
                return self.type(only, hint)
            case {"type": [_, *_] as types}:
                return _union(self.type({**schema, "type": type}, hint) for type in types)
            case {"type": "array"}:
                return self._array(schema, hint)
            case {"type": "object", "properties": dict()}:
                return self._later(self._name(hint), schema)
            case {"type": "object"}:
                return f"dict[str, {self.type(schema.get('additionalProperties'), f'{hint}Value')}]"
            case {"type": "string", "format": str(format)} if format in FORMATS:
                return FORMATS[format]
            case {"type": str(type)} if type in TYPES:
                return TYPES[type]
            case _:
                return "Any"

    def _named(self, key: str) -> str:
        """The name of a schema that has one, which is written when it is first asked for."""
        if key in self._open:
            return "Any"  # an alias of itself
        if key not in self._names:
            name, schema = self._name(key), object_of(self._schemas.get(key))
            if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
                self._names[key] = self._later(name, schema)
            else:
                self._open.add(key)
                self._names[key] = self._alias(name, schema)
                self._open.remove(key)
        return self._names[key]

    def _later(self, name: str, schema: Mapping[str, Any]) -> str:
        self._waiting[name] = schema
        self.models[name] = ""  # its place is before what it names
        return name

    def _alias(self, name: str, schema: Any) -> str:
        text = self.type(schema, name)
        if text == "None":
            return text  # an alias of it would be a variable
        self.aliases[name] = f"{name} = {text}"
        return name

    def _model(self, name: str, schema: Mapping[str, Any]) -> str:
        required = _list(schema.get("required"))
        fields: dict[str, str] = {}
        for field, value in schema["properties"].items():
            type = self.type(value, f"{name}{_identifier(field).capitalize()}")
            fields[field] = type if field in required else f"NotRequired[{type}]"
        if all(_is_attribute(field) for field in fields):
            lines = [f"    {field}: {type}" for field, type in fields.items()] or ["    pass"]
            return f"class {name}(TypedDict):\n{_docstring(schema.get('description'))}" + "\n".join(lines)
        lines = [f"        {_quoted(field)}: {_quoted(type)}," for field, type in fields.items()]
        return f"{name} = TypedDict(\n    {_quoted(name)},\n    {{\n" + "\n".join(lines) + "\n    },\n)"

    def _array(self, schema: Mapping[str, Any], hint: str) -> str:
        items = [self.type(item, f"{hint}{n}") for n, item in enumerate(_list(schema.get("prefixItems")), 1)]
        if items and schema.get("items", False) is False:
            return f"tuple[{', '.join(items)}]"
        return f"list[{self.type(schema.get('items'), f'{hint}Item')}]" if not items else "list[Any]"

    def _name(self, wanted: str) -> str:
        return _free(wanted, self._taken)


# --- text ------------------------------------------------------------------------------------------------------------


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []  # type: ignore[redundant-cast]


def _method(call: Mapping[str, Any], signature: str, taken: set[str]) -> str:
    name = call["x-adapter"]["handler"]
    attribute = _free(name, taken)
    named = "" if attribute == name else f"(name={_quoted(name)})"
    docstring = _docstring(call.get("description") or call.get("summary"), 8)
    lines = [
        f"@handler{named}",
        "@abstractmethod",
        f"async def {attribute}{signature}:" + ("" if docstring else " ..."),
    ]
    return textwrap.indent("\n".join(lines), "    ") + (f"\n{docstring}        ..." if docstring else "")


def _free(wanted: str, taken: set[str]) -> str:
    """An identifier like this that is not taken, which it is from now on."""
    name = _identifier(wanted)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "_"
    return f"_{name}" if name[0].isdigit() else name


def _is_attribute(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))


def _literal(values: Iterable[Any]) -> str:
    texts = dict.fromkeys(_quoted(value) if isinstance(value, str) else repr(value) for value in values)
    return "Any" if any(isinstance(value, float | list | dict) for value in values) else f"Literal[{', '.join(texts)}]"


def _quoted(text: str) -> str:
    return UNPRINTABLE.sub(_code, json.dumps(text, ensure_ascii=False))


def _escaped(text: str) -> str:
    """Return a text as it is written between three quotes."""
    text = re.sub(r'"{3,}|"+\Z', lambda quotes: '\\"' * len(quotes[0]), text.replace("\\", "\\\\"))
    return UNPRINTABLE.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _json_of(message: object) -> object:
    """The schema of a body that is JSON."""
    return object_of(object_of(object_of(message).get("content")).get("application/json")).get("schema")


def _default(schema: object, type: str) -> str:
    """Only that there is one counts: an input that is left out is not sent."""
    match object_of(schema).get("default"):
        case str(value) if type == "str":
            return _quoted(value)
        case bool(value) if type == "bool":
            return repr(value)
        case int(value) if type in ("int", "float"):
            return repr(value)
        case float(value) if type == "float" and math.isfinite(value):
            return repr(value)
        case _:
            return "None" if type.split(" | ")[-1] == "None" or type == "Any" else f"cast({_quoted(type)}, None)"


def _docstring(text: object, indent: int = 4) -> str:
    if not isinstance(text, str) or not text:
        return ""
    quoted = _escaped(text)
    closing = "\n" if "\n" in quoted else ""
    return textwrap.indent(f'"""{quoted}{closing}"""', " " * indent) + "\n"
