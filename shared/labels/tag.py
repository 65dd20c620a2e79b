"""`tag.<hashtag>`: tweets with the hashtag."""

from collections.abc import Iterable

from shared.labels.family import EnumerableFamily


class Tag(EnumerableFamily):
    """A hashtag, written with or without its `#`."""

    name = "tag"
    facet = "hashtags"
    sigils = "#＃"

    def values_of(self, facet: tuple[str, ...]) -> Iterable[str]:  # noqa: D102
        return facet
