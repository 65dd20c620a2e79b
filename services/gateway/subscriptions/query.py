"""Which new documents interest a subscription (`createQuery`). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.gateway.subscriptions.collections import Collection
from services.gateway.subscriptions.fields import UnknownFieldError, below, values
from shared.events import Document
from shared.labels import ALL, FAMILIES, Facets, Label, LabelError

MAX_CONDITIONS = 10
MAX_ALTERNATIVES = 20
"""Of one condition."""
MAX_VALUE_CHARACTERS = 500

COSTS: Mapping[str, float] = {
    "from": 1,
    "tag": 3,
    "word": 5,
    "term": 5,
    "has_media": 150,
    "has_url": 200,
    "lang": 300,
    "all": 1000,
}
"""How many of a thousand tweets a label brings, roughly: what a binding costs the broker and the gateway. Of terms
and words nobody knows; short terms are in more texts (`_cost`)."""

SHORT_TERM = 3
SHORT_TERM_COST = 100.0


class QueryError(ValueError):
    """A query can't be understood. The message says what is wrong, and how to ask."""


_Scalar = tuple[bool, str | int | float | None]
"""A JSON value that is no list or map, and first whether it is true or false: to Python 1 is the same as true."""


class _OneOfLabels(NamedTuple):
    """Holds where a document has one of the labels; or none, if it is not `wanted`."""

    labels: tuple[Label, ...]
    wanted: bool

    def holds(self, document: Document, facets: Facets) -> bool:
        return any(label.matches(facets) for label in self.labels) is self.wanted


class _OneOfValues(NamedTuple):
    """Holds where a field has one of the values; a field that is a list, where any of its elements has."""

    path: str
    values: frozenset[_Scalar]

    def holds(self, document: Document, facets: Facets) -> bool:
        return any(_scalar(value) in self.values for value in values(document, self.path))


_Condition = _OneOfLabels | _OneOfValues


@dataclass(frozen=True)
class Query:
    """A query in canonical form: equal ones are equal. Make it with `read`."""

    conditions: frozenset[_Condition]
    """All of them have to hold."""
    binding: tuple[Label, ...]
    """The labels that bring all documents for which it can hold, and as few others as possible."""

    def matches(self, document: Document, facets: Facets) -> bool:
        """Whether a document is of interest; `facets` are its own."""
        return all(condition.holds(document, facets) for condition in self.conditions)

    @property
    def alternatives(self) -> list[tuple[Label, ...]]:
        """For each condition that asks for labels, these: whatever matches has one of each."""
        return [each.labels for each in self.conditions if isinstance(each, _OneOfLabels) and each.wanted]


def read(collection: Collection, asked: object) -> Query:
    """The query in a request: a map from label families and dotted fields to a value or a list of alternatives.

    Raises `QueryError`.
    """
    if not isinstance(asked, dict):
        raise QueryError('createQuery is a map from labels and fields to values: {"term": "nfl", "has_url": true}')
    if len(asked) > MAX_CONDITIONS:
        raise QueryError(f"createQuery has {len(asked)} conditions, and {MAX_CONDITIONS} are the most")
    conditions = frozenset(_condition(collection, name, value) for name, value in asked.items())
    query = Query(conditions, (ALL,))
    # Of equally cheap ones the first in the alphabet: equal queries are to be equal.
    choice = [*query.alternatives, query.binding]
    return Query(conditions, min(choice, key=lambda labels: (_cost(labels), [label.key for label in labels])))


def _condition(collection: Collection, name: str, value: object) -> _Condition:
    if isinstance(value, dict):
        operator = str(next(iter(value), ""))[:40]
        raise QueryError(f"{name[:40]!a}: there is no operator {operator!a}; it takes a value or a list of them")
    alternatives = value if isinstance(value, list) else [value]
    if not 1 <= len(alternatives) <= MAX_ALTERNATIVES:
        raise QueryError(f"{name[:40]!a} has {len(alternatives)} alternatives; it takes 1 to {MAX_ALTERNATIVES}")
    if any(isinstance(one, dict | list) for one in alternatives):
        raise QueryError(f"{name[:40]!a} takes a value or a list of values, and nothing within them")
    if any(isinstance(one, str) and len(one) > MAX_VALUE_CHARACTERS for one in alternatives):
        raise QueryError(f"{name[:40]!a}: a value has {MAX_VALUE_CHARACTERS} characters at most")
    if name in collection.labels:
        return _labels(name, alternatives)
    try:
        leaves = below(collection, name)
    except UnknownFieldError as error:
        raise QueryError(f"{error}; or labels: {', '.join(sorted(collection.labels))}") from None
    if leaves != [name]:
        instead = f"ask for {', '.join(sorted(leaves))}" if leaves else "name what you hold in `documents`"
        raise QueryError(f"{name[:40]!a} can't be asked for in a query: {instead}")
    return _OneOfValues(name, frozenset(map(_scalar, alternatives)))


def _labels(family: str, alternatives: list[object]) -> _OneOfLabels:
    if not FAMILIES[family].takes_value:
        (wanted,) = alternatives if len(alternatives) == 1 else (None,)
        if not isinstance(wanted, bool):
            raise QueryError(f"'{family}' is true or false")
        return _OneOfLabels((Label.of(family),), wanted)
    if not all(isinstance(one, str) for one in alternatives):
        raise QueryError(f"'{family}' takes text: \"nfl\", or a list of texts")
    try:
        labels = {Label.of(family, str(one)) for one in alternatives}
    except LabelError as error:
        raise QueryError(str(error)) from None
    return _OneOfLabels(tuple(sorted(labels, key=lambda label: label.key)), wanted=True)


def _cost(labels: Iterable[Label]) -> float:
    """Of a binding to all of some labels."""
    return sum(
        SHORT_TERM_COST if label.family == "term" and len(label.value) < SHORT_TERM else COSTS[label.family]
        for label in labels
    )


def _scalar(value: object) -> _Scalar:
    return (isinstance(value, bool), value) if isinstance(value, str | int | float | None) else (False, None)
