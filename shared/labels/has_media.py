"""`has_media`: tweets with a picture, a video or a GIF."""

from shared.labels.facets import Facets
from shared.labels.family import Flag


class HasMedia(Flag):
    """The tweet carries a picture, video or GIF."""

    name = "has_media"

    def holds(self, facets: Facets) -> bool:  # noqa: D102
        return facets.has_media
