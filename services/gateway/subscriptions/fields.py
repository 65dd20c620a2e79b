"""The fields that a subscription wants of documents. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.gateway import frames
from services.gateway.subscriptions.collections import ALWAYS, Collection
from shared.events import Document

_Tree = dict[str, "_Tree | None"]
"""Names of fields, and what is below them; None where that is a value."""


class UnknownFieldError(ValueError):
    """There is no such field, or it is nobody's business. The message says which there are."""


@dataclass(frozen=True)
class Fields:
    """Some of a collection's fields, in canonical form: equal ones are equal. Make it with `of`."""

    paths: tuple[str, ...]

    @classmethod
    def of(cls, collection: Collection, asked: Iterable[str] | None) -> "Fields":
        """The fields `asked` for as dotted paths, a path standing for all below it; None asks for all there are.

        Raises `UnknownFieldError`.
        """
        if asked is None:
            return cls(tuple(sorted(collection.fields)))
        return cls(tuple(sorted({path for each in asked for path in below(collection, each)})))


class Projected(NamedTuple):
    """What leaves of one version of a document."""

    json: bytes
    """All that is sent."""
    content: int
    """Equal for versions that differ in nothing that is sent, but for what tells versions apart."""


class Projection:
    """From documents to what leaves of them."""

    def __init__(self, fields: Fields) -> None:
        self._tree = _tree(fields.paths)

    def __call__(self, document: Document) -> Projected:
        """The fields that a document has of those that are asked for, and those that are always sent."""
        head = frames.json({name: document[name] for name in ALWAYS})
        fields = frames.json(_project(document, self._tree))
        return Projected(head[:-1] + b"," + fields[1:] if fields != b"{}" else head, hash(fields))


def below(collection: Collection, path: str) -> list[str]:
    """The paths that a dotted path stands for: itself or all below it; raises `UnknownFieldError`."""
    if path in ALWAYS:
        return []
    found = [field for field in collection.fields if field == path or field.startswith(f"{path}.")]
    if not found:
        raise UnknownFieldError(
            f"{path[:40]!a} is no field of {collection.name}: they are {', '.join(sorted(collection.fields))}"
        )
    return found


def values(document: Document, path: str) -> list[Any]:
    """What a document has at a dotted path: several values where there is a list on the way, or at its end."""
    found: list[Any] = [document]
    for name in path.split("."):
        found = [each[name] for each in found if isinstance(each, dict) and name in each]
        found = [one for each in found for one in (each if isinstance(each, list) else [each])]
    return found


def _tree(paths: Iterable[str]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        *parents, last = path.split(".")
        branch = tree
        for parent in parents:
            below = branch.setdefault(parent, {})
            assert below is not None, "a field has either a value or fields"
            branch = below
        branch[last] = None
    return tree


def _project(document: Document, tree: _Tree) -> Document:
    shown: Document = {}
    for name, below in tree.items():
        if name not in document:
            continue
        value = document[name]
        if below is None:
            # Not what may stand below, of which nothing was said.
            if isinstance(value, list):
                shown[name] = [each for each in value if not isinstance(each, dict | list)]
            elif not isinstance(value, dict):
                shown[name] = value
        elif isinstance(value, list):
            shown[name] = [_project(each, below) for each in value if isinstance(each, dict)]
        elif isinstance(value, dict):
            shown[name] = _project(value, below)
    return shown
