"""`has_media`: tweets with a picture, a video or a GIF."""

from shared.labels.family import Flag


class HasMedia(Flag):
    """The tweet carries a picture, video or GIF."""

    name = "has_media"
    facet = "has_media"

    def holds(self, facet: bool) -> bool:  # noqa: D102
        return facet
