"""`from.<screen_name>`: tweets by one author."""

from collections.abc import Iterable

from shared.labels.family import EnumerableFamily


class Author(EnumerableFamily):
    """An author's handle, written with or without its `@`."""

    name = "from"
    facet = "screen_name"
    sigils = "@＠"

    def values_of(self, facet: str) -> Iterable[str]:  # noqa: D102
        return (facet,) if facet else ()
