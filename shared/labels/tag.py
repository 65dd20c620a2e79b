"""`tag.<hashtag>`: tweets with the hashtag."""

from collections.abc import Iterable

from shared.labels.facets import Facets
from shared.labels.family import EnumerableFamily


class Tag(EnumerableFamily):
    """A hashtag, written with or without its `#`."""

    name = "tag"
    sigils = "#＃"

    def values(self, facets: Facets) -> Iterable[str]:  # noqa: D102
        return facets.hashtags
