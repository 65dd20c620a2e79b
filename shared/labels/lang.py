"""`lang.<code>`: tweets in one language."""

from collections.abc import Iterable

from shared.labels.facets import Facets
from shared.labels.family import EnumerableFamily


class Lang(EnumerableFamily):
    """The source's language code: `en`, `zh-tw`, `und`."""

    name = "lang"

    def values(self, facets: Facets) -> Iterable[str]:  # noqa: D102
        return (facets.lang,) if facets.lang else ()
