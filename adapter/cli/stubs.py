"""``adapter stubs``: definitions of a deployed stack's services, made of its OpenAPI document.

What comes out is a module of contracts, as a caller in another repository would write them by hand: handlers without
code, and what they take and give as TypedDicts, which are exactly what is on the wire.
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

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


def generate(document: Mapping[str, Any], source: str) -> str:
    """The module.

    Args:
        document: An OpenAPI document, as the ingress gives it.
        source: Where it is from; for those who read the module.

    Raises:
        ValueError: If it is none of ours.
    """
    calls: dict[str, list[dict[str, Any]]] = {}
    for item in document.get("paths", {}).values():
        call = item.get("post", {})
        if "x-adapter" in call:
            calls.setdefault(call["x-adapter"]["service"], []).append(call)
    if not calls:
        raise ValueError("no OpenAPI document with services in it")
    docs = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    writer = _Writer(document.get("components", {}).get("schemas", {}), calls)
    services = [writer.service(name, docs.get(name, ""), handlers) for name, handlers in calls.items()]
    body = "\n\n\n".join([*writer.models.values(), *filter(None, ["\n".join(writer.aliases.values())]), *services])
    head = f'"""The services at {source}, for callers. Made by `adapter stubs`; not to be edited."""\n\n'
    return f"{head}from __future__ import annotations\n\n{_imports(body)}\n\n\n{body}\n"


def _imports(body: str) -> str:
    """Return the import statements, in the order that isort and ruff give them."""
    lines: list[str] = []
    for module, names in IMPORTS.items():
        used = [name for name in names if re.search(rf"\b{name}\b", body)]
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
        self._classes = {name: self._name(name) for name in services}

    # --- services ---

    def service(self, name: str, doc: str, calls: Iterable[Mapping[str, Any]]) -> str:
        """A contract."""
        told = [call["x-adapter"] for call in calls]
        category = told[0]["category"]
        if category == "workflow" and not any(each["kind"] == "workflow" for each in told):
            category = "object"  # its run is private; without one it would be no workflow
        cls = self._classes[name]
        named = "" if cls == name else f", name={_quoted(name)}"
        attributes = set(HIDING)
        methods = [self._handler(call, category, attributes) for call in calls]
        text = f"class {cls}({BASES[category]}{named}):\n{_docstring(doc)}"
        return text + ("\n" if doc else "") + "\n\n".join(methods)

    def _handler(self, call: Mapping[str, Any], category: str, taken: set[str]) -> str:
        told, body = call["x-adapter"], call.get("requestBody")
        attribute = _free(told["handler"], taken)
        named = "" if attribute == told["handler"] else f"(name={_quoted(told['handler'])})"
        hint = f"{_identifier(told['service'])}{_identifier(told['handler']).capitalize()}"
        parameters = ["self", f"ctx: {CONTEXTS[category, told['kind']]}"]
        if body is not None:
            schema = _json_of(body)
            type = self._content(schema, f"{hint}Input")
            default = "" if body.get("required") or schema is None else f" = {_default(schema, type)}"
            parameters.append(f"input: {type}{default}")
        result = call["responses"]["200"]
        output = self._content(_json_of(result), f"{hint}Output") if "content" in result else "None"
        doc = call.get("description") or call.get("summary") or ""
        lines = [
            f"@handler{named}",
            "@abstractmethod",
            f"async def {attribute}({', '.join(parameters)}) -> {output}:" + ("" if doc else " ..."),
        ]
        return textwrap.indent("\n".join(lines), "    ") + ("\n" + _docstring(doc, 8) + "        ..." if doc else "")

    def _content(self, schema: Mapping[str, Any] | None, hint: str) -> str:
        return "bytes" if schema is None else self.type(schema, hint)

    # --- types ---

    def type(self, schema: Mapping[str, Any], hint: str) -> str:
        """The annotation that a schema stands for.

        Args:
            schema: The schema.
            hint: What to call it, if it needs a name and has none.
        """
        match schema:
            case {"$ref": str(ref)}:
                return self._named(ref.rpartition("/")[2])
            case {"const": value}:
                return _literal([value])
            case {"enum": values}:
                return _literal(values)
            case {"anyOf": options} | {"oneOf": options}:
                return _union(self.type(option, f"{hint}{n}") for n, option in enumerate(options, 1))
            case {"allOf": [only]}:
                return self.type(only, hint)
            case {"type": list()}:
                return _union(self.type({**schema, "type": type}, hint) for type in schema["type"])
            case {"type": "array"}:
                return self._array(schema, hint)
            case {"type": "object", "properties": dict()}:
                name = self._name(hint)
                self.models[name] = self._model(name, schema)
                return name
            case {"type": "object"}:
                values = schema.get("additionalProperties")
                return f"dict[str, {self.type(values or {}, f'{hint}Value') if values is not True else 'Any'}]"
            case {"type": "string", "format": str(format)} if format in FORMATS:
                return FORMATS[format]
            case {"type": str(type)} if type in TYPES:
                return TYPES[type]
            case _:
                return "Any"

    def _named(self, key: str) -> str:
        """The name of a schema that has one, which is written when it is first asked for."""
        schema = self._schemas.get(key, {})
        if key in self._open:
            return "Any"  # an alias of itself
        if key not in self._names:
            name = self._names[key] = self._name(key)
            if schema.get("type") == "object" and "properties" in schema:
                self.models[name] = ""  # its place is before what it names
                self.models[name] = self._model(name, schema)
            else:
                self._open.add(key)
                text = self.type(schema, name)
                self._open.remove(key)
                self.aliases[name] = f"{name} = {text}"
        return self._names[key]

    def _model(self, name: str, schema: Mapping[str, Any]) -> str:
        required: list[str] = schema.get("required", [])
        fields: dict[str, str] = {}
        opened = self._open
        self._open = set()
        for field, value in schema["properties"].items():
            type = self.type(value, f"{name}{_identifier(field).capitalize()}")
            fields[field] = type if field in required else f"NotRequired[{type}]"
        self._open = opened
        if all(_is_attribute(field) for field in fields):
            lines = [f"    {field}: {type}" for field, type in fields.items()] or ["    pass"]
            return f"class {name}(TypedDict):\n{_docstring(schema.get('description', ''))}" + "\n".join(lines)
        lines = [f"        {_quoted(field)}: {_quoted(type)}," for field, type in fields.items()]
        return f"{name} = TypedDict(\n    {_quoted(name)},\n    {{\n" + "\n".join(lines) + "\n    },\n)"

    def _array(self, schema: Mapping[str, Any], hint: str) -> str:
        items = [self.type(item, f"{hint}{n}") for n, item in enumerate(schema.get("prefixItems", []), 1)]
        if items and schema.get("items", False) is False:
            return f"tuple[{', '.join(items)}]"
        return f"list[{self.type(schema.get('items', {}), f'{hint}Item')}]" if not items else "list[Any]"

    def _name(self, wanted: str) -> str:
        return _free(wanted, self._taken)


# --- text ------------------------------------------------------------------------------------------------------------


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
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))


def _literal(values: Sequence[Any]) -> str:
    texts = [_quoted(value) if isinstance(value, str) else repr(value) for value in values]
    return "Any" if any(isinstance(value, float | list | dict) for value in values) else f"Literal[{', '.join(texts)}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json_of(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a body that is JSON."""
    schema: Mapping[str, Any] | None = message["content"].get("application/json", {}).get("schema")
    return schema


def _default(schema: Mapping[str, Any], type: str) -> str:
    """Only that there is one counts: an input that is left out is not sent."""
    value = schema.get("default")
    if isinstance(value, str) and type == "str":
        return _quoted(value)
    if isinstance(value, int | float) and type in ("int", "float", "bool"):
        return repr(value)
    return "None" if type.split(" | ")[-1] == "None" or type == "Any" else f"cast({_quoted(type)}, None)"


def _docstring(text: str, indent: int = 4) -> str:
    if not text:
        return ""
    quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    quoted = quoted[:-1] + '\\"' if quoted.endswith('"') else quoted
    closing = "\n" if "\n" in quoted else ""
    return textwrap.indent(f'"""{quoted}{closing}"""', " " * indent) + "\n"
