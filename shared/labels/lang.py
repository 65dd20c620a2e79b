"""`lang.<code>`: tweets in one language."""

from collections.abc import Iterable

from shared.labels.family import EnumerableFamily


class Lang(EnumerableFamily):
    """The source's language code: `en`, `zh-tw`, `und`."""

    name = "lang"
    facet = "lang"

    def values_of(self, facet: str) -> Iterable[str]:  # noqa: D102
        return (facet,) if facet else ()
