"""DynamoDB's `expressions <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html>`_.

A condition is a function from `Terms`, which hand out placeholders, to the text of an expression. Names stand in an
expression by placeholders only, as any of them may be one of DynamoDB's reserved words.

>>> terms = Terms()
>>> all_of(equals("status", {"S": "ready"}), any_of(is_absent("due"), exceeds("due", {"N": "5"})))(terms)
'(#0 = :0) AND ((attribute_not_exists(#1)) OR (#1 > :1))'
>>> terms.parameters()["ExpressionAttributeNames"]
{'#0': 'status', '#1': 'due'}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Value: TypeAlias = Mapping[str, Any]
"""An attribute's value by its type, such as ``{"N": "1"}``."""


class Terms:
    """The names and values that one request's expressions refer to."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Value] = {}

    def name(self, name: str) -> str:
        """Return the placeholder of an attribute's name."""
        return self._names.setdefault(name, f"#{len(self._names)}")

    def value(self, value: Value) -> str:
        """Return a placeholder of a value."""
        placeholder = f":{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    def parameters(self) -> dict[str, Any]:
        """Return what the request has to say of the placeholders."""
        names = {placeholder: name for name, placeholder in self._names.items()}
        values = {"ExpressionAttributeValues": self._values} if self._values else {}
        return {"ExpressionAttributeNames": names, **values}


Condition: TypeAlias = Callable[[Terms], str]


def exists(name: str) -> Condition:
    """Hold if the item has the attribute."""
    return lambda terms: f"attribute_exists({terms.name(name)})"


def is_absent(name: str) -> Condition:
    """Hold if the item does not have the attribute, or does not exist."""
    return lambda terms: f"attribute_not_exists({terms.name(name)})"


def equals(name: str, value: Value) -> Condition:
    """Hold if the attribute has the value."""
    return lambda terms: f"{terms.name(name)} = {terms.value(value)}"


def differs(name: str, value: Value) -> Condition:
    """Hold if the attribute has another value."""
    return lambda terms: f"{terms.name(name)} <> {terms.value(value)}"


def at_most(name: str, value: Value) -> Condition:
    """Hold if the attribute's number is not larger."""
    return lambda terms: f"{terms.name(name)} <= {terms.value(value)}"


def exceeds(name: str, value: Value) -> Condition:
    """Hold if the attribute's number is larger."""
    return lambda terms: f"{terms.name(name)} > {terms.value(value)}"


def is_one_of(name: str, *values: Value) -> Condition:
    """Hold if the attribute has one of the values."""
    return lambda terms: f"{terms.name(name)} IN ({', '.join(map(terms.value, values))})"


def all_of(*conditions: Condition) -> Condition:
    """Hold if each condition holds."""
    return lambda terms: " AND ".join(f"({condition(terms)})" for condition in conditions)


def any_of(*conditions: Condition) -> Condition:
    """Hold if one of the conditions holds."""
    return lambda terms: " OR ".join(f"({condition(terms)})" for condition in conditions)


def update(values: Mapping[str, Value | None], add: Mapping[str, int], terms: Terms) -> str:
    """Return the text of an update: attributes that it sets, those that it removes (``None``), numbers that it adds."""
    parts = {
        "SET": [f"{terms.name(name)} = {terms.value(value)}" for name, value in values.items() if value is not None],
        "REMOVE": [terms.name(name) for name, value in values.items() if value is None],
        "ADD": [f"{terms.name(name)} {terms.value({'N': str(number)})}" for name, number in add.items()],
    }
    return " ".join(f"{word} {', '.join(actions)}" for word, actions in parts.items() if actions)
