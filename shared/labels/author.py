"""`from.<screen_name>`: tweets by one author."""

from collections.abc import Iterable

from shared.labels.facets import Facets
from shared.labels.family import EnumerableFamily


class Author(EnumerableFamily):
    """An author's handle, written with or without its `@`."""

    name = "from"
    sigils = "@＠"

    def values(self, facets: Facets) -> Iterable[str]:  # noqa: D102
        return (facets.screen_name,) if facets.screen_name else ()
