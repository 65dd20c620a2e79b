"""The collections that can be subscribed to: this is the one place where they are declared. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.events import COLLECTION, Document, UnreadableError, collection_of
from shared.labels import Facets


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents of one kind."""

    name: str
    """As in `collection` of each document, and in the names of events: `uid:tweet:create`."""
    fields: frozenset[str]
    """Dotted paths of all that may leave. Below a list they go on in each of its elements: `media.url`. What is not
    here nobody is sent and nobody can ask a query about, whatever documents have."""
    labels: frozenset[str]
    """Label families that a query may name, each by its name. One that is called like a field goes before it."""
    facets: Callable[[Document], Facets]
    """How a document is seen by label families; raises `UnreadableError`."""

    def facets_of(self, document: Document) -> Facets | None:
        """The facets of a document; None of one of another collection, or that can't be read."""
        if collection_of(document) != self.name:
            return None
        try:
            return self.facets(document)
        except UnreadableError:
            return None


TWEET = Collection(
    name=COLLECTION,
    fields=frozenset(
        {
            "source",
            "url",
            "text",
            "lang",
            "created_at",
            "user.id",
            "user.screen_name",
            "user.name",
            "user.avatar",
            "urls",
            "hashtags",
            "media.type",
            "media.url",
            "media.alt",
        }
    ),
    labels=frozenset({"term", "word", "tag", "from", "lang", "has_url", "has_media"}),
    facets=Facets.of_document,
)

COLLECTIONS: Mapping[str, Collection] = MappingProxyType({collection.name: collection for collection in (TWEET,)})
"""All of them, by name."""

ALWAYS = ("id", "seq", "mtime")
"""Fields of every collection that are always sent: with them a page can say what it holds."""
